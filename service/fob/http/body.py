"""Bodies of HTTP/1.1 messages: where they end, however their bytes arrive (RFC 9112, 6 and 7)."""

import re
from typing import Protocol

from fob.http.message import FIELD_LINES, Malformed, ResponseHead

MAX_CHUNK_LINE_BYTES = 1024
MAX_TRAILER_BYTES = 8 * 1024

_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")


class Body(Protocol):
    """A body as it arrives; `ended` once it is complete."""

    ended: bool

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the content in `data`, and the bytes after the body; raises `Malformed`."""


class SizedBody:
    """A body with a Content-Length."""

    def __init__(self, length: int) -> None:
        self.ended = not length
        self._remaining = length

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        piece, rest = data[: self._remaining], data[self._remaining :]
        self._remaining -= len(piece)
        self.ended = not self._remaining
        return piece, rest


NO_BODY = SizedBody(0)


class UnsizedBody:
    """A body that ends with its connection."""

    ended = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class ChunkedBody:
    """A chunked body. Chunk extensions and trailers are checked and dropped."""

    def __init__(self) -> None:
        self.ended = False
        self._unread = b""
        self._remaining = 0
        self._trailer_bytes = 0
        self._step = self._chunk_line

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        data, at = self._unread + data, 0
        pieces: list[bytes] = []
        while not self.ended:
            before, at = at, self._step(data, at, pieces)
            if at < 0:
                self._unread = data[before:]
                return b"".join(pieces), b""
        self._unread = b""
        return b"".join(pieces), data[at:]

    # Each step parses from `at` and returns where the next one begins, or -1 if it needs more data.

    def _chunk_line(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = _line_end(data, at, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            return -1
        match = _CHUNK_LINE.fullmatch(data, at, end)
        if not match:
            raise Malformed("the size of a chunk is malformed")
        self._remaining = int(match[1], 16)
        self._step = self._content if self._remaining else self._trailer
        return end + 2

    def _content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._remaining]
        if not piece:
            return -1
        pieces.append(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self._step = self._content_end
        return at + len(piece)

    def _content_end(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise Malformed("a chunk is longer than its size")
        if len(end) < 2:
            return -1
        self._step = self._chunk_line
        return at + 2

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = _line_end(data, at, MAX_TRAILER_BYTES - self._trailer_bytes)
        if end < 0:
            return -1
        line = data[at:end].decode("latin-1")
        if line and not FIELD_LINES.fullmatch(line + "\r\n"):
            raise Malformed("a trailer is malformed")
        self._trailer_bytes += len(line)
        self.ended = not line
        return end + 2


def response_body(head: ResponseHead, to_head_request: bool = False) -> Body:
    """The body that follows the head of a response; a response to HEAD has none."""
    if to_head_request or head.status in (204, 304):
        return NO_BODY
    if head.chunked:
        return ChunkedBody()
    return UnsizedBody() if head.length is None else SizedBody(head.length)


def _line_end(data: bytes, at: int, max_bytes: int) -> int:
    """Where the line that begins at `at` ends, or -1; raises `Malformed` beyond `max_bytes`."""
    end = data.find(b"\r\n", at)
    if (len(data) if end < 0 else end) - at > max_bytes + 1:
        raise Malformed("a line of the body is too long")
    return end
