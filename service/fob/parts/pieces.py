"""A call's bytes, read and sent by the function itself, piece by piece, at the client's pace.

Each step takes the server's lock, and raises Expired once the call has run out of time: from then
on the connection is no longer the call's.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SLICE = 100  # ms to wait for the client before looking whether the call has expired


def push(call: Any, data: bytes | memoryview, core: Any) -> memoryview | None:
    """Send what the client takes now; the rest comes back."""
    with call.server.lock:
        if call.expired:
            raise core.Expired
        call.begun = True
        call.connection.send(data)
        rest: memoryview | None = call.connection.unsent
        call.connection.unsent = None
    return rest


def send(call: Any, data: bytes, core: Any) -> None:
    """Send all of it; OSError when the client has gone."""
    rest = push(call, data, core)
    while rest:
        _wait(call, select.POLLOUT)
        rest = push(call, rest, core)


def pull(call: Any, core: Any) -> bytes | None:
    """The next of a body that is read while it comes; b"" after the last, None when nothing is
    here yet; OSError when the client has gone."""
    with call.server.lock:
        if call.expired:
            raise core.Expired
        return _next(call.connection, call.request)


def _next(connection: Any, request: Any) -> bytes | None:
    if request.body:  # this much came with the head
        first, request.body = request.body, b""
        return bytes(first)
    for attempt in range(2):
        if request.length < 0:
            connection.take_chunks(request)
        elif request.length:
            connection.take(request)
        data, request.body = bytes(request.body), b""
        if data or not request.length:
            return data
        if not attempt:
            connection.welcome(request)
            if not connection.read():
                raise ConnectionResetError("the client has gone")
    return None


def read(call: Any, core: Any) -> bytes:
    """The next of the body when it comes; b"" after the last."""
    data = pull(call, core)
    while data is None:
        _wait(call, select.POLLIN)
        data = pull(call, core)
    return data


def _wait(call: Any, event: int) -> None:
    waiting = select.poll()
    waiting.register(call.connection.sock, event)
    waiting.poll(SLICE)
