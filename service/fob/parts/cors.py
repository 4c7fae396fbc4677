"""Cross-origin requests: what web pages of others may call a function (fetch.spec.whatwg.org)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

FOREVER = 600  # seconds a browser may remember the answer


def make(setting: str) -> Callable[[Any], tuple[bytes, bool]]:
    """Header lines for the answer to a request, and whether that only asks for permission.

    `setting` is `*`, or origins such as `https://example.org`, separated by commas or spaces.
    """
    allowed = setting.replace(",", " ").split()

    def headers(request: Any) -> tuple[bytes, bool]:
        origin = request.headers.get("origin", "")
        vary = "" if "*" in allowed else "Vary: Origin\r\n"
        if not origin or not {origin, "*"}.intersection(allowed):
            return vary.encode(), False
        lines = f"Access-Control-Allow-Origin: {'*' if '*' in allowed else origin}\r\n{vary}"
        method = request.headers.get("access-control-request-method")
        preflight = request.method == "OPTIONS" and bool(method)
        if preflight:
            wanted = request.headers.get("access-control-request-headers", "")
            lines += f"Access-Control-Allow-Methods: {method}\r\n"
            lines += f"Access-Control-Allow-Headers: {wanted}\r\n" if wanted else ""
            lines += f"Access-Control-Max-Age: {FOREVER}\r\n"
        else:
            lines += "Access-Control-Expose-Headers: *\r\n"
        return lines.encode("latin-1"), preflight

    return headers
