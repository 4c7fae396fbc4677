"""`/api/call/<id>[/path]`: passes a request on to an instance of the function, and its answer back.

Both bodies stream: what one side does not take is not read from the other. A call is sent again
only when nothing of it can have reached the function.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine

from fob.dispatcher.gateway import forwarding
from fob.dispatcher.gateway.pool import Instance
from fob.dispatcher.gateway.routing import Route, Routing
from fob.errors import CallFailed, CallTimeout, FobError
from fob.http.client import Ended, UpstreamConnection
from fob.http.error_response import refusal
from fob.http.message import Malformed, RequestHead, ResponseHead
from fob.http.server import STALL_SECONDS, ClientConnection, too_slow

log = logging.getLogger(__name__)

_REPLAYABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class RoutedCall:
    """One request, from its head to the last byte of its answer."""

    # what most calls never change
    _sent = False
    _function_takes = True
    _client_takes = True
    _status = 0
    _chunked = False
    _reused = False
    _limit = 0.0
    _instance: Instance | None = None
    _connection: UpstreamConnection | None = None
    _task: asyncio.Task[None] | None = None

    def __init__(self, calls: Routing, client: ClientConnection, request: RequestHead) -> None:
        self._calls = calls
        self._client = client
        self._request = request
        self._began = time.perf_counter()
        self._id = forwarding.request_id(request)
        self._id_line = forwarding.id_line(self._id)

    # the client's side

    def begin(self, piece: bytes, ended: bool) -> None:
        calls = self._calls
        calls.in_flight.begin(self)
        try:
            id_ = calls.admit(self._request)
            way = calls.at_once(id_)
        except FobError as error:
            self._refuse(error)
            return
        if way:
            self._ask(way, piece, ended)
            calls.expect()
        else:
            self._client.hold()
            self._task = asyncio.create_task(self._wait(calls.connect(id_), piece, ended))

    def body(self, piece: bytes, ended: bool) -> None:
        assert self._connection
        self._sent = ended
        self._connection.send(_framed(piece, ended, self._request.length is None))
        self._progress()

    def client_takes(self, more: bool) -> None:
        self._client_takes = more
        if self._connection:
            if more:
                self._connection.go_on()
            else:
                self._connection.hold()
            self._progress()

    def gone(self) -> None:
        self._let_go()

    def late(self) -> None:
        if self._waits_for_client:
            self._refuse(too_slow("The body", STALL_SECONDS))
        else:
            self._refuse(_timed_out(self._limit))

    # the way to the function

    async def _wait(self, coming: Coroutine[None, None, Route], piece: bytes, ended: bool) -> None:
        """Ask once there is a connection."""
        try:
            way = await coming
        except FobError as error:
            self._task = None
            self._refuse(error)
        except Exception:
            log.exception("call %s broke", self._id)
            self._task = None
            self._refuse(FobError("Something broke inside fob; its log has the traceback"))
        else:
            self._task = None
            self._client.go_on()
            self._ask(way, piece, ended)

    def _ask(self, way: Route, piece: bytes, ended: bool) -> None:
        request, client = self._request, self._client
        instance, connection, self._limit = way
        self._instance, self._connection = instance, connection
        self._reused = connection.used
        self._sent = ended
        begin = forwarding.request_head(
            request, instance.netloc, client.remote_ip, self._calls.guard.wants_token
        )
        client.welcome()
        body = _framed(piece, ended, request.length is None)
        connection.ask(self, begin + self._id_line + body, request.method == "HEAD")
        self._progress()

    async def _reconnect(self, instance: Instance) -> Route:
        try:
            return instance, await instance.connect(), self._limit
        except OSError as error:
            raise _died(instance) from error

    # the function's side

    def function_takes(self, more: bool) -> None:
        self._function_takes = more
        if more:
            self._client.go_on()
        else:
            self._client.hold()
        self._progress()

    def answered(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        begin = self._answer_head(head) if head else b""
        if ended:
            # first: a slow client holds up no connection that others can use
            self._let_go()
        self._client.send(begin + _framed(piece, ended, self._chunked))
        if ended:
            self._client.done()
        else:
            self._progress()
        self._calls.expect()

    def _answer_head(self, head: ResponseHead) -> bytes:
        self._status = head.status
        has_body = self._request.method != "HEAD" and head.status not in (204, 304)
        if has_body and head.length is None:
            self._chunked = self._request.minor > 0
            if not self._chunked:
                self._client.last()
        framing = "Transfer-Encoding: chunked\r\n" if self._chunked else ""
        return forwarding.answer_head(head, framing + self._connection_line()) + self._id_line

    def _connection_line(self) -> str:
        if not self._client.keeps():
            return "Connection: close\r\n"
        return "" if self._request.minor else "Connection: keep-alive\r\n"

    def failed(self, error: Ended | Malformed) -> None:
        instance, connection = self._instance, self._connection
        assert instance
        assert connection
        if isinstance(error, Malformed):
            self._refuse(CallFailed(f"The function's answer is not HTTP: {error}"))
        elif self._reused and self._replayable and not connection.heard:
            # it was closed while it lay idle: this call reached nobody
            self._leave()
            self._task = asyncio.create_task(self._wait(self._reconnect(instance), b"", True))
        else:
            self._refuse(_died(instance))

    @property
    def _replayable(self) -> bool:
        """Whether sending it twice does no harm."""
        return self._request.method in _REPLAYABLE and self._request.length == 0

    # the end

    @property
    def _waits_for_client(self) -> bool:
        return not self._client_takes or (self._function_takes and not self._sent)

    def _progress(self) -> None:
        """Something has moved: whoever is waited for now has all its time again."""
        self._client.allow(STALL_SECONDS if self._waits_for_client else self._limit)

    def _refuse(self, error: FobError) -> None:
        """Answer with the error, or cut off an answer that had begun."""
        if self._status:
            log.warning("call %s was cut off: %s", self._id, error.message)
            self._let_go()
            self._client.abort()
            return
        self._status = error.status
        self._let_go()
        headers = {"X-Request-Id": self._id}
        if not self._client.keeps():
            headers["Connection"] = "close"
        self._client.send(refusal(error, headers, self._request.method == "HEAD"))
        self._client.done()

    def _let_go(self) -> None:
        if self._task:
            self._task.cancel()
        self._leave()
        self._calls.in_flight.end(self)
        if self._calls.lines.wanted:
            took_ms = (time.perf_counter() - self._began) * 1000
            self._calls.lines.info(
                f"{forwarding.named(self._request)} {self._status or 'client gone'}"
                f" {took_ms:.1f} ms {self._id}"
            )

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection and self._instance:
            if not self._sent:
                connection.close()
            self._instance.give(connection)


def _framed(piece: bytes, ended: bool, chunked: bool) -> bytes:
    """A piece of a body as it is sent."""
    if not chunked:
        return piece
    chunk = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return chunk + b"0\r\n\r\n" if ended else chunk


def _died(instance: Instance) -> CallFailed:
    return CallFailed(
        f"The function's instance at {instance.netloc} closed the connection without answering;"
        " its logs (GET /api/functions/<id>/logs) may say why"
    )


def _timed_out(seconds: float) -> CallTimeout:
    return CallTimeout(
        f"The function did not respond within {seconds:g} s; allow it more with ?timeout="
    )
