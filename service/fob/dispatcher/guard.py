"""Who may ask: the dispatcher runs code by design, so no web page of others may reach it.

A browser says where a request comes from (`Origin`, `Sec-Fetch-Site`), and a name that somebody
points at this machine shows in `Host` (DNS rebinding). Programs send neither and pass.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from fob.errors import Forbidden, Unauthorized

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Guard:
    """The checks for a dispatcher that listens on `host`; an empty `token` wants none."""

    def __init__(self, host: str, token: str) -> None:
        self._token = token.encode()
        self._names = None if is_unspecified(host) else _LOOPBACK | {host.lower()}

    @property
    def wants_token(self) -> bool:
        return bool(self._token)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raise `Forbidden` when the request comes from a web page that is not ours."""
        host = headers.get("Host", "")
        if self._names is not None and _hostname(host) not in self._names:
            raise Forbidden(
                f"Host {host[:100]!r} is not a name of this dispatcher;"
                f" use one of {', '.join(sorted(self._names))}"
            )
        origin = headers.get("Origin")
        if origin is not None and _netloc(origin) != host.lower():
            raise Forbidden(f"Requests from web pages of {origin[:100]!r} are not taken")
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Forbidden("Requests from other web pages are not taken")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raise `Unauthorized` unless the request bears the token, when there is one."""
        scheme, _, token = headers.get("Authorization", "").partition(" ")
        given = token.strip().encode("latin-1", "replace") if scheme.lower() == "bearer" else b""
        if self._token and not hmac.compare_digest(given, self._token):
            raise Unauthorized(
                "This wants the token that the dispatcher was started with in FOB_TOKEN:"
                " send the header Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )


def is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _hostname(netloc: str) -> str:
    try:
        return (urlsplit(f"//{netloc}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
