"""HTTP/1.1 messages as bytes (RFC 9112), of clients, functions and Marathon: heads and bodies.

Strict: what two readers could understand in two ways is refused, for one of them may stand behind
us and be led astray.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

HEAD_BYTES = 64 * 1024
FIELDS_MOST = 1000
CHUNK_LINE_BYTES = 1024
TRAILER_BYTES = 8 * 1024
# on kept connections it is mostly the same heads that come again: so many are remembered, with what
# was made of them, each of no more than so many bytes
RECENT = 256
RECENT_BYTES = 2048

Fields = list[tuple[str, str]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.(\d)", re.ASCII)
_STATUS_LINE = re.compile(rf"HTTP/1\.(\d) ([1-5]\d\d)(?: ({_TEXT}))?", re.ASCII)
_FIELD_LINES = re.compile(rf"(?:{_TOKEN}:{_TEXT}\r\n)*")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(;[\t\x20-\x7e\x80-\xff]*)?")
_BARE_LINE_END = re.compile(rb"\r[^\n]|(?<!\r)\n")


class Malformed(Exception):
    """The bytes are not HTTP/1.1, or not clearly; the text says why."""


class MessageTooLarge(Malformed):
    """A head is larger than heads may be."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """The head of a request.

    Names of fields are in Title-Case. `fields` has them as sent, `headers` those of one name joined
    by commas. `length` is that of the body in bytes: 0 when there is none, None when it is chunked.
    """

    method: str
    target: str
    minor: int
    fields: Fields
    headers: dict[str, str]
    length: int | None
    keep: bool


@dataclass(frozen=True, slots=True, eq=False)
class ResponseHead:
    """The head of an answer; `length` is None when it does not tell that of its body."""

    status: int
    reason: str
    fields: Fields
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep: bool


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """The head that begins `data`, without the blank line that ends it, and what follows.

    None when the rest of the head is still to come; raises `Malformed` when that cannot help.
    """
    end = data.find(b"\r\n\r\n")
    if 0 <= end <= HEAD_BYTES:
        return data[:end], data[end + 4 :]
    if len(data) > HEAD_BYTES:
        raise MessageTooLarge(f"the head has more than {HEAD_BYTES} bytes")
    if _BARE_LINE_END.search(data):
        raise Malformed("a line of the head does not end with CR LF")
    return None


def request(data: bytes) -> RequestHead:
    """Read the head of a request, as `split` gives it; raises `Malformed`."""
    return _recent_request(data) if len(data) <= RECENT_BYTES else _request(data)


def alone(data: bytes) -> RequestHead | None:
    """The request when `data` is one without a body and nothing else, as is most often the case.

    None when it may be anything else; raises `Malformed`.
    """
    if len(data) > RECENT_BYTES or not data.endswith(b"\r\n\r\n"):
        return None
    return _recent_alone(data)


def answer(data: bytes) -> ResponseHead:
    """Read the head of an answer, as `split` gives it; raises `Malformed`."""
    return _recent_answer(data) if len(data) <= RECENT_BYTES else _answer(data)


def sent(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """A request for `url`, in one piece."""
    parts = urlsplit(url)
    target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    fields = {"Host": parts.netloc, **headers}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


def _request(data: bytes) -> RequestHead:
    line, _, rest = data.decode("latin-1").partition("\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if not match:
        raise Malformed("the first line is not that of an HTTP/1.1 request")
    method, target, minor = match.groups()
    fields, headers = _fields(rest)
    host = headers.get("Host")
    if (host is None and minor != "0") or (host and "," in host):
        raise Malformed("a request has one Host")
    length, chunked = _framing(minor, headers)
    return RequestHead(
        method=method,
        target=target,
        minor=int(minor),
        fields=fields,
        headers=headers,
        length=None if chunked else length or 0,
        keep=_keeps(minor, headers),
    )


def _answer(data: bytes) -> ResponseHead:
    line, _, rest = data.decode("latin-1").partition("\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed("the first line is not that of an HTTP/1.1 answer")
    minor, status, reason = match.groups()
    fields, headers = _fields(rest)
    length, chunked = _framing(minor, headers)
    return ResponseHead(
        status=int(status),
        reason=reason or "",
        fields=fields,
        headers=headers,
        length=length,
        chunked=chunked,
        keep=_keeps(minor, headers),
    )


def _alone(data: bytes) -> RequestHead | None:
    head = data[:-4]
    if not head or b"\r\n\r\n" in head or head[:1] in b"\r\n":
        return None
    found = _request(head)
    return None if found.length != 0 else found


_recent_request = lru_cache(RECENT)(_request)
_recent_alone = lru_cache(RECENT)(_alone)
_recent_answer = lru_cache(RECENT)(_answer)


def _fields(text: str) -> tuple[Fields, dict[str, str]]:
    """The fields one by one, and those of the same name joined."""
    if not text:
        return [], {}
    if not _FIELD_LINES.fullmatch(text + "\r\n"):
        raise Malformed("a header is malformed")
    lines = text.split("\r\n")
    if len(lines) > FIELDS_MOST:
        raise MessageTooLarge(f"the head has more than {FIELDS_MOST} headers")
    fields = []
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.title(), value.strip(" \t")
        fields.append((name, value))
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return fields, headers


def _framing(minor: str, headers: dict[str, str]) -> tuple[int | None, bool]:
    """The body's length as far as it is told, and whether it is chunked instead."""
    coding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
    if coding is not None:
        if length is not None or minor == "0" or coding.lower() != "chunked":
            raise Malformed("the length of the body is not clear")
        return None, True
    if length is None:
        return None, False
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Malformed("Content-Length is not one number")
    return int(length), False


