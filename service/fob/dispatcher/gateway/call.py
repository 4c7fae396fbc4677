"""`/api/call/<id>[/path]`: forwards a request to an instance of the function, and its response.

Both bodies stream with backpressure: a side that does not read stops us from reading the other. A
call is sent again only if nothing of it can have reached the function.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine

from fob.dispatcher.gateway import forwarding
from fob.dispatcher.gateway.pool import Instance
from fob.dispatcher.gateway.routing import Route, Routing
from fob.errors import CallFailed, CallTimeout, FobError
from fob.http.client import IncompleteResponse, UpstreamConnection
from fob.http.error_response import error_response
from fob.http.message import Malformed, RequestHead, ResponseHead
from fob.http.server import STALL_SECONDS, ClientConnection, stalled

log = logging.getLogger(__name__)

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})


class RoutedCall:
    """One call, from its head to the last byte of the response.

    If the function is ready and has an idle connection, everything happens in callbacks of the
    transports: no task, no timer, no queue. A task exists only while a call waits for a function
    that starts or for a new connection.
    """

    # defaults on the class: most calls change few of these, and each assignment costs time
    _request_sent = False
    _function_writable = True
    _client_writable = True
    _status = 0
    _chunked = False
    _reused = False
    _timeout = 0.0
    _instance: Instance | None = None
    _connection: UpstreamConnection | None = None
    _task: asyncio.Task[None] | None = None

    def __init__(self, routing: Routing, client: ClientConnection, request: RequestHead) -> None:
        self._routing = routing
        self._client = client
        self._request = request
        self._started = time.perf_counter()
        self._id = forwarding.request_id(request)
        self._id_line = forwarding.id_line(self._id)

    # called by the client's connection

    def begin(self, piece: bytes, ended: bool) -> None:
        routing = self._routing
        routing.in_flight.begin(self)
        try:
            id_ = routing.admit(self._request)
            route = routing.immediate(id_)
        except FobError as error:
            self._respond_error(error)
            return
        if route:
            self._send_request(route, piece, ended)
            routing.expect_event()
        else:
            self._client.pause_reading()
            connecting = routing.connect(id_)
            self._task = asyncio.create_task(self._send_when_routed(connecting, piece, ended))

    def body_received(self, piece: bytes, ended: bool) -> None:
        assert self._connection
        self._request_sent = ended
        self._connection.send(_encoded(piece, ended, self._request.length is None))
        self._reset_timeout()

    def client_writable(self, writable: bool) -> None:
        self._client_writable = writable
        if self._connection:
            if writable:
                self._connection.resume_reading()
            else:
                self._connection.pause_reading()
            self._reset_timeout()

    def client_disconnected(self) -> None:
        self._end()

    def deadline_passed(self) -> None:
        if self._waits_for_client:
            self._respond_error(stalled("The body", STALL_SECONDS))
        else:
            self._respond_error(_timed_out(self._timeout))

    # the request, on its way to the function

    async def _send_when_routed(
        self, routed: Coroutine[None, None, Route], piece: bytes, ended: bool
    ) -> None:
        try:
            route = await routed
        except FobError as error:
            self._task = None
            self._respond_error(error)
        except Exception:
            log.exception("call %s failed", self._id)
            self._task = None
            self._respond_error(FobError("Internal error in fob; its log has the traceback"))
        else:
            self._task = None
            self._client.resume_reading()
            self._send_request(route, piece, ended)

    def _send_request(self, route: Route, piece: bytes, ended: bool) -> None:
        request, client = self._request, self._client
        instance, connection, self._timeout = route
        self._instance, self._connection = instance, connection
        self._reused = connection.used
        self._request_sent = ended
        head = forwarding.request_head(
            request, instance.netloc, client.remote_ip, self._routing.guard.requires_token
        )
        client.send_continue()
        body = _encoded(piece, ended, request.length is None)
        # head and body in one write: a peer that is sent two segments is woken twice
        connection.send_request(self, head + self._id_line + body, request.method == "HEAD")
        self._reset_timeout()

    async def _reconnect(self, instance: Instance) -> Route:
        try:
            return instance, await instance.connect(), self._timeout
        except OSError as error:
            raise _closed_early(instance) from error

    # called by the function's connection

    def function_writable(self, writable: bool) -> None:
        self._function_writable = writable
        if writable:
            self._client.resume_reading()
        else:
            self._client.pause_reading()
        self._reset_timeout()

    def response_received(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        start = self._response_head(head) if head else b""
        if ended:
            # before sending: a slow client must not occupy a connection that others can use
            self._end()
        self._client.send(start + _encoded(piece, ended, self._chunked))
        if ended:
            self._client.finish()
        else:
            self._reset_timeout()
        self._routing.expect_event()

    def _response_head(self, head: ResponseHead) -> bytes:
        self._status = head.status
        has_body = self._request.method != "HEAD" and head.status not in (204, 304)
        if has_body and head.length is None:
            self._chunked = self._request.minor > 0
            if not self._chunked:
                self._client.close_after_response()
        framing = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
        return forwarding.response_head(head, framing + self._connection_line()) + self._id_line

    def _connection_line(self) -> str:
        if not self._client.keep_alive():
            return "Connection: close\r\n"
        return "" if self._request.minor else "Connection: keep-alive\r\n"

    def response_failed(self, error: IncompleteResponse | Malformed) -> None:
        instance, connection = self._instance, self._connection
        assert instance
        assert connection
        if isinstance(error, Malformed):
            self._respond_error(CallFailed(f"The function's response is not valid HTTP: {error}"))
        elif self._reused and self._repeatable and not connection.response_begun:
            # The function closed the idle connection while this call was on its way, so the call
            # was not read. A function that died of the call looks the same, hence the
            # restriction to calls that may run twice.
            self._release()
            connecting = self._reconnect(instance)
            self._task = asyncio.create_task(self._send_when_routed(connecting, b"", True))
        else:
            self._respond_error(_closed_early(instance))

    @property
    def _repeatable(self) -> bool:
        """Whether the call may be sent twice; a body is gone once it is sent."""
        return self._request.method in _IDEMPOTENT and self._request.length == 0

    # the end

    @property
    def _waits_for_client(self) -> bool:
        return not self._client_writable or (self._function_writable and not self._request_sent)

    def _reset_timeout(self) -> None:
        """Start the timeout anew, after progress, for whichever side is to act next."""
        self._client.set_timeout(STALL_SECONDS if self._waits_for_client else self._timeout)

    def _respond_error(self, error: FobError) -> None:
        """Respond with the error; abort a response that has begun."""
        if self._status:
            log.warning("call %s was cut off: %s", self._id, error.message)
            self._end()
            self._client.abort()
            return
        self._status = error.status
        self._end()
        headers = {"X-Request-Id": self._id}
        if not self._client.keep_alive():
            headers["Connection"] = "close"
        self._client.send(error_response(error, headers, self._request.method == "HEAD"))
        self._client.finish()

    def _end(self) -> None:
        """Release everything that the call holds, and log it."""
        if self._task:
            self._task.cancel()
        self._release()
        self._routing.in_flight.end(self)
        if self._routing.access_log.enabled:
            took_ms = (time.perf_counter() - self._started) * 1000
            self._routing.access_log.info(
                f"{forwarding.log_name(self._request)} {self._status or 'client disconnected'}"
                f" {took_ms:.1f} ms {self._id}"
            )

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection and self._instance:
            if not self._request_sent:
                connection.close()  # the function would wait for the rest of the request
            self._instance.release(connection)


def _encoded(piece: bytes, ended: bool, chunked: bool) -> bytes:
    """A piece of a body as it is sent."""
    if not chunked:
        return piece
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return chunk + b"0\r\n\r\n" if ended else chunk


def _closed_early(instance: Instance) -> CallFailed:
    return CallFailed(
        f"The function's instance at {instance.netloc} closed the connection without a response;"
        " its logs (GET /api/functions/<id>/logs) may say why"
    )


def _timed_out(seconds: float) -> CallTimeout:
    return CallTimeout(
        f"The function did not respond within {seconds:g} s; allow it more with ?timeout="
    )
