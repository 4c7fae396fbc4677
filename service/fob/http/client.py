"""Connections to functions: HTTP/1.1 from the client's side.

Responses come from untrusted code. They are parsed strictly (`message`), and a connection with
anything unusual about it is not reused.
"""

import contextlib
from typing import Protocol

from fob.http import message
from fob.http.body import Body, UnsizedBody, response_body
from fob.http.message import Malformed, ResponseHead
from fob.http.transport import Transport

MAX_INTERIM_RESPONSES = 10


class IncompleteResponse(Exception):
    """The function closed the connection before its response was complete."""


class Receiver(Protocol):
    """The caller of a function. Its methods are called from the event loop."""

    def response_received(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        """Take a piece of the body; `head` is given the first time only, then None."""

    def response_failed(self, error: IncompleteResponse | Malformed) -> None:
        """Give up: no more of the response will arrive, and the connection is closed."""

    def function_writable(self, writable: bool) -> None:
        """Send more of the request, or pause: the function is not reading what was sent."""


class UpstreamConnection:
    """A connection to a function; it carries one call at a time.

    `used` is whether it has carried a call before this one, `response_begun` whether any byte of
    this call's response has arrived.
    """

    def __init__(self) -> None:
        self.used = False
        self.response_begun = False
        self.idle_since = 0.0
        self._receiver: Receiver | None = None
        self._closed = False
        self._between_messages = True
        self._unread = b""
        self._interim_responses = 0
        self._head: ResponseHead | None = None
        self._body: Body = UnsizedBody()

    # called by the receiver

    @property
    def reusable(self) -> bool:
        """Whether it can carry another call: it is open, and the last response is complete."""
        return self._between_messages and not self._closed

    def send_request(
        self, receiver: Receiver, request: bytes, to_head_request: bool = False
    ) -> None:
        """Send a request, or its beginning; the response goes to `receiver`."""
        self._receiver = receiver
        self._to_head_request = to_head_request
        self._between_messages = False
        self._head = None
        self._interim_responses = 0
        self.response_begun = False
        self._transport.write(request)

    def send(self, data: bytes) -> None:
        """Send more of the request."""
        self._transport.write(data)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        """Close at once; the receiver is not called any more."""
        self._receiver = None
        self._closed = True
        self._transport.abort()

    # called by the transport

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.close()  # data without a request
            return
        self.response_begun = True
        try:
            head, data = (None, data) if self._head else self._read_head(data)
            if not self._head:
                return
            piece, rest = self._body.feed(data)
        except Malformed as error:
            self.close()
            receiver.response_failed(error)
            return
        ended = self._body.ended
        if ended:
            self._complete(rest)
        receiver.response_received(head, piece, ended)

    def _read_head(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        """The final head, once it is complete, and the bytes after it; 1xx ones are skipped."""
        data = self._unread + data
        while split := message.split_head(data):
            head, data = message.parse_response(split[0]), split[1]
            if head.status == 101:
                raise Malformed("it switches protocols without being asked to")
            if head.status >= 200:
                self._unread = b""
                self._head = head
                self._body = response_body(head, self._to_head_request)
                return head, data
            self._interim_responses += 1
            if self._interim_responses > MAX_INTERIM_RESPONSES:
                raise Malformed(f"it has more than {MAX_INTERIM_RESPONSES} interim responses")
        self._unread = data
        return None, b""

    def _complete(self, rest: bytes) -> None:
        assert self._head
        self._receiver = None
        self.used = True
        # bytes after the response must never be taken for the response to the next call
        self._between_messages = self._head.keep_alive and not rest

    def eof_received(self) -> None:
        # A function that has half-closed gets neither the next request nor the rest of this one.
        self._closed = True
        self._transport.abort()

    def connection_lost(self, error: OSError | None) -> None:
        self._closed = True
        if error:
            self._read_remaining()
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._head and isinstance(self._body, UnsizedBody) and error is None:
            receiver.response_received(None, b"", True)
        else:
            receiver.response_failed(IncompleteResponse())

    def _read_remaining(self) -> None:
        """Read an early response that arrived before the connection was reset.

        A function may respond and close while we are still sending its request. The kernel then
        resets the connection, and our next send fails before the response is read.
        """
        with contextlib.suppress(OSError):
            while self._receiver and (data := self._transport.read_remaining()):
                self.data_received(data)

    def pause_writing(self) -> None:
        if self._receiver:
            self._receiver.function_writable(False)

    def resume_writing(self) -> None:
        if self._receiver:
            self._receiver.function_writable(True)
