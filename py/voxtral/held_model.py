"""The model that the worker holds, and how it comes back where its GPU goes away."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace

from voxtral.errors import DeviceError
from voxtral.library import Library
from voxtral.loading import Loaded, LoadingHost, Options, load
from voxtral.model.loader import Progress

PAUSES_S = (0.0, 1.0, 2.0, 4.0, 8.0)  # before each try: after a crash the GPU may be missing for some seconds
LOST_S = 1.0  # how much later than something failed the browser may say that the GPU is the reason


class HeldModel:
    """One model at a time: load, let_go; is_lost, load_again. on_lost: called when its GPU went away."""

    def __init__(
        self, host: LoadingHost, library: Library, progress_of: Callable[[str], Progress], on_lost: Callable[[], None]
    ) -> None:
        self._host, self._library, self._progress_of, self._on_lost = host, library, progress_of, on_lost
        self.loaded: Loaded | None = None
        self._options: Options | None = None  # of the one that is loaded
        self._lost = asyncio.Event()

    async def load(self, options: Options) -> None:
        """Take another model in the place of the one there is. Raises VoxtralError; then there is none."""
        self.let_go()
        await self._open(options)

    def let_go(self) -> None:
        """Give everything back."""
        if self.loaded is not None:
            self.loaded.close()
        self.loaded = None
        self._lost.clear()

    @property
    def is_lost(self) -> bool:
        """Its GPU went away."""
        return self._lost.is_set()

    async def turns_out_lost(self) -> bool:
        """Whether something failed because the GPU went away, which the browser may tell a little later."""
        if self.loaded is not None and self.loaded.gpu is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), LOST_S)
        return self.is_lost

    async def load_again(self) -> bool:
        """The same model with the same options: on a GPU if it was on one, or in the end on what there is.

        Returns whether that is something else than before. Raises VoxtralError; then there is none.
        """
        assert self.loaded is not None
        assert self._options is not None
        options, place = self._options, self._place()
        as_before = replace(options, backend=place[0])
        self.let_go()
        for pause_s in PAUSES_S:
            await asyncio.sleep(pause_s)
            with contextlib.suppress(DeviceError):
                await self._open(as_before)
                return self._place() != place
        await self._open(options)
        return self._place() != place

    def _place(self) -> tuple[str, str]:
        """Where it computes: backend and adapter."""
        assert self.loaded is not None
        facts = self.loaded.facts()
        return facts["backend"], facts["adapter"]

    async def _open(self, options: Options) -> None:
        self.loaded = loaded = await load(self._host, self._library, options, self._progress_of)
        self._options = options
        if loaded.gpu is not None:
            loaded.gpu.on_lost(lambda _error: self._lose(loaded))

    def _lose(self, loaded: Loaded) -> None:
        if self.loaded is loaded:
            self._lost.set()
            self._on_lost()
