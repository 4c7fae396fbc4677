"""Request bodies that come in chunks (RFC 9112, section 7.1)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LINE_LIMIT = 1024  # bytes of the line before a chunk


def take(buffer: bytearray, body: bytearray, core: Any) -> bool:
    """Move whole chunks from `buffer` to `body`; True when the last one and its trailers came."""
    at = 0
    try:
        while True:
            line = buffer.find(b"\r\n", at, at + LINE_LIMIT)
            if line < 0 and len(buffer) - at < LINE_LIMIT:
                return False
            size = chunk_size(buffer[at : max(at, line)], core)
            start, end = line + 2, line + 2 + size
            if size == 0:
                last = buffer.find(b"\r\n\r\n", line, line + core.HEAD_LIMIT)
                if last < 0 and len(buffer) - line >= core.HEAD_LIMIT:
                    raise core.head_too_large()
                at = last + 4 if last >= 0 else at
                return last >= 0
            if len(body) + size > core.BODY_LIMIT:
                raise core.too_large()
            if len(buffer) < end + 2:
                return False
            if buffer[end : end + 2] != b"\r\n":
                raise core.bad_request("a chunk is longer than its size")
            body += buffer[start:end]
            at = end + 2
    finally:
        del buffer[:at]


def chunk_size(line: bytes | bytearray, core: Any) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not digits or digits.strip(b"0123456789abcdefABCDEF") or b"\n" in line or b"\r" in line:
        raise core.bad_request("a chunk's size is not a number")
    if len(digits) > 15:
        raise core.too_large()
    return int(digits, 16)
