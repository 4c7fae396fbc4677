"""What a request's body says: the fields of a form, or a JSON value."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def read(request: Any, core: Any) -> Any:
    """The body as a form's fields or a JSON value; Refused when it is neither."""
    text, kind = request.body, request.headers.get("content-type", "").lower()
    try:
        # `curl -d '{...}'` calls its JSON a form
        if kind.startswith("application/x-www-form-urlencoded") and text[:1] not in (b"{", b"["):
            return core.fields_of(text.decode("ascii"))
        return DECODE(text.decode())
    except RecursionError:
        raise core.Refused(400, "bad_body", "the body is too deeply nested") from None
    except ValueError as error:
        message = f"the body is neither JSON nor a form: {error}"
        raise core.Refused(400, "bad_body", message) from None


def not_a_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object's members; two of one name are somebody's mistake."""
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    for name, _ in pairs:
        if members.pop(name, pairs) is pairs:
            raise ValueError(f"an object has {name!r} twice")
    return members


DECODE = json.JSONDecoder(parse_constant=not_a_number, object_pairs_hook=without_twins).decode
