"""Who may use the server: keys, origins, host names. Decides only; `gate.py` stands at the door and asks.

A server that listens on loopback needs no key, so whatever runs in a browser on this machine could reach it: pages of
other origins (by `Origin`), and pages whose name was pointed at 127.0.0.1 (DNS rebinding, by `Host`). Both are refused
unless --allow-origin names them. A server that others can reach needs a key.
"""

import hmac
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from voxtral.errors import ConfigError
from voxtral.server.errors import ApiError, shown

KEY_VARIABLE = "VOXTRAL_API_KEY"
KEY_SUBPROTOCOL = "openai-insecure-api-key."  # a browser can give a WebSocket no header, but subprotocols
ANY_ORIGIN = "*"
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # what a subprotocol may consist of


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server there: localhost, 127.0.0.1, ::1 and their like."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def read_keys(key: str | None, path: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The keys of --api-key, of each line of --api-key-file, or else of VOXTRAL_API_KEY. Raises ConfigError."""
    keys = [] if key is None else [key]
    if path is not None:
        try:
            keys += [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            sentence = f"--api-key-file {path}: cannot be read ({reason}); name a file with a key in each line"
            raise ConfigError(sentence) from error
        if not keys:
            raise ConfigError(f"--api-key-file {path}: expected a key in each line, found none; write one")
    elif not keys and environment.get(KEY_VARIABLE):
        keys = [environment[KEY_VARIABLE]]
    if not all(TOKEN.fullmatch(key) for key in keys):
        raise ConfigError("an API key must consist of letters, digits and -._~!#$%&'*+^`| only; choose another")
    return tuple(keys)


@dataclass(frozen=True)
class Access:
    """The rules of one server. Raises ConfigError for rules that protect nobody.

    host: where it listens; keys: each of them opens it; origins: whose pages may use it besides its own.
    """

    host: str
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.keys and not is_loopback(self.host):
            raise ConfigError(
                f"--host {self.host} lets other machines in, so a key is needed: add --api-key KEY, "
                f"or --api-key-file FILE, or set {KEY_VARIABLE}"
            )
        if not self.keys and ANY_ORIGIN in self.origins:
            raise ConfigError("--allow-origin '*' lets every page in, so a key is needed: add --api-key KEY")
        for origin in self.origins:
            parts = urlsplit(origin)
            if origin != ANY_ORIGIN and (not parts.netloc or origin != f"{parts.scheme}://{parts.netloc}".lower()):
                raise ConfigError(f"--allow-origin {origin}: expected an origin like https://example.org, and no path")

    @property
    def needs_key(self) -> bool:
        return bool(self.keys)

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Raises ApiError (403) for a name that is not this machine's, where only this machine should come."""
        if self.keys:
            return
        host = headers.get("host", "")
        allowed = {urlsplit(origin).netloc for origin in self.origins}
        if not is_loopback(_without_port(host)) and host.lower() not in allowed:
            raise ApiError(
                f"This server answers to localhost only, not to {shown(host)}; "
                "its operator can allow an origin of that name with --allow-origin",
                403,
                code="host_not_allowed",
            )

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raises ApiError (403) for a page of another origin; programs send no origin."""
        origin = headers.get("origin")
        if origin is None or ANY_ORIGIN in self.origins or origin.lower() in self.origins:
            return
        if _netloc(origin) != headers.get("host", "").lower():
            raise ApiError(
                f"Pages of {shown(origin)} may not use this server; its operator can allow them with --allow-origin",
                403,
                code="origin_not_allowed",
            )

    def check_key(self, headers: Mapping[str, str], subprotocols: Iterable[str] = ()) -> None:
        """Raises ApiError (401) unless one of the keys came, as a Bearer or in a WebSocket's subprotocol."""
        if not self.keys:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        offered = [given.strip()] if scheme.lower() == "bearer" else []
        offered += [name.removeprefix(KEY_SUBPROTOCOL) for name in subprotocols if name.startswith(KEY_SUBPROTOCOL)]
        # No early end: how long it takes must not tell how much of a key was right.
        matches = [hmac.compare_digest(mine.encode(), yours.encode()) for mine in self.keys for yours in offered]
        if not any(matches):
            what = "That API key is not one of this server's" if offered else "This server needs an API key"
            raise ApiError(f"{what}; send it as `Authorization: Bearer KEY`", 401)


def _netloc(origin: str) -> str:
    """Host and port of an origin; empty for `null` and for what is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _without_port(host: str) -> str:
    return re.sub(r":\d*\Z", "", host) if not host.endswith("]") else host
