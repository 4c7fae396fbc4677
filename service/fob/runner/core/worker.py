"""Calls in flight, and the threads that run them."""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fob.runner.core.connection import Connection
    from fob.runner.core.request import Request
    from fob.runner.core.server import Server


class Call:
    """One call in flight."""

    expired = False
    begun = False  # part of the response has been sent
    cancel: Callable[[], object] | None = None  # ends it if it is a coroutine

    def __init__(self, server: Server, connection: Connection, request: Request) -> None:
        self.server, self.connection, self.request = server, connection, request
        self.started = connection.last_used = time.monotonic()

    @property
    def deadline(self) -> float:
        return self.started + self.server.timeout


class Worker(threading.Thread):
    """A thread that serves. `held` are responses that it is about to send, with connections.

    `slot` holds the call in flight. Only one thread can pop it, and that one owns the call: the
    worker when the call has returned, or the main thread while it takes the lead or expires the
    call. list.pop is atomic, so the worker needs no lock, which every call would pay for; the main
    thread puts the call back while it holds the server's lock.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(target=server.work, args=(self,), name="call", daemon=True)
        self.leading = False  # whether this thread polls
        self.slot: list[Call] = []
        self.held: list[tuple[Connection, bytes]] = []

    @property
    def call(self) -> Call | None:
        return next(iter(self.slot), None)

    def claim(self, call: Call) -> bool:
        """Take `call` out of the slot; return False if it has ended."""
        try:
            found = self.slot.pop()
        except IndexError:
            return False
        if found is not call:
            self.slot.append(found)
        return found is call
