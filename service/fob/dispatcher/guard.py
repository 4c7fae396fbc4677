"""Access checks: foreign web pages must not reach the dispatcher, which runs code by design.

A browser names the origin of a request (`Origin`, `Sec-Fetch-Site`), and a foreign name that
resolves to this machine shows up in `Host` (DNS rebinding). Other programs send neither and pass.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from fob.errors import Forbidden, Unauthorized

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Guard:
    """The checks for a dispatcher that listens on `host`; an empty `token` requires none."""

    def __init__(self, host: str, token: str) -> None:
        self._token = token.encode()
        self._names = None if is_unspecified(host) else _LOOPBACK | {host.lower()}

    @property
    def requires_token(self) -> bool:
        return bool(self._token)

    def check_origin(self, headers: Mapping[str, str]) -> None:
        """Raise `Forbidden` when the request comes from a foreign web page."""
        host = headers.get("Host", "")
        if self._names is not None and _hostname(host) not in self._names:
            raise Forbidden(
                f"Host {host[:100]!r} is not a name of this dispatcher;"
                f" use one of {', '.join(sorted(self._names))}"
            )
        origin = headers.get("Origin")
        if origin is not None and _netloc(origin) != host.lower():
            raise Forbidden(f"Requests from web pages of {origin[:100]!r} are not allowed")
        if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Forbidden("Requests from other web pages are not allowed")

    def check_token(self, headers: Mapping[str, str]) -> None:
        """Raise `Unauthorized` unless the request has the token, if one is required."""
        scheme, _, credentials = headers.get("Authorization", "").partition(" ")
        token = credentials.strip() if scheme.lower() == "bearer" else ""
        given = token.encode("latin-1", "replace")
        # compare_digest takes equally long for every wrong token, so timing reveals no prefix
        if self._token and not hmac.compare_digest(given, self._token):
            raise Unauthorized(
                "This request needs the token that the dispatcher was started with in FOB_TOKEN:"
                " send the header Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )


def is_unspecified(host: str) -> bool:
    """Whether it stands for every address of the machine, as 0.0.0.0 and :: do."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether the address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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
