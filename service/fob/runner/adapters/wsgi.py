"""WSGI applications (PEP 3333)."""

from __future__ import annotations

import io
import sys
from urllib.parse import unquote_to_bytes

from fob.runner.core.response import BODILESS
from fob.runner.features import responses, streaming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.errors import RequestError
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call


def make(function: Function) -> Invoke:
    function.streams = True
    return serve(function.target)


def serve(application: Callable[..., Any]) -> Invoke:
    """Return what a call of the application does."""
    return lambda call: WsgiExchange(call).run(application)


class WsgiInput(io.RawIOBase):
    """The request's body, read as it arrives."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._rest:
            self._rest = memoryview(streaming.read(self._call))
        count = min(len(target), len(self._rest))
        target[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class WsgiExchange:
    """One request and its response."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._response: responses.HttpResponse | None = None  # set by start_response
        self._stream: responses.ResponseStream | None = None  # set when part of the body is sent

    def run(self, application: Callable[..., Any]) -> Any:
        result = application(environ(self._call), self._start)
        try:
            self._send_body(iter(result))
        except responses.Disconnected:
            self._call.connection.abort()
        finally:
            if hasattr(result, "close"):
                result.close()
        return self._response

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        """PEP 3333's `start_response`."""
        try:
            if exc_info and self._stream:
                raise exc_info[1].with_traceback(exc_info[2])
            if self._response and not exc_info:
                raise AssertionError("start_response was called twice")
        finally:
            exc_info = None
        if not status[:3].isdecimal() or status[3:4] not in (" ", ""):
            raise self._invalid(f"the status {status[:80]!r} is not a number and a reason")
        self._response = responses.HttpResponse(int(status[:3]), headers, b"")
        return self._write

    def _invalid(self, message: str) -> RequestError:
        return responses.invalid(f"the WSGI application: {message}")

    def _send_body(self, pieces: Iterator[Any]) -> None:
        """Send the pieces as they are yielded; a single one becomes the response's body."""
        first = next(filter(None, pieces), b"")
        response = self._checked(first)
        if self._stream is None and self._is_whole(response, first, pieces):
            response.body = first
            return
        stream = self._write(first)
        for piece in pieces:
            self._checked(piece)
            self._write(piece)
        responses.send_piece(self._call, stream.end())

    def _checked(self, piece: Any) -> responses.HttpResponse:
        """Check a piece of the body; return the response that it belongs to."""
        if self._response is None:
            raise self._invalid("a body before start_response was called")
        if not isinstance(piece, bytes):
            raise self._invalid(f"a {type(piece).__name__} in the body, which must be bytes")
        return self._response

    def _is_whole(
        self, response: responses.HttpResponse, first: bytes, pieces: Iterator[Any]
    ) -> bool:
        """Whether `first` is certain to be the whole body; does not wait for another piece."""
        if self._call.request.method == "HEAD":
            return False
        if not first or response.status in BODILESS:
            return True
        return bool(
            responses.declared_length(response) == len(first)
            or getattr(pieces, "__length_hint__", lambda: 1)() == 0
        )

    def _write(self, piece: bytes) -> responses.ResponseStream:
        """Send a piece of the body now, the first one with the head."""
        head = b""
        if self._stream is None:
            self._stream = responses.ResponseStream(self._checked(piece), self._call)
            head = self._stream.head
        responses.send_piece(self._call, head + self._stream.frame(piece))
        return self._stream


def environ(call: Call) -> dict[str, Any]:
    """The environment that PEP 3333 defines."""
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
        "wsgi.input": io.BufferedReader(WsgiInput(call)),
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
