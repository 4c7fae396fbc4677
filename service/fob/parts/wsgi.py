"""WSGI applications (PEP 3333), served as they are."""

from __future__ import annotations

import io
import sys
from urllib.parse import unquote_to_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of the application goes: from a `Call` to a `Reply`, or to what was streamed."""
    function.streams = True
    return serve(function.target, core)


def serve(application: Callable[..., Any], core: Any) -> Callable[[Any], Any]:
    return lambda call: WsgiExchange(call, core).run(application)


class WsgiInput(io.RawIOBase):
    """The request's body, read while it comes."""

    def __init__(self, call: Any, core: Any) -> None:
        self._call, self._core = call, core
        self._read = core.part("pieces").read
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._read(self._call, self._core))
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class WsgiExchange:
    """One request and its answer."""

    def __init__(self, call: Any, core: Any) -> None:
        self._call, self._core = call, core
        self._answers = core.part("answers")
        self._reply: Any = None  # set by start_response
        self._stream: Any = None  # set when something of the body has been sent

    def run(self, application: Callable[..., Any]) -> Any:
        result = application(environ(self._call, self._core), self._start)
        try:
            self._take(iter(result))
        except self._answers.Gone:
            self._call.connection.cut()
        finally:
            if hasattr(result, "close"):
                result.close()
        return self._reply

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """PEP 3333's `start_response`."""
        try:
            if exc_info and self._stream:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._reply and not exc_info:
                raise AssertionError("start_response was called twice")
        finally:
            exc_info = None
        if not status[:3].isdecimal() or status[3:4] not in (" ", ""):
            raise self._invalid(f"the status {status[:80]!r} is not a number and a reason")
        self._reply = self._answers.Reply(int(status[:3]), headers, b"")
        return self._write

    def _invalid(self, message: str) -> Exception:
        error: Exception = self._answers.invalid(self._core, f"the WSGI application: {message}")
        return error

    def _take(self, pieces: Iterator[Any]) -> None:
        """Send the pieces as they come; one that is all there is becomes the reply's body."""
        first = next(filter(None, pieces), b"")
        self._check(first)
        if self._stream is None and self._is_whole(first, pieces):
            self._reply.body = first
            return
        self._write(first)
        for piece in pieces:
            self._check(piece)
            self._write(piece)
        self._send(self._stream.end())

    def _check(self, piece: Any) -> None:
        if self._reply is None:
            raise self._invalid("a body, and start_response was not called")
        if not isinstance(piece, bytes):
            raise self._invalid(f"a {type(piece).__name__} in the body, which must be bytes")

    def _is_whole(self, first: bytes, pieces: Iterator[Any]) -> bool:
        """Whether `first` is the whole body; pieces still to come are not waited for."""
        if self._call.request.method == "HEAD":
            return False
        if not first or self._reply.status in self._core.BODILESS:
            return True
        return bool(
            self._answers.declared(self._reply, self._core) == len(first)
            or getattr(pieces, "__length_hint__", lambda: 1)() == 0
        )

    def _write(self, piece: bytes) -> None:
        """Send a piece of the body now; the first takes the head with it."""
        head = b""
        if self._stream is None:
            self._stream = self._answers.Stream(self._reply, self._call, self._core)
            head = self._stream.head
        self._send(head + self._stream.frame(piece))

    def _send(self, data: bytes) -> None:
        self._answers.send_piece(self._call, data, self._core)


def environ(call: Any, core: Any) -> dict[str, Any]:
    """The environment of PEP 3333."""
    request, sock = call.request, call.connection.sock
    server, client = sock.getsockname(), sock.getpeername()
    found = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": request.version,
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BufferedReader(WsgiInput(call, core)),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        found[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key] = value
    return found
