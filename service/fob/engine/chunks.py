"""Long texts cut into chunks, so that text shared by many apps is in memory and on disk only once.

Apps that carry the same program in their `env`, as fob's functions do, differ in a few chunks only.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_LONG_CHARS = 16 * 1024  # values of this length or more are cut into chunks
CHUNK_CHARS = 4 * 1024
MAX_SHARED = 1000  # distinct values that `shared` remembers

_shared: dict[str, Any] = {}  # by repr: 1, 1.0 and True are equal but not the same JSON


@dataclass(frozen=True, slots=True)
class ChunkedText:
    """A long text; `str` joins it. Chunks are interned: equal chunks are the same object."""

    chunks: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(self.chunks)


def chunk_values(texts: Mapping[str, str]) -> dict[str, str | ChunkedText]:
    """Return the mapping with its long values chunked."""
    return {
        name: text if len(text) < MIN_LONG_CHARS else _chunked(text) for name, text in texts.items()
    }


def join_values(texts: Mapping[str, str | ChunkedText]) -> dict[str, str]:
    """Return the mapping with chunked values joined again."""
    return {name: str(text) for name, text in texts.items()}


def without_long(texts: Mapping[str, str | ChunkedText]) -> dict[str, str]:
    """Return the mapping without its long values."""
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def shared(value: Any) -> Any:
    """Return `value`, or an equal JSON value returned before; callers must not modify it."""
    if len(_shared) >= MAX_SHARED:
        _shared.clear()
    return _shared.setdefault(repr(value), value)


def to_json(value: Any) -> str:
    """Serialise to JSON without spaces; a `ChunkedText` becomes an ordinary string."""
    return _ENCODER.encode(value)


def _chunked(text: str) -> ChunkedText:
    starts = range(0, len(text), CHUNK_CHARS)
    return ChunkedText(tuple(sys.intern(text[at : at + CHUNK_CHARS]) for at in starts))


def _joined(value: Any) -> str:
    if isinstance(value, ChunkedText):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_joined)
