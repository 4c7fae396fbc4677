"""Long values in pieces: what many apps have in common is in memory, and on the disk, once."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONG = 16 * 1024  # characters from which a value is kept in pieces
PIECE = 4 * 1024  # characters of one
COMMON = 1000  # values remembered, for others to have too

_common: dict[str, Any] = {}  # by what they look like


@dataclass(frozen=True, slots=True)
class ChunkedText:
    """A long text, as `str` gives it. Equal pieces of all texts are one object."""

    pieces: tuple[str, ...]

    def __str__(self) -> str:
        return "".join(self.pieces)


def folded(texts: Mapping[str, str]) -> dict[str, str | ChunkedText]:
    """The texts by the same names, the long ones in pieces."""
    return {name: text if len(text) < LONG else _cut(text) for name, text in texts.items()}


def unfolded(texts: Mapping[str, str | ChunkedText]) -> dict[str, str]:
    """The texts, whole."""
    return {name: str(text) for name, text in texts.items()}


def brief(texts: Mapping[str, str | ChunkedText]) -> dict[str, str]:
    """The texts without those that are long."""
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def common(value: Any) -> Any:
    """The value, as JSON knows them, or one that is equal and that other apps have: it is nobody's
    to change."""
    if len(_common) >= COMMON:
        _common.clear()
    return _common.setdefault(repr(value), value)


def to_json(value: Any) -> str:
    """JSON, in which a `Long` is a string like any other."""
    return json.dumps(value, default=_plain)


def _cut(text: str) -> ChunkedText:
    return ChunkedText(
        tuple(sys.intern(text[at : at + PIECE]) for at in range(0, len(text), PIECE))
    )


def _plain(value: Any) -> str:
    if isinstance(value, ChunkedText):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
