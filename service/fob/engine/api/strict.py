"""JSON as strict as Marathon's, which Python's parser is not."""

import json
import math
from typing import Any


def loads(body: bytes) -> Any:
    """Parse `body`, which is UTF-8.

    Raises `ValueError` for malformed JSON, for NaN and numbers that no float can hold, and for lone
    surrogates, which no file, variable or response could contain; `RecursionError` if it is nested
    too deeply.
    """
    value = _DECODER.decode(body.decode())
    if b"\\u" in body:  # an escape is the only way to write a lone surrogate
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
