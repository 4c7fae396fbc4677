"""The main thread: it takes the lead from slow calls, ends expired ones, and stops the server."""

from __future__ import annotations

import os
import select
import time

from fob.contract import STUCK
from fob.runner.core.encoding import encoded
from fob.runner.core.errors import Expired, RequestError
from fob.runner.core.output import log
from fob.runner.core.response import JSON_TYPE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fob.runner.core.server import Server
    from fob.runner.core.worker import Call, Worker

TICK = 0.005  # seconds for which a call may keep the lead
STOP_GRACE = 1.0  # seconds that an expired call has to end after it was interrupted
LINGER = 0.1  # seconds in which requests that are on their way are still served
DRAIN_GRACE = 5.0  # seconds that clients have to read their responses at the end


class Watchdog:
    """Watches the calls of a server. It serves nothing, so no call can keep it from its work."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seen = server.called  # the end of the last call when it last looked
        self.sleeper = select.poll()
        self.sleeper.register(server.wake_reader, select.POLLIN)

    def run(self) -> int:
        """Watch until the server stops; return the exit code."""
        while not self.server.stopping and not self._stuck():
            self._watch()
        idle = self.server.idle
        return 0 if idle and idle.handed_over() else self._drain()

    def _watch(self) -> None:
        """Sleep until there may be something to do, then look.

        While calls keep ending it looks once per tick, so quick calls never have to wake it. When
        none has ended since the last look it sleeps until the next deadline, and the next call
        wakes it. `wake_on_call` is set before it looks: a call that begins after the look must
        not be missed.
        """
        server = self.server
        busy = server.called != self.seen
        self.seen, server.wake_on_call = server.called, not busy
        pause = self.look()
        if server.idle:
            pause = min(pause, server.idle.seconds_left())
        if pause > TICK and not busy:
            self.sleep(pause)
        server.wake_on_call = False
        self.sleep(TICK)

    def sleep(self, seconds: float) -> None:
        """Sleep until the time is over or the server is woken."""
        if self.sleeper.poll(seconds * 1000):
            os.read(self.server.wake_reader, 4096)

    def look(self) -> float:
        """Take the lead from a slow call and end expired ones; return seconds to the next look."""
        now, pause = time.monotonic(), 3600.0
        for worker, call in self._in_flight():
            if worker.leading:
                pause = 0.0
                if now - call.started >= TICK:
                    self._take_lead(worker, call)
            if now >= call.deadline and not call.expired:
                self._expire(worker, call)
            pause = min(pause, call.deadline + STOP_GRACE * call.expired - now)
        return pause

    def _in_flight(self) -> Iterator[tuple[Worker, Call]]:
        for worker in [*self.server.workers, *self.server.overdue]:
            call = worker.call
            if call is not None:
                yield worker, call

    def _take_lead(self, worker: Worker, call: Call) -> None:
        with self.server.lock:
            # once claimed, the call cannot end: its worker waits for the lock to get it back
            if worker.leading and worker.claim(call):
                self.server.hand_over(worker, call.connection)
                worker.slot.append(call)

    def _expire(self, worker: Worker, call: Call) -> None:
        """Respond with 504 and interrupt the call; its worker serves no more."""
        interrupt = self._interrupter()
        server = self.server
        with server.lock:
            if not worker.claim(call):
                return
            call.expired = True
            server.workers.remove(worker)
            server.overdue.append(worker)
            if worker.leading:
                server.hand_over(worker, call.connection)
            else:
                server.reinforce()
            # the worker is still inside the call, or waits for the lock to get it back: in both
            # places the exception ends the worker's loop
            (call.cancel or (lambda: interrupt(worker.ident)))()
            worker.slot.append(call)
        message = f"the call took longer than {server.timeout:g} seconds"
        log(f"fob: {message}\n")
        if call.begun:
            call.connection.abort()
        else:
            body = encoded(RequestError(504, "timeout", message).content)
            call.connection.respond((504, JSON_TYPE, body), call.request, True)
        server.connections.settle(call.connection)

    def _interrupter(self) -> Callable[[int | None], object]:
        """A function that raises Expired in a thread, at its next bytecode."""
        try:
            import ctypes
        except ImportError:  # a Python without it: the call ends by itself, or the process does
            return lambda ident: None
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        return lambda ident: raise_in(ctypes.c_ulong(ident or 0), ctypes.py_object(Expired))

    def _stuck(self) -> bool:
        """Whether an expired call has not ended in time, as one inside C code cannot."""
        now = time.monotonic()
        calls = [worker.call for worker in self.server.overdue]
        return any(call and now >= call.deadline + STOP_GRACE for call in calls)

    def _drain(self) -> int:
        """Stop accepting, let calls in flight finish, send their responses; return the exit code.

        A client learns that the function stops only from its next response. So what it sends until
        then is served for LINGER seconds; closing at once would lose a request on its way.
        """
        server, connections = self.server, self.server.connections
        server.stopping = True
        stuck = self._stuck()
        if server.idle:  # the engine has the listening socket too and keeps it open for a moment
            self._linger()
        # Clients that have connected are still in the socket's queue, and closing it resets them.
        server.epoll.unregister(connections.listener)
        while connections.accept():
            pass
        connections.listener.close()
        if not stuck:
            self._linger()
        # a call in flight may read its body itself
        busy = [call.connection for _, call in self._in_flight()]
        for connection in list(connections.by_fd.values()):
            if connection not in busy:
                connection.stop_reading()
        until = time.monotonic() + (STOP_GRACE if stuck else DRAIN_GRACE)
        while connections.by_fd and time.monotonic() < until:
            self.look()
            stuck = stuck or self._stuck()
            if not stuck and any(self._in_flight()):
                until = time.monotonic() + DRAIN_GRACE
            self.sleep(TICK)
        return STUCK if stuck else 0

    def _linger(self) -> None:
        """Serve for LINGER seconds."""
        until = time.monotonic() + LINGER
        while (self.server.idle or self.server.connections.by_fd) and time.monotonic() < until:
            self.look()
            self.sleep(TICK)
