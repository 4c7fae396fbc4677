"""Fields of a request: of its query string and of its body."""

from __future__ import annotations

from fob.runner.core.errors import RequestError
from fob.runner.core.feature import feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.core.request import Request

MAX_FIELDS = 1000  # of a query string or form


def fields_of(text: str) -> dict[str, Any]:
    """Parse a query string or form; a field given several times becomes a list."""
    fields: dict[str, Any] = {}
    pairs = text.split("&", MAX_FIELDS)
    if len(pairs) > MAX_FIELDS:
        raise RequestError(400, "bad_arguments", f"more than {MAX_FIELDS} fields")
    decode = unquote if "%" in text or "+" in text else str
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            fields.setdefault(decode(name), []).append(decode(value))
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}


def unquote(text: str, plus: str = " ") -> str:
    """Decode percent-encoded text; `plus` replaces each plus sign."""
    text = text.replace("+", plus)
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise RequestError(400, "bad_arguments", f"{text[:80]!r} is not UTF-8") from None


def body_of(request: Request) -> Any:
    """Parse the body: a form's fields or a JSON value. Raises RequestError."""
    return feature("bodies").read(request)
