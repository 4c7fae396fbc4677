"""Responses that are more than a JSON value: bytes, media types, statuses, streams.

A result is sent as it is if it is bytes, an iterator (streamed) or a tuple `(body, status,
headers)`: exactly three, an integer from 100 to 599, a dict. Functions return dicts and lists as
data every day, but hardly ever such a tuple. docs/functions.md has the table.
"""

from __future__ import annotations

from fob.runner.core.encoding import encoded
from fob.runner.core.errors import RequestError
from fob.runner.core.output import log
from fob.runner.core.response import BODILESS, BODILESS_HEAD, REASON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Any

    from fob.runner.core.response import Response
    from fob.runner.core.worker import Call

    HeaderItems = Iterable[tuple[str, Any]]

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
LINES = "application/x-ndjson"
# headers that the runner sets itself
OURS = {"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "content-length"}
TOKEN_CHARACTERS = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class HttpResponse:
    """An HTTP response: `body` is bytes, or an iterator of bytes, str and JSON values."""

    def __init__(self, status: int, headers: HeaderItems, body: Any) -> None:
        self.status, self.headers, self.body = status, list(headers), body


def invalid(message: str) -> RequestError:
    """The error for a result that is no valid response; logged too."""
    log(message + "\n")
    return RequestError(500, "invalid_result", message)


def send(result: Any, call: Call) -> Response | None:
    """Send a result that is a response.

    Returns the response if it is complete; None if it has been streamed (then `call.begun`), or if
    the result is a JSON value after all.
    """
    response = result if isinstance(result, HttpResponse) else _response_of(result)
    if response is None or call.begun:
        return None
    if isinstance(response.body, bytes):
        return response.status, header_lines(response), response.body
    _stream(response, call)
    return None


def _response_of(result: Any) -> HttpResponse | None:
    if isinstance(result, tuple):
        if not _is_response(result):
            return None
        body, status, headers = result
        return with_body(status, headers, body)
    return with_body(200, {}, result) if _is_body(result) else None


def _is_response(result: tuple[Any, ...]) -> bool:
    """Whether it is body, status and headers; any other tuple is a JSON list."""
    return (
        len(result) == 3
        and type(result[1]) is int
        and 100 <= result[1] <= 599
        and isinstance(result[2], dict)
    )


def _is_body(result: Any) -> bool:
    kind = type(result)
    return isinstance(result, (bytes, bytearray, memoryview)) or any(
        hasattr(kind, name) for name in ("__next__", "__anext__")
    )


def with_body(status: int, headers: dict[str, Any], body: Any, text: str = TEXT) -> HttpResponse:
    """A response with any body: bytes and str as they are, an iterator streamed, others as JSON.

    `text` is the media type of a str for which the headers have none.
    """
    kind = BINARY
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = bytes(body)
    elif isinstance(body, str):
        kind, body = text, body.encode("utf-8", "replace")
    elif body is None:
        kind, body = "", b""
    elif _is_body(body):
        kind = ""
    else:
        kind, body = "application/json", _json(body)
    return HttpResponse(status, _with_type(headers.items(), kind), body)


def _with_type(headers: HeaderItems, kind: str) -> list[tuple[str, Any]]:
    known = [(str(name), value) for name, value in headers]
    typed = not kind or any(name.lower() == "content-type" for name, _ in known)
    return known if typed else [("Content-Type", kind), *known]


def _json(value: Any) -> bytes:
    try:
        return encoded(value)
    except Exception as error:  # noqa: BLE001 - the value's own methods run in here
        from fob.runner.features.tracebacks import words

        kind = type(value).__name__
        message = f"the body is a {kind} that JSON cannot represent: {words(error)}"
        raise invalid(message) from None


def header_lines(response: HttpResponse) -> bytes:
    """The header lines of a response, without those that the runner sets. Raises RequestError."""
    if not 200 <= response.status <= 599:
        raise invalid(f"{response.status} is not the status of a response: those are 200 to 599")
    try:
        return b"".join(
            _line(name, text)
            for name, value in response.headers
            if name.lower() not in OURS
            for text in (value if isinstance(value, (list, tuple)) else [value])
        )
    except ValueError as error:
        raise invalid(str(error)) from None


def _line(name: str, value: Any) -> bytes:
    value = str(value).strip(" \t")
    if not name or not TOKEN_CHARACTERS.issuperset(name.lower()):
        raise ValueError(f"{name[:80]!r} is not the name of a header")
    if any(mark in value for mark in "\r\n\0"):
        raise ValueError(f"the header {name} has a line break or NUL in it: {value[:80]!r}")
    try:
        return f"{name}: {value}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the header {name} is not Latin-1: {value[:80]!r}") from None


