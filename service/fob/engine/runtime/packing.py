"""Unpack values of FOB_FUNCTION: a program, NUL, and a snippet.

The format is base64 of zlib's (RFC 1950). All functions of one release of fob have the same runner,
so their values begin with the same characters. zlib decompresses a stream from its beginning, and
its state can be copied: the shared prefix is decompressed once, and a copy of the decompressor goes
on from there with the rest of each value.
"""

import binascii
import bisect
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from fob.contract import MAX_UNPACKED_BYTES

MAX_PREFIXES = 4  # remembered


@dataclass(frozen=True)
class Prefix:
    """The first characters of some values, `text`: the `program` in them, what they contain of the
    snippet, and the decompressor as it is after them."""

    text: str
    program: bytes
    snippet: bytes
    decompressor: Any


class Unpacker:
    """Unpacks values, and remembers the prefixes that they share."""

    def __init__(self) -> None:
        self._last = ""
        self._prefixes: deque[Prefix] = deque(maxlen=MAX_PREFIXES)

    def unpack(self, value: str) -> tuple[bytes, bytes]:
        """Return program and snippet. Raises ValueError or zlib.error if `value` is invalid."""
        prefix = next((known for known in self._prefixes if value.startswith(known.text)), None)
        if prefix is not None:
            rest = _decompress(prefix.decompressor.copy(), value[len(prefix.text) :])
            return prefix.program, prefix.snippet + rest
        program, nul, snippet = _decompress(zlib.decompressobj(), value).partition(b"\0")
        if not nul:
            raise ValueError("there is no NUL between a program and a snippet")
        self._learn(value, program)
        return program, snippet

    def _learn(self, value: str, program: bytes) -> None:
        """Remember the prefix that `value` shares with the last one, if the program is in it."""
        last, self._last = self._last, value
        length = _shared_length(last, value) // 4 * 4  # base64 can be cut only between groups of 4
        text = value[:length]
        decompressor = zlib.decompressobj()
        start, nul, snippet = decompressor.decompress(binascii.a2b_base64(text)).partition(b"\0")
        if nul and start == program:
            self._prefixes.append(Prefix(text, program, snippet, decompressor))


def _shared_length(one: str, other: str) -> int:
    """The number of characters that both begin with, found by bisection."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect.bisect(lengths, False, key=lambda length: one[:length] != other[:length])


def _decompress(decompressor: Any, text: str) -> bytes:
    data: bytes = decompressor.decompress(binascii.a2b_base64(text), MAX_UNPACKED_BYTES)
    if not decompressor.eof:
        raise ValueError("the value is cut off, or too long when unpacked")
    return data
