"""JSON as Marathon reads it, which is stricter than Python."""

import json
import math
from typing import Any


def loads(body: bytes) -> Any:
    """What `body` says, UTF-8 that it is.

    Raises `ValueError` for what is no JSON, for numbers that no float can hold, and for halves of
    characters, which no file, variable or answer could have; `RecursionError` when it is too deep.
    """
    value = _DECODER.decode(body.decode())
    if b"\\u" in body:  # only so can a half of a character come
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"Number out of range: {text[:20]}")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"Unrecognized token: {text}")


_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_constant)
