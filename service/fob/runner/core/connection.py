"""A client's connection: received bytes become requests, responses become sent bytes."""

from __future__ import annotations

import _socket as socket
import time

from fob.runner.core.feature import feature
from fob.runner.core.request import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    TOKEN,
    KnownHeads,
    Request,
    bad_request,
    body_too_large,
    head_too_large,
)
from fob.runner.core.response import (
    BODILESS,
    BODILESS_HEAD,
    HEAD,
    JSON_TYPE,
    REASON,
    USUAL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fob.runner.core.response import Response

MAX_READ_BYTES = 65536  # at once
SEND_GRACE = 30.0  # seconds in which a client has to read some of its response


class Connection:
    """A connection and what is known of its state. None of its methods blocks."""

    def __init__(self, sock: socket.socket, heads: KnownHeads, streams: bool) -> None:
        """`streams` says that the function reads bodies itself: a head is a complete request."""
        self.sock, self.heads = sock, heads
        sock.setblocking(False)
        self.streams = streams
        self.extra_headers = b""  # of every response
        self.mask = 0  # the events that epoll watches it for; 0 while a thread serves it
        self.last_used = time.monotonic()  # when its last call began
        self.buffer: bytes | bytearray = b""
        self.request: Request | None = None  # one whose body is incomplete
        self.chunks = bytearray()  # of that body
        self.unsent: memoryview | None = None
        self.closing = False  # as soon as `unsent` is sent
        self.to_discard = 0  # bytes that may still be read and dropped

    def receive(self) -> bool:
        """Read what has arrived; return False if the client has disconnected."""
        try:
            data = self.sock.recv(MAX_READ_BYTES)
        except BlockingIOError:
            return True
        if not self.buffer:
            self.buffer = data
        else:
            if type(self.buffer) is bytes:
                self.buffer = bytearray(self.buffer)
            self.buffer += data
        return bool(data)

    def next_request(self) -> Request | None:
        """Return the next request if it is complete. Raises RequestError if it is not good HTTP."""
        if self.request is None and type(self.buffer) is bytes:
            known: Request | None = self.heads.get(self.buffer)
            if known and not known.length:
                self.buffer = b""
                return known
        request = self.request or self._next_head()
        if request is None or not request.length:
            return request
        if request.length > MAX_BODY_BYTES and not self.streams:
            raise body_too_large()
        if request.length < 0:
            complete = self.take_chunks(request)
        else:
            complete = len(self.buffer) >= request.length
            if complete:
                self.take_body(request)
        if complete or self.streams:
            self.request = None
            return request
        self.send_continue(request)
        self.request = request
        return None

    def send_continue(self, request: Request) -> None:
        """Ask for the body if the client waits to be asked."""
        if request.expects and not self.buffer:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.expects = False

    def take_body(self, request: Request) -> None:
        """Move what the buffer has of a body of known length to the request."""
        request.body = bytes(self.buffer[: request.length])
        self.buffer = self.buffer[request.length :]
        request.length -= len(request.body)

    def take_chunks(self, request: Request) -> bool:
        """Move complete chunks to the request; return True after the last one."""
        if type(self.buffer) is bytes:
            self.buffer = bytearray(self.buffer)
        complete = bool(feature("chunks").take(self.buffer, self.chunks))
        if complete:
            request.length = 0
        if complete or self.streams:
            request.body, self.chunks = bytes(self.chunks), bytearray()
        return complete

    def _next_head(self) -> Request | None:
        if self.buffer[:2] == b"\r\n":  # some clients send one too many after a body
            self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end >= 0:
            head, self.buffer = bytes(self.buffer[: end + 4]), self.buffer[end + 4 :]
            request: Request = self.heads[head]
            return request.copy() if request.length else request
        if len(self.buffer) >= MAX_HEAD_BYTES:
            raise head_too_large()
        if b"\n\n" in self.buffer or self.buffer[:1].lower().strip(TOKEN.encode()):
            raise bad_request("the first line is not METHOD TARGET VERSION with CR LF")
        return None

    def send(self, data: bytes | memoryview) -> None:
        """Send what the socket accepts now; keep the rest as `unsent`."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = memoryview(data)[sent:] if sent < len(data) else None
        if self.unsent:
            # the kernel closes the connection if the client acknowledges nothing for so long
            grace_ms = int(SEND_GRACE * 1000)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, grace_ms)

    def respond(self, response: Response, request: Request | None, close: bool) -> None:
        """Send a whole response in one write.

        Headers and body in two would cost 44 ms per call: Nagle's algorithm delays the second write
        until the client acknowledges the first, and the client delays that.
        """
        self.send(self.encode(response, request, close))

    def encode(self, response: Response, request: Request | None, close: bool) -> bytes:
        """The bytes of a whole response; also decides whether the connection closes after it."""
        status, headers, body = response
        usual = request and request.plain and not (request.length or close or self.extra_headers)
        if usual and headers is JSON_TYPE and status == 200:
            return USUAL % (len(body), body)
        last_headers = self.last_headers(request, close)
        if status in BODILESS:
            return BODILESS_HEAD % (status, REASON[status], headers, last_headers)
        head = HEAD % (status, REASON.get(status, b""), headers, len(body), last_headers)
        return head if request and request.method == "HEAD" else head + body

    def last_headers(self, request: Request | None, close: bool) -> bytes:
        """Decide whether the connection closes after this response; return its last headers."""
        # Bytes that are still to come are read and dropped: closing a socket that has unread ones
        # makes the kernel send a reset, which can destroy the response on its way.
        unread = request is None or request.length != 0
        self.closing = close or unread or (request is not None and request.close)
        if unread:
            self.to_discard = MAX_BODY_BYTES
        if self.closing:
            return self.extra_headers + b"Connection: close\r\n"
        if request and request.keep:
            return self.extra_headers + b"Connection: keep-alive\r\n"
        return self.extra_headers

    def abort(self) -> None:
        """Disconnect in the middle of a response, which the client must not take for complete."""
        self.closing, self.to_discard, self.unsent = True, 0, None
        self._shut_down(socket.SHUT_RDWR)

    def stop_reading(self) -> None:
        """Let it end after what has arrived so far."""
        self._shut_down(socket.SHUT_RD)

    def _shut_down(self, how: int) -> None:
        try:
            self.sock.shutdown(how)
        except OSError:  # the client has disconnected
            return

    def discard(self) -> bool:
        """Drop what was read; return False if that was too much."""
        self.to_discard -= len(self.buffer)
        self.buffer = b""
        return self.to_discard > 0
