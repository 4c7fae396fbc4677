"""What FOB_FUNCTION holds, unpacked: a program, NUL, and what it is given.

Base64 of zlib's format (RFC 1950). The values of many apps begin alike, with the same program; that
beginning is unpacked once.
"""

import binascii
import bisect
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

from fob.contract import MAX_UNPACKED_BYTES

KNOWN = 4  # beginnings remembered


@dataclass(frozen=True)
class Beginning:
    """A `text` that values begin with, what it unpacks to, and the unpacker where it ends."""

    text: str
    program: bytes
    given: bytes
    unpacker: Any


class Unpacker:
    """Unpacks values, of which it has seen others before."""

    def __init__(self) -> None:
        self._before = ""
        self._known: deque[Beginning] = deque(maxlen=KNOWN)

    def unpack(self, value: str) -> tuple[bytes, bytes]:
        """Program and what it is given; ValueError or zlib.error when they are not there whole."""
        known = next((known for known in self._known if value.startswith(known.text)), None)
        if known is not None:
            rest = _whole(known.unpacker.copy(), value[len(known.text) :])
            return known.program, known.given + rest
        program, nul, given = _whole(zlib.decompressobj(), value).partition(b"\0")
        if not nul:
            raise ValueError("not a program and what it is given")
        self._learn(value, program)
        return program, given

    def _learn(self, value: str, program: bytes) -> None:
        """Remember what `value` and the one before have in common, if the program is in that."""
        before, self._before = self._before, value
        length = _common(before, value) // 4 * 4  # whole groups of base64
        text = value[:length]
        unpacker = zlib.decompressobj()
        begun, nul, given = unpacker.decompress(binascii.a2b_base64(text)).partition(b"\0")
        if nul and begun == program:
            self._known.append(Beginning(text, program, given, unpacker))


def _common(one: str, other: str) -> int:
    """How many characters the two begin with in common."""
    lengths = range(1, min(len(one), len(other)) + 1)
    return bisect.bisect(lengths, False, key=lambda length: one[:length] != other[:length])


def _whole(unpacker: Any, text: str) -> bytes:
    data: bytes = unpacker.decompress(binascii.a2b_base64(text), MAX_UNPACKED_BYTES)
    if not unpacker.eof:
        raise ValueError("cut off, or too long")
    return data
