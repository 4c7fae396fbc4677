"""Client connections: read requests one after another, and hand each to an exchange that responds.

A client can delay us only until a deadline and make us buffer only a bounded amount: what it does
not read is not fetched, and what nothing consumes yet is not read from it.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

from fob.errors import BadRequest, FobError, HeadersTooLarge, RequestTimeout
from fob.http import message
from fob.http.body import NO_BODY, Body, ChunkedBody, SizedBody, UnsizedBody
from fob.http.error_response import error_response
from fob.http.message import Malformed, RequestHead
from fob.http.transport import Transport

log = logging.getLogger(__name__)

HEAD_SECONDS = 30.0  # from the first byte of a head to its last
STALL_SECONDS = 300.0  # without progress of a request body or of a response
IDLE_SECONDS = 3600.0  # between requests
# how much of a request body is read and dropped after an early response (see `_drain`)
MAX_DRAIN_BYTES = 64 * 1024 * 1024
MAX_DRAIN_SECONDS = 10.0
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Exchange(Protocol):
    """One request and its response, called from the event loop.

    It ends when it calls the client's `finish`, `reject` or `abort`, or when the client
    disconnects.
    """

    def begin(self, piece: bytes, ended: bool) -> None:
        """Start with the head and the first piece of the body, which may be empty."""

    def body_received(self, piece: bytes, ended: bool) -> None:
        """Take the next piece of the body; not called after `ended`."""

    def client_writable(self, writable: bool) -> None:
        """Send more of the response, or pause: the client is not reading what was sent."""

    def client_disconnected(self) -> None:
        """Stop: the response cannot be delivered any more."""

    def deadline_passed(self) -> None:
        """The time set by `set_timeout` is over."""


class ClientConnection:
    """A connection from a client.

    Its owner calls `expire` once `deadline` (monotonic) has passed. `on_closed` is called once the
    connection is closed.
    """

    def __init__(
        self,
        exchange: Callable[["ClientConnection", RequestHead], Exchange],
        on_closed: Callable[["ClientConnection"], None],
    ) -> None:
        self.deadline = math.inf
        self.remote_ip = ""
        self._new_exchange = exchange
        self._on_closed = on_closed
        self._exchange: Exchange | None = None
        self._body: Body = NO_BODY
        self._unread = b""
        self._keep_alive = True
        self._writable = True
        self._response_begun = False
        self._expects_continue = False
        self._eof_received = False
        self._drained_bytes = 0

    # called by the exchange

    def send(self, data: bytes) -> None:
        """Send a piece of the response."""
        self._response_begun = True
        self._transport.write(data)

    def pause_reading(self) -> None:
        """Read no more of the body until `resume_reading`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def send_continue(self) -> None:
        """Ask for the body, if the client waits for that (`Expect: 100-continue`)."""
        if self._expects_continue:
            self._expects_continue = False
            self._transport.write(CONTINUE)

    def keep_alive(self) -> bool:
        """Whether the connection stays open after this response; ask before writing its head."""
        if self._expects_continue:
            # The client may still send the body or go on without it (RFC 9110, 10.1.1), and the
            # two cannot be told apart: the body would be parsed as the next request.
            self._keep_alive = False
        return self._keep_alive

    def close_after_response(self) -> None:
        self._keep_alive = False

    def set_timeout(self, seconds: float) -> None:
        """Call the exchange's `deadline_passed` in `seconds`, unless this is called again."""
        self.deadline = time.monotonic() + seconds

    def finish(self) -> None:
        """End the exchange, with a complete response: read the next request, or close."""
        self._exchange = None
        if not self._body.ended:
            self._drain()
        elif self._keep_alive and (self._unread or not self._eof_received):
            self.set_timeout(IDLE_SECONDS)
            self._transport.resume_reading()
            if self._unread:
                # in a pass of its own, or a client that pipelines would recurse once per request
                self._loop.call_soon(self._read_pipelined)
        else:
            self.set_timeout(STALL_SECONDS)
            self._transport.close()

    def reject(self, error: FobError) -> None:
        """Respond with an error, and close."""
        log.info("rejected a request from %s: %s", self.remote_ip, error.message)
        self._exchange = None
        self._keep_alive = False
        self._transport.write(error_response(error, {"Connection": "close"}))
        self._drain()

    def abort(self) -> None:
        """Close at once; the client sees that a response in progress is incomplete."""
        self._exchange = None
        self._transport.abort()

    def _drain(self) -> None:
        """Read and drop the rest of the body, so that the client gets to read the response.

        Closing a socket with unread data, and data that arrives after a close, make the kernel send
        a reset. The client may then lose a response that it has not read yet, or fail to send and
        never look for one (RFC 9112, 9.6). So a connection that is to be closed is half-closed
        first and read until the client closes it too, within a bound of bytes and seconds.
        """
        self.set_timeout(MAX_DRAIN_SECONDS)
        self._drained_bytes = 0
        if not self._keep_alive:
            self._body = UnsizedBody()
            self._transport.write_eof()
        self._transport.resume_reading()

    # called by the owner

    def close(self) -> None:
        """Abort a request in flight; send the rest of a response that is complete."""
        if self._exchange:
            self.close_now()
        else:
            self._transport.close()

    def close_now(self) -> None:
        self._end_exchange()
        self._transport.abort()

    def expire(self) -> None:
        """Act on the deadline, which has passed."""
        self.deadline = math.inf
        if self._exchange:
            self._exchange.deadline_passed()
        elif self._unread and self._writable and self._body.ended:
            self.reject(stalled("The head", HEAD_SECONDS))
        else:
            self.abort()

    # called by the transport

    def connection_made(self, transport: Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self.remote_ip = transport.peer_ip
        self.set_timeout(IDLE_SECONDS)

    def data_received(self, data: bytes) -> None:
        if not self._body.ended:
            self._read_body(data)
        elif self._exchange or not self._writable:
            # a pipelined request: kept until the response before it is sent
            self._unread += data
            if len(self._unread) > message.MAX_HEAD_BYTES:
                self._transport.pause_reading()
        else:
            self._read_head(self._unread + data)

    def _read_head(self, data: bytes) -> None:
        try:
            request = self._parse(data)
        except Malformed as error:
            self.reject(_unreadable(error))
        else:
            if request:
                self._begin(*request)

    def _parse(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """The request at the start of `data` and the first piece of its body; None if incomplete.

        Sets `_body` and `_unread` to match.
        """
        if request := message.parse_lone_request(data):
            self._body, self._unread = NO_BODY, b""
            return request, b""
        # some clients send an extra empty line after a body (RFC 9112, 2.2)
        data = data.lstrip(b"\r\n")
        split = message.split_head(data)
        if not split:
            self._unread = data
            self._wait_for_head()
            return None
        request = message.parse_request(split[0])
        self._body = ChunkedBody() if request.length is None else SizedBody(request.length)
        piece, self._unread = self._body.feed(split[1])
        return request, piece

    def _wait_for_head(self) -> None:
        if self._eof_received:
            self._transport.close()
        else:
            self.deadline = min(self.deadline, time.monotonic() + HEAD_SECONDS)

    def _begin(self, request: RequestHead, piece: bytes) -> None:
        ended = self._body.ended
        self.deadline = math.inf
        self._response_begun = False
        self._keep_alive = request.keep_alive
        self._accepts_interim = request.minor > 0
        if "Expect" in request.headers and request.minor and not (piece or ended):
            self._expects_continue = request.headers["Expect"].lower() == "100-continue"
        self._exchange = self._new_exchange(self, request)
        self._exchange.begin(piece, ended)

    def _read_body(self, data: bytes) -> None:
        self._expects_continue = False
        try:
            piece, self._unread = self._body.feed(data)
        except Malformed as error:
            self._end_malformed(error)
            return
        if self._exchange:
            self._exchange.body_received(piece, self._body.ended)
            return
        self._drained_bytes += len(data)
        if self._drained_bytes > MAX_DRAIN_BYTES:
            self.abort()
        elif self._body.ended:
            self.finish()

    def _end_malformed(self, error: Malformed) -> None:
        """Close: after a malformed body it is unknown where the next request would begin."""
        self._end_exchange()
        if self._response_begun:
            self.abort()
        else:
            self.reject(_unreadable(error))

    def _read_pipelined(self) -> None:
        """Read a request that arrived during the last one, once the last response is sent.

        Otherwise a client that pipelines and reads no response would make us buffer responses.
        """
        ready = self._writable and self._unread and not self._exchange
        if ready and not self._transport.is_closing():
            data, self._unread = self._unread, b""
            self._transport.resume_reading()
            self._read_head(data)

    def eof_received(self) -> None:
        """Handle the end of the client's stream: it has disconnected, or has only half-closed.

        A client that sends its requests and shuts down its side (`nc -N`) still waits for the
        responses. The two look the same until something is sent (see `_probe`).
        """
        self._eof_received = True
        if not self._body.ended:
            self._end_exchange()
            self._transport.close()
        elif self._exchange:
            self._probe()
        elif self._unread:
            self._read_pipelined()
        else:
            self._transport.close()

    def _probe(self) -> None:
        """Send an interim response, which a half-closed client ignores.

        If the client has disconnected, its kernel responds with a reset, which the transport
        reports, and the call is cancelled. Otherwise it would run until its response or its
        timeout, because nothing is sent to the client before that.
        """
        if self._accepts_interim and not self._response_begun:
            self._transport.write(CONTINUE)

    def connection_lost(self, error: OSError | None) -> None:
        self._end_exchange()
        self._on_closed(self)

    def _end_exchange(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange:
            exchange.client_disconnected()

    def pause_writing(self) -> None:
        self._writable = False
        if self._exchange:
            self._exchange.client_writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._exchange:
            self._exchange.client_writable(True)
        elif self._unread and self._body.ended:
            self._read_pipelined()


def stalled(part: str, seconds: float) -> RequestTimeout:
    """The error for a client that stalls in the middle of a request."""
    return RequestTimeout(f"{part} of the request did not arrive within {seconds:g} s")


def _unreadable(error: Malformed) -> FobError:
    kind = HeadersTooLarge if isinstance(error, message.MessageTooLarge) else BadRequest
    return kind(f"The request cannot be read: {error}")
