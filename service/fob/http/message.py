"""Heads of HTTP/1.1 messages, parsed from and written to bytes (RFC 9112); bodies are in `body`.

Parsing is strict. A message that two parsers could read in two ways is an error: behind us may be
another parser, and what the two of them disagree about is how requests are smuggled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

MAX_HEAD_BYTES = 64 * 1024
MAX_FIELDS = 1000
# Most heads on a persistent connection repeat an earlier one byte for byte, so the most recent
# ones are cached with their parsed form (and, in the gateway, with the head made from them).
CACHED_HEADS = 256
MAX_CACHED_BYTES = 2048

Fields = list[tuple[str, str]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TEXT = r"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.(\d)", re.ASCII)
_STATUS_LINE = re.compile(rf"HTTP/1\.(\d) ([1-5]\d\d)(?: ({_TEXT}))?", re.ASCII)
FIELD_LINES = re.compile(rf"(?:{_TOKEN}:{_TEXT}\r\n)*")
_BARE_LINE_END = re.compile(rb"\r[^\n]|(?<!\r)\n")


class Malformed(Exception):
    """The bytes are not HTTP/1.1, or are ambiguous; the text says why."""


class MessageTooLarge(Malformed):
    """A head has too many bytes or too many fields."""


@dataclass(frozen=True, slots=True, eq=False)
class RequestHead:
    """The head of a request.

    Field names are in Title-Case. `fields` are the fields as sent; `headers` has fields of the
    same name joined by commas. `length` is the size of the body in bytes: 0 without a body, None
    when it is chunked.
    """

    method: str
    target: str
    minor: int
    fields: Fields
    headers: dict[str, str]
    length: int | None
    keep_alive: bool


@dataclass(frozen=True, slots=True, eq=False)
class ResponseHead:
    """The head of a response; `length` is its Content-Length, None without one."""

    status: int
    reason: str
    fields: Fields
    headers: dict[str, str]
    length: int | None
    chunked: bool
    keep_alive: bool


def split_head(data: bytes) -> tuple[bytes, bytes] | None:
    """Split `data` into a head, without the blank line that ends it, and the bytes after it.

    Returns None while the head is incomplete; raises `Malformed` once no further bytes can make it
    valid.
    """
    end = data.find(b"\r\n\r\n")
    if 0 <= end <= MAX_HEAD_BYTES:
        return data[:end], data[end + 4 :]
    if len(data) > MAX_HEAD_BYTES:
        raise MessageTooLarge(f"the head has more than {MAX_HEAD_BYTES} bytes")
    if _BARE_LINE_END.search(data):
        raise Malformed("a line of the head does not end with CR LF")
    return None


def parse_request(data: bytes) -> RequestHead:
    """Parse the head of a request, as `split_head` returns it; raises `Malformed`."""
    return _cached_request(data) if len(data) <= MAX_CACHED_BYTES else _request(data)


def parse_lone_request(data: bytes) -> RequestHead | None:
    """Parse `data` if it is exactly one request without a body, which most often it is.

    Returns None for anything else; raises `Malformed`. One look-up in a cache stands for the whole
    of `split_head`, `parse_request` and the body.
    """
    if len(data) > MAX_CACHED_BYTES or not data.endswith(b"\r\n\r\n"):
        return None
    return _cached_lone_request(data)


def parse_response(data: bytes) -> ResponseHead:
    """Parse the head of a response, as `split_head` returns it; raises `Malformed`."""
    return _cached_response(data) if len(data) <= MAX_CACHED_BYTES else _response(data)


def request_bytes(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Write a whole request for `url`."""
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
        raise Malformed("the first line is not an HTTP/1.1 request line")
    method, target, minor = match.groups()
    fields, headers = _fields(rest)
    host = headers.get("Host")
    if (host is None and minor != "0") or (host and "," in host):
        raise Malformed("a request needs exactly one Host header")
    length, chunked = _framing(minor, headers)
    return RequestHead(
        method=method,
        target=target,
        minor=int(minor),
        fields=fields,
        headers=headers,
        length=None if chunked else length or 0,
        keep_alive=_keep_alive(minor, headers),
    )


def _response(data: bytes) -> ResponseHead:
    line, _, rest = data.decode("latin-1").partition("\r\n")
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise Malformed("the first line is not an HTTP/1.1 status line")
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
        keep_alive=_keep_alive(minor, headers),
    )


def _lone_request(data: bytes) -> RequestHead | None:
    head = data[:-4]
    if not head or b"\r\n\r\n" in head or head[:1] in b"\r\n":
        return None
    request = _request(head)
    return None if request.length != 0 else request


_cached_request = lru_cache(CACHED_HEADS)(_request)
_cached_lone_request = lru_cache(CACHED_HEADS)(_lone_request)
_cached_response = lru_cache(CACHED_HEADS)(_response)


def _fields(text: str) -> tuple[Fields, dict[str, str]]:
    """The fields one by one, and joined by name."""
    if not text:
        return [], {}
    if not FIELD_LINES.fullmatch(text + "\r\n"):
        raise Malformed("a header is malformed")
    lines = text.split("\r\n")
    if len(lines) > MAX_FIELDS:
        raise MessageTooLarge(f"the head has more than {MAX_FIELDS} headers")
    fields = []
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        name, value = name.title(), value.strip(" \t")
        fields.append((name, value))
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return fields, headers


def _framing(minor: str, headers: dict[str, str]) -> tuple[int | None, bool]:
    """The Content-Length, if there is one, and whether the body is chunked instead."""
    coding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
    if coding is not None:
        if length is not None or minor == "0" or coding.lower() != "chunked":
            raise Malformed("the length of the body is ambiguous")
        return None, True
    if length is None:
        return None, False
    # isascii: str.isdigit accepts other digits, such as superscripts, that int does not
    if not (length.isascii() and length.isdigit() and len(length) < 16):
        raise Malformed("Content-Length is not a single number")
    return int(length), False


def _keep_alive(minor: str, headers: dict[str, str]) -> bool:
    if "Connection" not in headers:
        return minor != "0"
    options = {option.strip().lower() for option in headers["Connection"].split(",")}
    return "close" not in options and (minor != "0" or "keep-alive" in options)
