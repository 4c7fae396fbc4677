"""Bodies read and sent by the function itself, at the client's pace.

Each step takes the server's lock, and raises Expired once the call is out of time: from then on
the main thread owns the connection.
"""

from __future__ import annotations

import select

from fob.runner.core.errors import Expired

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fob.runner.core.connection import Connection
    from fob.runner.core.request import Request
    from fob.runner.core.worker import Call

MAX_WAIT_MS = 100  # for the client, before the call is checked again


def push(call: Call, data: bytes | memoryview) -> memoryview | None:
    """Send what the socket accepts now; return the rest."""
    with call.server.lock:
        if call.expired:
            raise Expired
        call.begun = True
        call.connection.send(data)
        rest = call.connection.unsent
        call.connection.unsent = None
    return rest


def send(call: Call, data: bytes) -> None:
    """Send all of it. Raises OSError if the client has disconnected."""
    rest = push(call, data)
    while rest:
        _wait(call, select.POLLOUT)
        rest = push(call, rest)


def pull(call: Call) -> bytes | None:
    """Return the next bytes of the body: b"" after the last, None if none have arrived yet.

    Raises OSError if the client has disconnected.
    """
    with call.server.lock:
        if call.expired:
            raise Expired
        return _next(call.connection, call.request)


def _next(connection: Connection, request: Request) -> bytes | None:
    if request.body:  # this much came with the head
        first, request.body = request.body, b""
        return bytes(first)
    for attempt in range(2):
        if request.length < 0:
            connection.take_chunks(request)
        elif request.length:
            connection.take_body(request)
        data, request.body = bytes(request.body), b""
        if data or not request.length:
            return data
        if not attempt:
            connection.send_continue(request)
            if not connection.receive():
                raise ConnectionResetError("the client has disconnected")
    return None


def read(call: Call) -> bytes:
    """Wait for the next bytes of the body; b"" after the last."""
    data = pull(call)
    while data is None:
        _wait(call, select.POLLIN)
        data = pull(call)
    return data


def _wait(call: Call, event: int) -> None:
    waiting = select.poll()
    waiting.register(call.connection.sock, event)
    waiting.poll(MAX_WAIT_MS)
