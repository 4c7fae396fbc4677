"""Bodies of requests: the fields of a form, or a JSON value."""

from __future__ import annotations

import json

from fob.runner.core.errors import RequestError
from fob.runner.core.fields import fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.core.request import Request


def read(request: Request) -> Any:
    """Parse the body as a form's fields or a JSON value. Raises RequestError."""
    text, kind = request.body, request.headers.get("content-type", "").lower()
    try:
        # `curl -d '{...}'` calls its JSON a form
        if kind.startswith("application/x-www-form-urlencoded") and text[:1] not in (b"{", b"["):
            return fields_of(text.decode("ascii"))
        return DECODE(text.decode())
    except RecursionError:
        raise RequestError(400, "bad_body", "the body is too deeply nested") from None
    except ValueError as error:
        message = f"the body is neither JSON nor a form: {error}"
        raise RequestError(400, "bad_body", message) from None


def not_a_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's members. Raises ValueError if two have one name, which is a mistake."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    for name, _ in pairs:
        if members.pop(name, pairs) is pairs:
            raise ValueError(f"an object has {name!r} twice")
    return members


DECODE = json.JSONDecoder(parse_constant=not_a_number, object_pairs_hook=unique_members).decode