def _keeps(minor: str, headers: dict[str, str]) -> bool:
    if "Connection" not in headers:
        return minor != "0"
    options = {option.strip().lower() for option in headers["Connection"].split(",")}
    return "close" not in options and (minor != "0" or "keep-alive" in options)


class Body(Protocol):
    """A body as it comes in; `ended` once it is whole."""

    ended: bool

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """What of `data` belongs to the body, and what follows it; raises `Malformed`."""


class SizedBody:
    """A body of a length that is known."""

    def __init__(self, length: int) -> None:
        self.ended = not length
        self._left = length

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        piece, rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self.ended = not self._left
        return piece, rest


NOTHING = SizedBody(0)


class UnsizedBody:
    """A body that ends with its connection."""

    ended = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        return data, b""


class ChunkedBody:
    """A chunked body. Extensions and trailers are nothing we pass on; they are checked and
    forgotten."""

    def __init__(self) -> None:
        self.ended = False
        self._unread = b""
        self._left = 0
        self._trailer_bytes = 0
        self._next = self._size

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        data, at = self._unread + data, 0
        pieces: list[bytes] = []
        while not self.ended:
            before, at = at, self._next(data, at, pieces)
            if at < 0:
                self._unread = data[before:]
                return b"".join(pieces), b""
        self._unread = b""
        return b"".join(pieces), data[at:]

    # each step reads from `at` and answers where the next begins, or -1 to ask for more

    def _size(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = _line_end(data, at, CHUNK_LINE_BYTES)
        if end < 0:
            return -1
        match = _CHUNK_LINE.fullmatch(data, at, end)
        if not match:
            raise Malformed("a chunk does not say its length")
        self._left = int(match[1], 16)
        self._next = self._content if self._left else self._trailer
        return end + 2

    def _content(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        piece = data[at : at + self._left]
        if not piece:
            return -1
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._next = self._after
        return at + len(piece)

    def _after(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = data[at : at + 2]
        if not b"\r\n".startswith(end):
            raise Malformed("a chunk is longer than it said")
        if len(end) < 2:
            return -1
        self._next = self._size
        return at + 2

    def _trailer(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        end = _line_end(data, at, TRAILER_BYTES - self._trailer_bytes)
        if end < 0:
            return -1
        line = data[at:end].decode("latin-1")
        if line and not _FIELD_LINES.fullmatch(line + "\r\n"):
            raise Malformed("a trailer is malformed")
        self._trailer_bytes += len(line)
        self.ended = not line
        return end + 2


def body_of(head: ResponseHead, is_head: bool = False) -> Body:
    """The body that comes after the head of an answer, to HEAD if `is_head`."""
    if is_head or head.status in (204, 304):
        return NOTHING
    if head.chunked:
        return ChunkedBody()
    return UnsizedBody() if head.length is None else SizedBody(head.length)


def _line_end(data: bytes, at: int, most: int) -> int:
    """Where the line that begins at `at` ends, or -1; raises `Malformed` after `most` bytes."""
    end = data.find(b"\r\n", at)
    if (len(data) if end < 0 else end) - at > most + 1:
        raise Malformed("the body has a line without end")
    return end
