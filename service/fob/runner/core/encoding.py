"""Results as JSON."""

from __future__ import annotations

from _json import encode_basestring_ascii, make_encoder

from fob.runner.core.feature import feature

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Types of results that are JSON values. A tuple is one too, unless it is a whole response.
JSON_TYPES = frozenset((dict, list, str, int, float, bool, type(None)))


def no_json(value: Any) -> Any:
    raise TypeError


# The encoder in C that json.dumps makes anew for every value, without its search for circles:
# those end as a RecursionError.
ENCODE: Any = make_encoder(
    None, no_json, encode_basestring_ascii, None, ": ", ", ", False, False, False
)


def encoded(value: Any) -> bytes:
    """Encode `value` as JSON. features/converters.py encodes what JSON has no type for."""
    try:
        return "".join(ENCODE(value, 0)).encode("ascii")
    except (TypeError, ValueError, RecursionError):  # json's own encoder can, or says why not
        import json

        encoder = json.JSONEncoder(allow_nan=False, default=feature("converters").encode)
        return encoder.encode(value).encode("ascii")
