"""A connection from a client: reads its requests one after another and hands each to whoever
answers it.

A client can make us wait, but not for ever, and not remember without end: what it does not read is
not fetched, and what nobody takes yet is not read from it.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from fob.errors import BadRequest, FobError, HeadersTooLarge, RequestTimeout
from fob.http import message
from fob.http.error_response import refusal
from fob.http.message import (
    NOTHING,
    Body,
    ChunkedBody,
    Malformed,
    RequestHead,
    SizedBody,
    UnsizedBody,
)
from fob.http.transport import Transport

log = logging.getLogger(__name__)

# a head takes no longer once it has begun; nobody stalls a request for longer
HEAD_SECONDS = 30.0
STALL_SECONDS = 300.0
IDLE_SECONDS = 3600.0
# a body that nobody wants is read to its end nevertheless, so that the client gets to see its
# answer: a connection closed while the client still sends would take the answer with it
DRAIN_BYTES = 64 * 1024 * 1024
DRAIN_SECONDS = 10.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange(Protocol):
    """Whoever answers a request, called from the event loop.

    It ends when it calls the client's `done`, `refuse` or `abort`, or is told that the client is
    `gone`.
    """

    def begin(self, piece: bytes, ended: bool) -> None:
        """The request's head is there, and what of its body came with it."""

    def body(self, piece: bytes, ended: bool) -> None:
        """More of the body; never after `ended`."""

    def client_takes(self, more: bool) -> None:
        """Whether the client takes more of the answer at once, or is to be waited for."""

    def gone(self) -> None:
        """There is nobody left to answer."""

    def late(self) -> None:
        """The client's deadline is over."""


