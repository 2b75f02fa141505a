"""Web Locks: one at a time works on a model's files, among all tabs of this site."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import js  # type: ignore[import-not-found]
from pyodide.ffi import JsException, create_proxy, jsnull  # type: ignore[import-not-found]

from voxtral.browser.values import first_line, to_object
from voxtral.errors import ModelFileError


@asynccontextmanager
async def model_lock(key: str, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Be the only one inside with this key; a tab that dies lets go. Without Web Locks everybody is.

    on_wait: called once if somebody is inside already. Raises ModelFileError.
    """
    locks = getattr(js.navigator, "locks", None)
    if not locks:
        yield
        return
    lock = _Lock(locks, f"voxtral model {key}")
    if not await lock.take(is_patient=False):
        on_wait()
        await lock.take(is_patient=True)
    try:
        yield
    finally:
        await lock.release()


class _Lock:
    """The browser takes a lock back when the promise that was returned to it is settled."""

    def __init__(self, locks: Any, name: str) -> None:
        self._locks = locks
        self._name = name
        self._released: Any = None  # a promise with its resolvers
        self._request: asyncio.Task[None] | None = None  # ends when the lock is given back

    async def take(self, is_patient: bool) -> bool:
        """Whether we have it; True if waited for."""
        granted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._released = released = js.Promise.withResolvers()
        controller = js.AbortController.new()
        options = {"signal": controller.signal} if is_patient else {"ifAvailable": True}

        def on_granted(lock: Any) -> Any:
            if granted.done() or lock is jsnull:  # nobody waits for it any more, or another one has it
                return None if granted.done() else granted.set_result(False)
            granted.set_result(True)
            return released.promise

        self._request = asyncio.ensure_future(self._hold(options, on_granted, granted))
        try:
            return await granted
        except asyncio.CancelledError:
            controller.abort()
            raise

    async def _hold(
        self, options: dict[str, Any], on_granted: Callable[[Any], Any], granted: asyncio.Future[bool]
    ) -> None:
        proxy = create_proxy(on_granted)
        try:
            await self._locks.request(self._name, to_object(options), proxy)
        except JsException as error:
            if not granted.done():
                sentence = f"the browser gave no lock on this model ({first_line(error)}); reload the page"
                granted.set_exception(ModelFileError(sentence))
        finally:
            proxy.destroy()

    async def release(self) -> None:
        """Returns when the next one may have it."""
        assert self._request is not None
        self._released.resolve()
        await self._request
