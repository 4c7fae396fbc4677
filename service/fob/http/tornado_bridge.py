"""Runs Tornado's application on our own client connections, in place of Tornado's HTTP server.

An application needs only an `HTTPConnection` per request. So a connection can carry calls and other
requests in any order, both through the same strict parser, and calls bypass Tornado entirely: its
request handling costs several times as much as a call (docs/performance.md).
"""

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
from fob.http.server import STALL_SECONDS, ClientConnection, stalled

_LINE_END = re.compile(r"[\r\n]")


@dataclass(frozen=True)
class BridgeContext:
    """What Tornado's request reads from its connection."""

    remote_ip: str
    protocol: str = "http"


class Bridge(HTTPConnection):
    """One request and its response: an `Exchange` to us, an `HTTPConnection` to Tornado.

    Backpressure towards the client works through futures: `write` returns one that is done once
    the client has read enough, and a handler that streams awaits it.
    """

    def __init__(
        self, application: Application, client: ClientConnection, request: RequestHead
    ) -> None:
        self.context = BridgeContext(client.remote_ip)
        self._client = client
        self._request = request
        self._delegate = application.start_request(client, self)
        self._first_piece = b"", False
        self._max_body_bytes = sys.maxsize
        self._body_bytes = 0
        self._response_begun = False
        self._over = False
        self._chunked = False
        self._on_close: Callable[[], None] | None = None
        self._drained: asyncio.Future[None] | None = None  # while the client is not writable
        self._client_writable = True

    # called by the client's connection

    def begin(self, piece: bytes, ended: bool) -> None:
        request = self._request
        line = RequestStartLine(request.method, request.target, f"HTTP/1.{request.minor}")
        headers = HTTPHeaders()
        try:
            for name, value in request.fields:
                headers.add(name, value)
            prepared = self._delegate.headers_received(line, headers)
        except HTTPInputError as error:
            self._reject(BadRequest(f"The request cannot be read: {error}"))
            return
        # Every handler of ours is a stream_request_body, so Tornado returns a future: `prepare` may
        # still be running, and data_received must not be called before it is done.
        assert prepared is not None
        self._first_piece = piece, ended
        self._client.pause_reading()
        asyncio.ensure_future(prepared).add_done_callback(self._prepared)

    def _prepared(self, _: "asyncio.Future[None]") -> None:
        """Pass on the body, now that the handler's `prepare` has seen the head.

        `prepare` may have responded already, with an error; then nothing is left to do.
        """
        if not self._over:
            self._client.resume_reading()
            self._client.send_continue()
            self._body_bytes = self._request.length or 0
            self.body_received(*self._first_piece)

    def body_received(self, piece: bytes, ended: bool) -> None:
        if self._request.length is None:
            self._body_bytes += len(piece)
        if self._body_bytes > self._max_body_bytes:
            self._reject(TooLarge(f"The body has more than {self._max_body_bytes} bytes"))
            return
        self._client.set_timeout(math.inf if ended else STALL_SECONDS)
        if piece:
            self._delegate.data_received(piece)
        if ended:
            self._delegate.finish()

    def client_writable(self, writable: bool) -> None:
        self._client_writable = writable
        self._client.set_timeout(math.inf if writable else STALL_SECONDS)
        if writable and self._drained:
            drained, self._drained = self._drained, None
            drained.set_result(None)

    def client_disconnected(self) -> None:
        self._over = True
        if self._on_close:
            self._on_close()
        if self._drained and not self._drained.done():
            self._drained.set_exception(StreamClosedError())
            self._drained.exception()  # retrieved, in case no handler awaits it

    def deadline_passed(self) -> None:
        if self._response_begun:
            self.client_disconnected()
            self._client.abort()
        else:
            self._reject(stalled("The body", STALL_SECONDS))

    def _reject(self, error: FobError) -> None:
        self.client_disconnected()
        self._client.reject(error)

    # called by Tornado

    def set_close_callback(self, callback: Callable[[], None] | None) -> None:
        """Set what to call when the client disconnects before the response is complete."""
        self._on_close = callback

    def set_max_body_size(self, max_bytes: int) -> None:
        """Reject a body of more than `max_bytes`."""
        self._max_body_bytes = max_bytes

    def write_headers(
        self,
        start_line: RequestStartLine | ResponseStartLine,
        headers: HTTPHeaders,
        chunk: bytes | None = None,
    ) -> "asyncio.Future[None]":
        assert isinstance(start_line, ResponseStartLine)
        self._response_begun = True
        self._add_framing(start_line.code, headers)
        lines = [f"HTTP/1.1 {start_line.code} {start_line.reason}"]
        lines += [f"{name}: {value}" for name, value in headers.get_all()]
        if any(_LINE_END.search(line) for line in lines):
            raise ValueError("A response header contains a line break")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        # one write for head and body: a client that reads two segments is woken twice
        return self._send(head + self._encoded(chunk or b""))

    def _add_framing(self, status: int, headers: HTTPHeaders) -> None:
        """Set the headers that delimit the body, and say whether the connection stays open."""
        request = self._request
        has_body = request.method != "HEAD" and status >= 200 and status not in (204, 304)
        unsized = has_body and "Content-Length" not in headers
        self._chunked = unsized and request.minor > 0
        if headers.get("Connection") == "close" or (unsized and not self._chunked):
            self._client.close_after_response()
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        if not self._client.keep_alive():
            headers["Connection"] = "close"
        elif not request.minor:
            headers["Connection"] = "Keep-Alive"

    def write(self, chunk: bytes) -> "asyncio.Future[None]":
        return self._send(self._encoded(chunk))

    def _encoded(self, chunk: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked and chunk else chunk

    def _send(self, data: bytes) -> "asyncio.Future[None]":
        """Send, and return a future that is done once the client can take more."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._over:
            done.set_exception(StreamClosedError())
            done.exception()  # retrieved, in case no handler awaits it
            return done
        if data:
            self._client.send(data)
        if self._client_writable:
            done.set_result(None)
            return done
        self._drained = self._drained or done
        return self._drained

    def finish(self) -> None:
        if self._over:
            return
        self._over = True
        if self._chunked:
            self._client.send(b"0\r\n\r\n")
        self._client.finish()
