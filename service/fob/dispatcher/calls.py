"""`/api/call/<id>[/path]`: passes a request on to an instance of the function, and its answer back.

Both bodies stream. A call is sent again only when nothing of it can have reached the function.
"""

import asyncio
import http.client
import json
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError
from tornado.routing import Router

from fob.dispatcher import forwarding
from fob.dispatcher.body import ClientBody
from fob.dispatcher.forwarding import netloc
from fob.dispatcher.guard import Guard
from fob.dispatcher.inhand import InHand
from fob.dispatcher.upstream import Address, Connection, Ended, Head, Malformed, Pool
from fob.errors import CallFailed, FobError
from fob.functions import Functions, address
from fob.marathon.task import Task

log = logging.getLogger(__name__)

# how long a call waits for a function that is starting
READY_SECONDS = 30.0
# the runner ends a call that takes too long; only when it does not is it for us to do
GRACE_SECONDS = 5.0
CONNECT_PAUSES = (0.05, 0.2, 0.8)
_REPLAYABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class Calls(Router):
    """The route's target: makes a `Call` of each request."""

    def __init__(self, functions: Functions, guard: Guard, in_hand: InHand) -> None:
        self.functions = functions
        self.guard = guard
        self.in_hand = in_hand
        self.pool = Pool()
        self.outstanding: Counter[Address] = Counter()

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> HTTPMessageDelegate:
        return Call(self, request)

    def choose(self, ready: list[Task], avoid: set[Address]) -> Address:
        """The instance with the fewest calls in hand, of those not to `avoid` if there are any;
        any one of several."""
        addresses = [address(task) for task in ready]
        addresses = [a for a in addresses if a not in avoid] or addresses
        return min(addresses, key=lambda a: (self.outstanding[a], random.random()))

    def close(self) -> None:
        self.pool.close()


