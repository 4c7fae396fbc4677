"""Cross-origin requests: which web pages may call a function (fetch.spec.whatwg.org)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fob.runner.core.request import Request

MAX_AGE = 600  # seconds for which a browser may cache the permission


def make(setting: str) -> Callable[[Request], tuple[bytes, bool]]:
    """Return a function that maps a request to header lines and whether it is a preflight.

    `setting` is `*`, or origins such as `https://example.org`, separated by commas or spaces.
    """
    allowed = setting.replace(",", " ").split()

    def headers(request: Request) -> tuple[bytes, bool]:
        origin = request.headers.get("origin", "")
        vary = "" if "*" in allowed else "Vary: Origin\r\n"
        if not origin or not {origin, "*"}.intersection(allowed):
            return vary.encode(), False
        lines = f"Access-Control-Allow-Origin: {'*' if '*' in allowed else origin}\r\n{vary}"
        method = request.headers.get("access-control-request-method")
        preflight = request.method == "OPTIONS" and bool(method)
        if preflight:
            names = request.headers.get("access-control-request-headers", "")
            lines += f"Access-Control-Allow-Methods: {method}\r\n"
            lines += f"Access-Control-Allow-Headers: {names}\r\n" if names else ""
            lines += f"Access-Control-Max-Age: {MAX_AGE}\r\n"
        else:
            lines += "Access-Control-Expose-Headers: *\r\n"
        return lines.encode("latin-1"), preflight

    return headers
