"""A connection to a function: HTTP/1.1 from the client's side.

What comes back is from code that anybody may have written: it is read strictly (`message`), and a
connection with anything odd about it is not used again.
"""

import contextlib
from typing import Protocol

from fob.http import message
from fob.http.message import (
    Body,
    Malformed,
    ResponseHead,
    UnsizedBody,
)
from fob.http.transport import Transport

MOST_INTERIM = 10


class Ended(Exception):
    """The function closed the connection before its answer was whole."""


class Receiver(Protocol):
    """Whoever has asked. Its methods are called from the event loop, in the order of events."""

    def answered(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        """Some of the answer has come: its `head` the first time, then None."""

    def failed(self, error: Ended | Malformed) -> None:
        """There is no more of the answer to come; the connection is closed."""

    def function_takes(self, more: bool) -> None:
        """Whether the function takes more of the request at once, or is to be waited for."""


class UpstreamConnection:
    """One connection to a function; it carries one call at a time.

    `used` says whether it has carried one before, `heard` whether anything came back for this one.
    """

    def __init__(self) -> None:
        self.used = False
        self.heard = False
        self.idle_since = 0.0
        self._receiver: Receiver | None = None
        self._closed = False
        self._clean = True
        self._unread = b""
        self._interim = 0
        self._head: ResponseHead | None = None
        self._body: Body = UnsizedBody()

    # the caller's side

    @property
    def reusable(self) -> bool:
        """Whether the next call may go here: nothing more comes, and it is still open."""
        return self._clean and not self._closed

    def ask(self, receiver: Receiver, request: bytes, is_head: bool = False) -> None:
        """Send a request, or the beginning of one; its answer goes to `receiver`."""
        self._receiver = receiver
        self._is_head = is_head
        self._clean = False
        self._head = None
        self._interim = 0
        self.heard = False
        self._transport.write(request)

    def send(self, data: bytes) -> None:
        """Send more of the request."""
        self._transport.write(data)

    def hold(self) -> None:
        """Read no more of the answer until `go_on`."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        """Close at once; the receiver is told nothing any more."""
        self._receiver = None
        self._closed = True
        self._transport.abort()

    # the transport's side

    def connection_made(self, wire: Transport) -> None:
        self._transport = wire

    def data_received(self, data: bytes) -> None:
        receiver = self._receiver
        if receiver is None:
            self.close()  # it speaks without being asked
            return
        self.heard = True
        try:
            head, data = (None, data) if self._head else self._read_head(data)
            if not self._head:
                return
            piece, rest = self._body.take(data)
        except Malformed as error:
            self.close()
            receiver.failed(error)
            return
        ended = self._body.ended
        if ended:
            self._end(rest)
        receiver.answered(head, piece, ended)

    def _read_head(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        """The head, once it is there, and what follows; interim (1xx) answers are passed over."""
        data = self._unread + data
        while found := message.split(data):
            head, data = message.answer(found[0]), found[1]
            if head.status == 101:
                raise Malformed("it switches protocols without being asked")
            if head.status >= 200:
                self._unread = b""
                self._head = head
                self._body = message.body_of(head, self._is_head)
                return head, data
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise Malformed("it sends interim answers without end")
        self._unread = data
        return None, b""

    def _end(self, rest: bytes) -> None:
        assert self._head
        self._receiver = None
        self.used = True
        # more than was said is never taken for the next answer
        self._clean = self._head.keep and not rest

    def eof_received(self) -> None:
        # nobody who has ended its side is asked anything, nor sent the rest of a request
        self._closed = True
        self._transport.abort()

    def connection_lost(self, error: OSError | None) -> None:
        self._closed = True
        if error:
            self._read_last()
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        if self._head and isinstance(self._body, UnsizedBody) and error is None:
            receiver.answered(None, b"", True)
        else:
            receiver.failed(Ended())

    def _read_last(self) -> None:
        """A function that takes no more of a request may have answered before it closed."""
        with contextlib.suppress(OSError):
            while self._receiver and (data := self._transport.left()):
                self.data_received(data)

    def pause_writing(self) -> None:
        if self._receiver:
            self._receiver.function_takes(False)

    def resume_writing(self) -> None:
        if self._receiver:
            self._receiver.function_takes(True)