class ClientConnection:
    """One connection of a client. Its owner calls `expire` after `deadline` (monotonic), and
    hears of the end by `on_left`."""

    def __init__(
        self,
        exchange: Callable[["ClientConnection", RequestHead], Exchange],
        on_left: Callable[["ClientConnection"], None],
    ) -> None:
        self.deadline = math.inf
        self.remote_ip = ""
        self._new_exchange = exchange
        self._on_left = on_left
        self._exchange: Exchange | None = None
        self._body: Body = NOTHING
        self._unread = b""
        self._keeps = True
        self._takes = True
        self._answering = False
        self._waits_for_leave = False
        self._ended = False
        self._drained = 0

    # the exchange's side

    def send(self, data: bytes) -> None:
        """Send some of the answer."""
        self._answering = True
        self._transport.write(data)

    def hold(self) -> None:
        """Read no more of the body until `go_on`."""
        self._transport.pause_reading()

    def go_on(self) -> None:
        self._transport.resume_reading()

    def welcome(self) -> None:
        """The body is wanted; some clients wait to be told so (`Expect: 100-continue`)."""
        if self._waits_for_leave:
            self._waits_for_leave = False
            self._transport.write(CONTINUE)

    def keeps(self) -> bool:
        """Whether the connection stays after this answer; for the answer's head to say."""
        if self._waits_for_leave:
            # it may send the body or not: nobody could tell that from the next request
            self._keeps = False
        return self._keeps

    def last(self) -> None:
        """Close the connection after this answer."""
        self._keeps = False

    def allow(self, seconds: float) -> None:
        """Call the exchange `late` after `seconds` from now."""
        self.deadline = time.monotonic() + seconds

    def done(self) -> None:
        """The answer is whole: on to the next request, if the client and we want one."""
        self._exchange = None
        if not self._body.ended:
            self._drain()
        elif self._keeps and (self._unread or not self._ended):
            self.allow(IDLE_SECONDS)
            self._transport.resume_reading()
            if self._unread:
                self._loop.call_soon(self._next)
        else:
            self.allow(STALL_SECONDS)
            self._transport.close()

    def refuse(self, error: FobError) -> None:
        """Answer with an error, and close."""
        log.info("refused a request of %s: %s", self.remote_ip, error.message)
        self._exchange = None
        self._keeps = False
        self._transport.write(refusal(error, {"Connection": "close"}))
        self._drain()

    def abort(self) -> None:
        """Close at once; a client in the middle of an answer sees that it is cut off."""
        self._exchange = None
        self._transport.abort()

    def _drain(self) -> None:
        """Read what still comes and forget it."""
        self.allow(DRAIN_SECONDS)
        self._drained = 0
        if not self._keeps:
            self._body = UnsizedBody()
            self._transport.write_eof()
        self._transport.resume_reading()

    # the owner's side

    def close(self) -> None:
        """Cut off what is in hand; what is answered may still be taken."""
        if self._exchange:
            self.close_at_once()
        else:
            self._transport.close()

    def close_at_once(self) -> None:
        self._leave()
        self._transport.abort()

    def expire(self) -> None:
        """The deadline is over."""
        self.deadline = math.inf
        if self._exchange:
            self._exchange.late()
        elif self._unread and self._takes and self._body.ended:
            self.refuse(too_slow("The head", HEAD_SECONDS))
        else:
            self.abort()

    # the transport's side

    def connection_made(self, wire: Transport) -> None:
        self._transport = wire
        self._loop = asyncio.get_running_loop()
        self.remote_ip = wire.peer_ip
        self.allow(IDLE_SECONDS)

    def data_received(self, data: bytes) -> None:
        if not self._body.ended:
            self._read_body(data)
        elif self._exchange or not self._takes:
            self._unread += data
            if len(self._unread) > message.HEAD_BYTES:
                self._transport.pause_reading()
        else:
            self._read_head(self._unread + data)

    def _read_head(self, data: bytes) -> None:
        try:
            found = self._head(data)
        except Malformed as error:
            self.refuse(_unreadable(error))
        else:
            if found:
                self._begin(*found)

    def _head(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """The request that begins `data`, and what came of its body; None when more has to come."""
        if request := message.alone(data):
            self._body, self._unread = NOTHING, b""
            return request, b""
        # some send an empty line after a body
        data = data.lstrip(b"\r\n")
        found = message.split(data)
        if not found:
            self._unread = data
            self._wait_for_head()
            return None
        request = message.request(found[0])
        self._body = ChunkedBody() if request.length is None else SizedBody(request.length)
        piece, self._unread = self._body.take(found[1])
        return request, piece

    def _wait_for_head(self) -> None:
        if self._ended:
            self._transport.close()
        else:
            self.deadline = min(self.deadline, time.monotonic() + HEAD_SECONDS)

    def _begin(self, request: RequestHead, piece: bytes) -> None:
        ended = self._body.ended
        self.deadline = math.inf
        self._answering = False
        self._keeps = request.keep
        self._takes_interim = request.minor > 0
        if "Expect" in request.headers and request.minor and not (piece or ended):
            self._waits_for_leave = request.headers["Expect"].lower() == "100-continue"
        self._exchange = self._new_exchange(self, request)
        self._exchange.begin(piece, ended)

    def _read_body(self, data: bytes) -> None:
        self._waits_for_leave = False
        try:
            piece, self._unread = self._body.take(data)
        except Malformed as error:
            self._break(error)
            return
        if self._exchange:
            self._exchange.body(piece, self._body.ended)
            return
        self._drained += len(data)
        if self._drained > DRAIN_BYTES:
            self.abort()
        elif self._body.ended:
            self.done()

    def _break(self, error: Malformed) -> None:
        """Nobody knows where the next request would begin."""
        self._leave()
        if self._answering:
            self.abort()
        else:
            self.refuse(_unreadable(error))

    def _next(self) -> None:
        """Read the request that came while the last one was answered; not before that answer is
        out, for who does not read answers shall not be given more."""
        ready = self._takes and self._unread and not self._exchange
        if ready and not self._transport.is_closing():
            data, self._unread = self._unread, b""
            self._transport.resume_reading()
            self._read_head(data)

    def eof_received(self) -> None:
        """The client has gone, or has only said all it wants to say and waits for the answer."""
        self._ended = True
        if not self._body.ended:
            self._leave()
            self._transport.close()
        elif self._exchange:
            self._probe()
        elif self._unread:
            self._next()
        else:
            self._transport.close()

    def _probe(self) -> None:
        """Say something that means nothing: to who has gone it cannot be said, as we are told."""
        if self._takes_interim and not self._answering:
            self._transport.write(CONTINUE)

    def connection_lost(self, error: OSError | None) -> None:
        self._leave()
        self._on_left(self)

    def _leave(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange:
            exchange.gone()

    def pause_writing(self) -> None:
        self._takes = False
        if self._exchange:
            self._exchange.client_takes(False)

    def resume_writing(self) -> None:
        self._takes = True
        if self._exchange:
            self._exchange.client_takes(True)
        elif self._unread and self._body.ended:
            self._next()


def too_slow(what: str, seconds: float) -> RequestTimeout:
    """The error for a client that stalls in the middle of a request."""
    return RequestTimeout(f"{what} of the request did not come within {seconds:g} s")


def _unreadable(error: Malformed) -> FobError:
    kind = HeadersTooLarge if isinstance(error, message.MessageTooLarge) else BadRequest
    return kind(f"The request cannot be read: {error}")
