"""Request bodies with the chunked transfer coding (RFC 9112, section 7.1)."""

from __future__ import annotations

from fob.runner.core.request import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    bad_request,
    body_too_large,
    head_too_large,
)

MAX_LINE_BYTES = 1024  # of the line before a chunk


def take(buffer: bytearray, body: bytearray) -> bool:
    """Move complete chunks from `buffer` to `body`; return True after the last and its trailers.

    Raises RequestError.
    """
    at = 0
    try:
        while True:
            line = buffer.find(b"\r\n", at, at + MAX_LINE_BYTES)
            if line < 0 and len(buffer) - at < MAX_LINE_BYTES:
                return False
            size = chunk_size(buffer[at : max(at, line)])
            start, end = line + 2, line + 2 + size
            if size == 0:
                last = buffer.find(b"\r\n\r\n", line, line + MAX_HEAD_BYTES)
                if last < 0 and len(buffer) - line >= MAX_HEAD_BYTES:
                    raise head_too_large()
                at = last + 4 if last >= 0 else at
                return last >= 0
            if len(body) + size > MAX_BODY_BYTES:
                raise body_too_large()
            if len(buffer) < end + 2:
                return False
            if buffer[end : end + 2] != b"\r\n":
                raise bad_request("a chunk is longer than its size")
            body += buffer[start:end]
            at = end + 2
    finally:
        del buffer[:at]


def chunk_size(line: bytes | bytearray) -> int:
    digits = line.partition(b";")[0].rstrip(b" \t")
    if not digits or digits.strip(b"0123456789abcdefABCDEF") or b"\n" in line or b"\r" in line:
        raise bad_request("a chunk's size is not a number")
    if len(digits) > 15:
        raise body_too_large()
    return int(digits, 16)
