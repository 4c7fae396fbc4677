"""Requests for the Tornado application, and its answers: what Tornado's own HTTP server would be to
it, on connections that carry calls as well."""

import asyncio
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.web import Application

from fob.errors import BadRequest, FobError, TooLarge
from fob.http.message import RequestHead
from fob.http.server import STALL_SECONDS, ClientConnection, too_slow

_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True)
class BridgeContext:
    """What Tornado's request takes from its connection."""

    remote_ip: str
    protocol: str = "http"


class Bridge(HTTPConnection):
    """One request and its answer, in Tornado's terms (`tornado.httputil`)."""

    def __init__(
        self, application: Application, client: ClientConnection, request: RequestHead
    ) -> None:
        self.context = BridgeContext(client.remote_ip)
        self._client = client
        self._request = request
        self._delegate = application.start_request(client, self)
        self._pending = b"", False
        self._most_bytes = sys.maxsize
        self._size_bytes = 0
        self._begun = False
        self._over = False
        self._chunked = False
        self._on_close: Callable[[], None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._takes = True

    # the client's side

    def begin(self, piece: bytes, ended: bool) -> None:
        request = self._request
        line = RequestStartLine(request.method, request.target, f"HTTP/1.{request.minor}")
        headers = HTTPHeaders()
        try:
            for name, value in request.fields:
                headers.add(name, value)
            prepared = self._delegate.headers_received(line, headers)
        except HTTPInputError as error:
            self._refuse(BadRequest(f"The request cannot be read: {error}"))
            return
        assert prepared is not None  # all our handlers take bodies as streams
        self._pending = piece, ended
        self._client.hold()
        asyncio.ensure_future(prepared).add_done_callback(self._prepared)

    def _prepared(self, _: "asyncio.Future[None]") -> None:
        """The handler has seen the head; now it takes the body."""
        if not self._over:
            self._client.go_on()
            self._client.welcome()
            self._size_bytes = self._request.length or 0
            self.body(*self._pending)

    def body(self, piece: bytes, ended: bool) -> None:
        if self._request.length is None:
            self._size_bytes += len(piece)
        if self._size_bytes > self._most_bytes:
            self._refuse(TooLarge(f"The body has more than {self._most_bytes} bytes"))
            return
        self._client.allow(math.inf if ended else STALL_SECONDS)
        if piece:
            self._delegate.data_received(piece)
        if ended:
            self._delegate.finish()

    def client_takes(self, more: bool) -> None:
        self._takes = more
        self._client.allow(math.inf if more else STALL_SECONDS)
        if more and self._taken:
            taken, self._taken = self._taken, None
            taken.set_result(None)

    def gone(self) -> None:
        self._over = True
        if self._on_close:
            self._on_close()
        if self._taken and not self._taken.done():
            self._taken.set_exception(StreamClosedError())
            self._taken.exception()

    def late(self) -> None:
        if self._begun:
            self.gone()
            self._client.abort()
        else:
            self._refuse(too_slow("The body", STALL_SECONDS))

    def _refuse(self, error: FobError) -> None:
        self.gone()
        self._client.refuse(error)

    # Tornado's side

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """What to call when the client goes before it has its answer."""
        self._on_close = callback

    def set_max_body_size(self, most: int) -> None:
        """Refuse a body of more than `most` bytes."""
        self._most_bytes = most

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        assert isinstance(start_line, ResponseStartLine)
        self._begun = True
        self._frame(start_line.code, headers)
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        if any(_LINE_END.search(line) for line in lines):
            raise ValueError("A header of the answer holds a line end")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return self._send(head + self._framed(chunk or b""))

    def _frame(self, status: int, headers: HTTPHeaders) -> None:
        """Make the headers say where the answer ends, and whether the connection does."""
        request = self._request
        has_body = request.method != "HEAD" and status >= 200 and status not in (204, 304)
        open_end = has_body and "Content-Length" not in headers
        self._chunked = open_end and request.minor > 0
        if headers.get("Connection") == "close" or (open_end and not self._chunked):
            self._client.last()
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not self._client.keeps():
            headers["Connection"] = "close"
        elif not request.minor:
            headers["Connection"] = "Keep-Alive"

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        return self._send(self._framed(chunk))

    def _framed(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked and chunk else chunk

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        """Send, and answer a future that is done when the client is ready for more."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            done.set_exception(StreamClosedError())
            done.exception()  # nobody has to ask
            return done
        if data:
            self._client.send(data)
        if self._takes:
            done.set_result(None)
            return done
        self._taken = self._taken or done
        return self._taken

    def finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._chunked:
            self._client.send(b"0\r\n\r\n")
        self._client.done()