class Call(HTTPMessageDelegate):
    """One request, from its head to the last byte of its answer."""

    def __init__(self, calls: Calls, request: HTTPServerRequest) -> None:
        assert isinstance(request.connection, HTTP1Connection)
        self._calls = calls
        self._request = request
        self._client = request.connection
        self._method = str(request.method)
        self._body = ClientBody()
        self._status = 0
        self._id = forwarding.request_id(request)
        self._sends_body = forwarding.sends_body(request)

    # Tornado's side

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        self._client.set_max_body_size(sys.maxsize)
        self._client.set_close_callback(self.on_connection_close)
        self._calls.in_hand.begin(self)
        self._task = asyncio.create_task(self._run())

    async def data_received(self, chunk: bytes) -> None:
        if not self._task.done():
            await self._body.put(chunk)

    def finish(self) -> None:
        self._body.end()

    def on_connection_close(self) -> None:
        self._task.cancel()

    # ours

    async def _run(self) -> None:
        try:
            await self._serve()
        except FobError as error:
            await self._refuse(error)
        except StreamClosedError:
            pass  # the client is gone
        except Exception:
            log.exception("call %s broke", self._id)
            await self._refuse(FobError("Something broke inside fob; its log has the traceback"))
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self._body.let_go()
        self._calls.in_hand.end(self)
        log.info(
            "%s %s %s %.1f ms %s",
            self._method,
            self._request.path[:200],
            self._status or "client gone",
            self._request.request_time() * 1000,
            self._id,
        )

    async def _serve(self) -> None:
        self._admit()
        there, connection, limit = await self._connect()
        self._calls.outstanding[there] += 1
        try:
            await self._exchange(there, connection, limit)
        finally:
            self._calls.outstanding[there] -= 1
            if not self._calls.outstanding[there]:
                del self._calls.outstanding[there]

    def _admit(self) -> None:
        headers = self._request.headers
        self._calls.guard.check_origin(headers)
        self._calls.guard.check_token(headers)
        if "websocket" in headers.get("Upgrade", "").lower():
            error = FobError(
                "Calls through the dispatcher carry no WebSockets;"
                " connect to the function itself, where /api/meta/<id> says",
                code="upgrade_refused",
            )
            error.status = 501
            raise error

    async def _connect(self) -> tuple[Address, Connection, float]:
        """A connection to an instance that is ready, and the seconds it may take to answer."""
        id_ = forwarding.function_id(self._request)
        avoid: set[Address] = set()
        pauses = iter(CONNECT_PAUSES)
        while True:
            ready = await self._calls.functions.ready(id_, READY_SECONDS)
            limit = await self._calls.functions.timeout(ready[0]) + GRACE_SECONDS
            there = self._calls.choose(ready, avoid)
            try:
                return there, await self._calls.pool.take(there), limit
            except OSError as error:
                avoid.add(there)
                if len(avoid) >= len(ready):
                    await _pause(pauses, there, error)

    async def _exchange(self, there: Address, connection: Connection, limit: float) -> None:
        reused = connection.used
        try:
            head = await self._ask(connection, there, limit)
            await self._answer(connection, head, limit)
        except Ended as error:
            if not (reused and self._replayable and not connection.has_unread):
                raise _died(there) from error
            # it was closed while it lay idle: this call reached nobody
            await self._exchange(there, await self._fresh(there), limit)
        except Malformed as error:
            raise CallFailed(f"The function's answer is not HTTP: {error}") from error
        except TimeoutError as error:
            raise _too_slow(limit) from error
        finally:
            self._calls.pool.give(there, connection)

    @property
    def _replayable(self) -> bool:
        """Whether sending it twice does no harm, and nothing of an answer was passed on yet."""
        return self._method in _REPLAYABLE and not self._sends_body and not self._status

    async def _fresh(self, there: Address) -> Connection:
        try:
            return await self._calls.pool.take(there, fresh=True)
        except OSError as error:
            raise _died(there) from error

    async def _ask(self, connection: Connection, there: Address, limit: float) -> Head:
        """Send the request; the head of the answer, which may come before all is sent."""
        if not self._sends_body:
            await connection.send(self._head(there))
            async with asyncio.timeout(limit):
                return await connection.head()
        sending = asyncio.create_task(self._send(connection, there))
        answer = asyncio.create_task(connection.head())
        try:
            await asyncio.wait({sending, answer}, return_when=asyncio.FIRST_COMPLETED)
            async with asyncio.timeout(limit):
                return await answer
        finally:
            sending.cancel()
            answer.cancel()

    async def _send(self, connection: Connection, there: Address) -> None:
        """Send head and body, as few writes as the body's pieces allow."""
        data = bytearray(self._head(there))
        chunked = "Content-Length" not in self._request.headers
        async for piece in self._body.pieces():
            data += b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
            await connection.send(data)
            data.clear()
        if chunked:
            data += b"0\r\n\r\n"
        await connection.send(data)

    def _head(self, there: Address) -> bytes:
        token = self._calls.guard.wants_token
        return forwarding.request_head(self._request, there, self._id, token_is_ours=token)

    async def _answer(self, connection: Connection, head: Head, limit: float) -> None:
        """Pass the answer on, piece by piece."""
        body = connection.body(head, self._method)
        piece = await _next(body, limit) if connection.has_unread else b""
        self._status = head.status
        start = ResponseStartLine("HTTP/1.1", head.status, head.reason)
        await self._client.write_headers(start, forwarding.answer_headers(head, self._id), piece)
        while (piece := await _next(body, limit)) is not None:
            await self._client.write(piece)
        await self._body.drain()
        self._client.finish()

    async def _refuse(self, error: FobError) -> None:
        """Answer with the error, or cut off an answer that had begun."""
        if self._status:
            log.warning("call %s was cut off: %s", self._id, error.message)
            self._client.close()
            return
        await self._body.drain()
        self._status = error.status
        content = json.dumps(error.body()).encode()
        headers = HTTPHeaders(error.headers)
        headers["Content-Type"] = "application/json; charset=UTF-8"
        headers["Content-Length"] = str(len(content))
        headers["X-Request-Id"] = self._id
        start = ResponseStartLine("HTTP/1.1", error.status, http.client.responses[error.status])
        self._client.write_headers(start, headers, b"" if self._method == "HEAD" else content)
        self._client.finish()


async def _next(body: AsyncIterator[bytes], limit: float) -> bytes | None:
    """The next piece; None after the last."""
    async with asyncio.timeout(limit):
        return await anext(body, None)


async def _pause(pauses: Iterator[float], there: Address, error: OSError) -> None:
    """Wait a moment for what listens there to come (back), or give up."""
    pause = next(pauses, None)
    if pause is None:
        raise CallFailed(
            f"The function's instance at {netloc(there)} cannot be reached:"
            f" {error.strerror or 'it does not answer'}. Can this machine reach that one?"
        ) from error
    await asyncio.sleep(pause)


def _died(there: Address) -> CallFailed:
    return CallFailed(
        f"The function's instance at {netloc(there)} closed the connection without answering;"
        " its logs (GET /api/functions/<id>/logs) may say why"
    )


def _too_slow(limit: float) -> FobError:
    error = FobError(
        f"The function did not answer within {limit:g} s; give it more with ?timeout=",
        code="call_timeout",
    )
    error.status = 504
    return error