class ResponseStream:
    """The bytes of a response that is sent in pieces: `head`, each `frame`, then `end`."""

    def __init__(self, response: HttpResponse, call: Call) -> None:
        request = call.request
        self.left = declared_length(response)
        self.silent = request.method == "HEAD" or response.status in BODILESS
        endless = self.left is None and not self.silent
        self.chunked = endless and request.version == "HTTP/1.1"
        headers = header_lines(response)
        if self.chunked:
            headers += b"Transfer-Encoding: chunked\r\n"
        elif self.left is not None and response.status not in BODILESS:
            headers += b"Content-Length: %d\r\n" % self.left
        close = call.server.stopping or (endless and not self.chunked)
        last_headers = call.connection.last_headers(request, close)
        reason = REASON.get(response.status, b"")
        self.head = BODILESS_HEAD % (response.status, reason, headers, last_headers)

    def frame(self, piece: bytes) -> bytes:
        """What to send for a piece of the body, b"" for none. Raises RequestError."""
        if self.silent or not piece:
            return b""
        if self.left is not None:
            self.left -= len(piece)
            if self.left < 0:
                raise invalid("the body is longer than its Content-Length")
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece

    def end(self) -> bytes:
        if self.left and not self.silent:
            raise invalid(f"the body is {self.left} bytes shorter than its Content-Length")
        return b"0\r\n\r\n" if self.chunked else b""


def declared_length(response: HttpResponse) -> int | None:
    """The Content-Length among the headers. Raises RequestError if that is no number."""
    for name, value in response.headers:
        if name.lower() == "content-length":
            if not str(value).isdecimal():
                raise invalid(f"the Content-Length {str(value)[:80]!r} is not a number")
            return int(value)
    return None


def _stream(response: HttpResponse, call: Call) -> None:
    """Send the pieces of a body as the iterator yields them; the first decides the type."""
    pieces = _pieces(response.body, call)
    try:
        first = next(pieces, b"")
        kind, encode = _form(first)
        response.headers = _with_type(response.headers, kind)
        stream = ResponseStream(response, call)
        send_piece(call, stream.head + stream.frame(encode(first)))
        for piece in pieces if not stream.silent else ():
            send_piece(call, stream.frame(encode(piece)))
        send_piece(call, stream.end())
    except Disconnected:
        call.connection.abort()
    finally:
        pieces.close()


class Disconnected(Exception):
    """The client has disconnected."""


def send_piece(call: Call, data: bytes) -> None:
    """Send all of `data`, waiting for the client. Raises Disconnected."""
    from fob.runner.features import streaming

    try:
        if data:
            streaming.send(call, data)
    except OSError:
        raise Disconnected from None


def _pieces(body: Any, call: Call) -> Generator[Any, None, None]:
    """What an iterator yields, synchronous or not; it is closed at the end."""
    wait = call.server.function.wait
    try:
        if hasattr(type(body), "__next__"):
            yield from body
        while hasattr(type(body), "__anext__"):
            yield wait(body.__anext__(), call)
    except StopAsyncIteration:
        return
    finally:
        if hasattr(body, "close"):
            body.close()
        if hasattr(body, "aclose"):
            wait(body.aclose(), call)


def _form(first: Any) -> tuple[str, Callable[[Any], bytes]]:
    """Media type of a stream that starts with `first`, and how its pieces are encoded."""

    def plain(piece: Any) -> bytes:
        if isinstance(piece, str):
            return piece.encode("utf-8", "replace")
        if isinstance(piece, (bytes, bytearray, memoryview)):
            return bytes(piece)
        kind = type(piece).__name__
        raise invalid(f"a stream that started with text or bytes continued with a {kind}")

    if isinstance(first, str):
        return TEXT, plain
    if isinstance(first, (bytes, bytearray, memoryview)):
        return BINARY, plain
    return LINES, lambda piece: _json(piece) + b"\n"
