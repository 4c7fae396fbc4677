"""Faults of a Marathon ("bad days"): what it does instead of a request, or after it."""

import json
import os
import struct
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from cluster import BadDay, Go
from raw_server import Exchange


def says(status: int, body: Any, **headers: str) -> BadDay:
    """Send this response; a string is an HTML page."""
    if isinstance(body, str):
        return lambda exchange, _: exchange.answer(
            status, body.encode(), Content_Type="text/html", **headers
        )
    return lambda exchange, _: exchange.answer(status, json.dumps(body).encode(), **headers)


def raw(data: bytes) -> BadDay:
    """Send these bytes and close the connection."""

    def day(exchange: Exchange, _: Go) -> None:
        exchange.send(data)
        exchange.sock.shutdown(2)

    return day


def resets(exchange: Exchange, _: Go) -> None:
    """Do nothing and reset the connection."""
    exchange.sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    os.close(exchange.sock.detach())


def hangs(exchange: Exchange, _: Go) -> None:
    exchange.hang()


def done_but(day: BadDay) -> BadDay:
    """Carry out the request, but respond with another fault."""

    def both(exchange: Exchange, go: Go) -> None:
        answer, exchange.answer = exchange.answer, lambda *_, **__: None  # type: ignore[assignment]
        go()
        exchange.answer = answer  # type: ignore[method-assign]
        day(exchange, go)

    return both
