"""Answers that are more than a JSON value: bytes, media types, statuses, and what comes in pieces.

A result is sent as it is when it is bytes, an iterator (streamed, piece by piece) or a tuple
`(body, status, headers)`: exactly three, a whole number from 100 to 599, a dict. Functions return
dicts and lists as data every day, but hardly ever that. docs/functions.md has the table.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from typing import Any

    Headers = Iterable[tuple[str, str]]

TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
LINES = "application/x-ndjson"
# headers that are the runner's own affair
OURS = {"connection", "keep-alive", "transfer-encoding", "upgrade", "trailer", "content-length"}
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


class Reply:
    """An HTTP answer: `body` is bytes, or an iterator of bytes, str and JSON values."""

    def __init__(self, status: int, headers: Headers, body: Any) -> None:
        self.status, self.headers, self.body = status, list(headers), body


def invalid(core: Any, message: str) -> Exception:
    """What to raise for a result that is no good answer; the log gets it, too."""
    core.log(message + "\n")
    error: Exception = core.Refused(500, "invalid_result", message)
    return error


def send(result: Any, call: Any, core: Any) -> tuple[int, bytes, bytes] | None:
    """Send a result that says how. What is whole comes back as status, header lines and body.

    None when it is a value for JSON, or when it has been sent (then `call.begun`).
    """
    reply = result if isinstance(result, Reply) else _reply(result, core)
    if reply is None or call.begun:
        return None
    if isinstance(reply.body, bytes):
        return reply.status, lines(reply, core), reply.body
    _stream(reply, call, core)
    return None


def _reply(result: Any, core: Any) -> Reply | None:
    if isinstance(result, tuple):
        return _whole(result, core) if _is_whole(result) else None
    return body_reply(200, {}, result, core) if _is_body(result) else None


def _is_whole(result: tuple[Any, ...]) -> bool:
    """Whether it is a body with status and headers; anything else is a JSON list."""
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


def _whole(result: tuple[Any, ...], core: Any) -> Reply:
    body, status, headers = result
    return body_reply(status, headers, body, core)


def body_reply(
    status: int, headers: dict[str, Any], body: Any, core: Any, text: str = TEXT
) -> Reply:
    """An answer with any body: bytes and str as they are, an iterator in pieces, else JSON.

    `text` is the type of a str that has none in the headers.
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
        kind, body = "application/json", _json(body, core)
    return Reply(status, _with_type(headers.items(), kind), body)


def _with_type(headers: Headers, kind: str) -> list[tuple[str, str]]:
    known = [(str(name), value) for name, value in headers]
    typed = not kind or any(name.lower() == "content-type" for name, _ in known)
    return known if typed else [("Content-Type", kind), *known]


def _json(value: Any, core: Any) -> bytes:
    try:
        return bytes(core.encoded(value))
    except Exception as error:  # noqa: BLE001 - the value's own methods run in here
        kind = type(value).__name__
        message = f"the body is a {kind} that JSON cannot hold: {core.part('faults').words(error)}"
        raise invalid(core, message) from None


# Header lines


def lines(reply: Reply, core: Any) -> bytes:
    """The header lines of an answer, without those that are the runner's own affair."""
    if not 200 <= reply.status <= 599:
        raise invalid(core, f"{reply.status} is not the status of an answer: 200 to 599 are")
    try:
        return b"".join(
            _line(name, text)
            for name, value in reply.headers
            if name.lower() not in OURS
            for text in (value if isinstance(value, (list, tuple)) else [value])
        )
    except ValueError as error:
        raise invalid(core, str(error)) from None


def _line(name: str, value: Any) -> bytes:
    value = str(value).strip(" \t")
    if not name or not TOKEN.issuperset(name.lower()):
        raise ValueError(f"{name[:80]!r} is not the name of a header")
    if any(mark in value for mark in "\r\n\0"):
        raise ValueError(f"the header {name} has a line break or NUL in it: {value[:80]!r}")
    try:
        return f"{name}: {value}\r\n".encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the header {name} is not Latin-1: {value[:80]!r}") from None


# Streams


class Stream:
    """An answer whose body comes in pieces: `head`, then `frame` of each piece, then `end`.

    They give the bytes to send, "" when there are none.
    """

    def __init__(self, reply: Reply, call: Any, core: Any) -> None:
        request, self.core = call.request, core
        self.left = declared(reply, core)
        self.silent = request.method == "HEAD" or reply.status in core.BODILESS
        endless = self.left is None and not self.silent
        self.chunked = endless and request.version == "HTTP/1.1"
        headers = lines(reply, core)
        if self.chunked:
            headers += b"Transfer-Encoding: chunked\r\n"
        elif self.left is not None and reply.status not in core.BODILESS:
            headers += b"Content-Length: %d\r\n" % self.left
        close = call.server.stopping or (endless and not self.chunked)
        choice = call.connection.choose(request, close)
        reason = core.REASON.get(reply.status, b"")
        self.head: bytes = core.BARE % (reply.status, reason, headers, choice)

    def frame(self, piece: bytes) -> bytes:
        if self.silent or not piece:
            return b""
        if self.left is not None:
            self.left -= len(piece)
            if self.left < 0:
                raise invalid(self.core, "the body is longer than its Content-Length")
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.chunked else piece

    def end(self) -> bytes:
        if self.left and not self.silent:
            message = f"the body is {self.left} bytes shorter than its Content-Length"
            raise invalid(self.core, message)
        return b"0\r\n\r\n" if self.chunked else b""


def declared(reply: Reply, core: Any) -> int | None:
    """The Content-Length that the headers give."""
    for name, value in reply.headers:
        if name.lower() == "content-length":
            if not str(value).isdecimal():
                raise invalid(core, f"the Content-Length {str(value)[:80]!r} is not a number")
            return int(value)
    return None


def _stream(reply: Reply, call: Any, core: Any) -> None:
    """Send the pieces of an answer as they come; the first decides the type."""
    pieces = _pieces(reply.body, call)
    try:
        first = next(pieces, b"")
        kind, encode = _form(first, core)
        reply.headers = _with_type(reply.headers, kind)
        stream = Stream(reply, call, core)
        send_piece(call, stream.head + stream.frame(encode(first)), core)
        for piece in pieces if not stream.silent else ():
            send_piece(call, stream.frame(encode(piece)), core)
        send_piece(call, stream.end(), core)
    except Gone:
        call.connection.cut()
    finally:
        pieces.close()


class Gone(Exception):
    """The client reads no more."""


def send_piece(call: Any, data: bytes, core: Any) -> None:
    try:
        if data:
            core.part("pieces").send(call, data, core)
    except OSError:
        raise Gone from None


def _pieces(body: Any, call: Any) -> Generator[Any, None, None]:
    """What an iterator gives, also an asynchronous one, which is closed at the end."""
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


def _form(first: Any, core: Any) -> tuple[str, Callable[[Any], bytes]]:
    """Media type of a stream that begins with `first`, and how its pieces become bytes."""

    def plain(piece: Any) -> bytes:
        if isinstance(piece, str):
            return piece.encode("utf-8", "replace")
        if isinstance(piece, (bytes, bytearray, memoryview)):
            return bytes(piece)
        kind = type(piece).__name__
        raise invalid(core, f"a stream that began with text or bytes goes on with a {kind}")

    if isinstance(first, str):
        return TEXT, plain
    if isinstance(first, (bytes, bytearray, memoryview)):
        return BINARY, plain
    return LINES, lambda piece: _json(piece, core) + b"\n"
