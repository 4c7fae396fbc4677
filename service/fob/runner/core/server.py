"""The server: threads that share one epoll, and run calls."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import contextvars
import os
import select
import threading
import time

from fob.contract import BROKEN, FIRST_CALL, LISTENING
from fob.runner.core.connections import Connections
from fob.runner.core.encoding import encoded
from fob.runner.core.errors import Expired, RequestError
from fob.runner.core.failures import trace
from fob.runner.core.output import log
from fob.runner.core.response import JSON_TYPE
from fob.runner.core.watchdog import TICK, Watchdog
from fob.runner.core.worker import Call, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket as socket
    from collections.abc import Callable
    from typing import Any

    from fob.runner.core.connection import Connection
    from fob.runner.core.function import Function
    from fob.runner.core.marks import Marks
    from fob.runner.core.request import Request

SLOW = 0.001  # seconds after which the next call had better run beside others
QUICK = 0.0001  # seconds of a call whose response may be held and sent with others
MAX_HELD_BYTES = 4096  # of a response that may be held
MAX_EVENTS = 32  # of one poll

ENDING = (signal.SIGTERM, signal.SIGINT)


class Server:
    """Leader and followers: of all threads that share the epoll, only the leader polls it.

    The leader runs the calls it finds itself, one after the other. For a quick function nothing is
    faster: no other thread has to be woken, and none competes for the interpreter's lock. It hands
    the lead to a waiting worker, or a new one,
    - before a call, if the last one took longer than SLOW;
    - during a call that lasts longer than TICK: then the main thread, which serves nothing, takes
      the lead from it (watchdog.py).
    While a call runs without the lead, its connection is not in the epoll, so the new leader cannot
    serve it at the same time.

    The leader holds short responses of quick calls until it has served everything that one poll
    reported, or loses the lead, and then sends them in a row: that costs less, since the client is
    awake after the first. It holds no response while its connection has more requests in the
    buffer, so none is overtaken.

    `lock` guards which worker leads, the calls in flight and what the epoll watches.
    """

    def __init__(
        self,
        listener: socket.socket,
        function: Function,
        timeout: float,
        max_calls: int,
        marks: Marks,
    ) -> None:
        """Serve `function`, at most `max_calls` calls at once of `timeout` seconds each."""
        self.address = listener.getsockname()[:2]
        self.function, self.marks = function, marks
        self.timeout, self.max_calls = timeout, max_calls
        self.connections = Connections(listener, function.streams)
        self.lock = self.connections.lock
        self.epoll = self.connections.epoll
        self.workers: list[Worker] = []
        self.overdue: list[Worker] = []  # whose call is out of time and has not ended
        self.waiting = 0  # workers that wait for the lead
        # a Lock, since another thread than its owner may release it: the one that takes the lead
        self.lead = threading.Lock()
        self.slow = self.stopping = self.forked = False
        # a pipe that ends a sleep of the main thread: signals and calls write to it
        self.wake_reader, self.wake_writer = os.pipe()
        os.set_blocking(self.wake_reader, False)
        os.set_blocking(self.wake_writer, False)
        self.wake_on_call = False  # the main thread may sleep long
        self.called = time.monotonic()  # when the last call ended
        self.served_one = False
        self.watchdog = Watchdog(self)
        self.idle: Any = None  # features/idle.py, for a function that may go idle

    def __str__(self) -> str:
        host, port = self.address
        return f"{self.function} on {host}:{port}"

    def run(self) -> int:
        """Serve until a signal arrives or a call is stuck; return the exit code."""
        os.register_at_fork(after_in_child=self._after_fork)
        self.open()
        self.marks.add(LISTENING)
        # not under the lock: start() returns when the thread runs, and that needs the lock
        self.reinforce()
        # Log only when the first client, which may be waiting already, has been served. Launch to
        # first response went from 2.15 to 1.41 ms with this and what a spare does beforehand.
        self.watchdog.sleep(TICK)
        log(f"fob: {self}\n")
        return self.watchdog.run()

    def open(self) -> None:
        """Accept clients, and let signals end `run`."""
        self.connections.open()
        # Python restarts an interrupted poll() after the handler (PEP 475), so a signal alone would
        # not end it; the byte that the interpreter writes to this pipe does.
        signal.set_wakeup_fd(self.wake_writer, warn_on_full_buffer=False)
        on_signals(self._on_signal)

    def close(self) -> None:
        """Close all descriptors of its own, when no thread serves any more."""
        signal.set_wakeup_fd(-1)
        self.connections.close_all()
        os.close(self.wake_reader)
        os.close(self.wake_writer)

    def _on_signal(self, *_: object) -> None:
        self.stopping = True

    def _after_fork(self) -> None:
        """Keep a child of the snippet's from serving."""
        self.forked = True
        signal.set_wakeup_fd(-1)
        on_signals(signal.SIG_DFL)
        self.connections.close_inherited()

    def wake(self) -> None:
        """End a sleep of the main thread."""
        try:
            os.write(self.wake_writer, b"!")
        except BlockingIOError:  # the pipe is full of wake-ups
            return

    # in a worker's thread

    def work(self, worker: Worker) -> None:
        try:
            while True:
                self._wait_for_lead(worker)
                self._lead(worker)
        except Expired:
            pass
        except BaseException as error:  # noqa: BLE001 - a fault of ours: exit, to be started anew
            log(f"fob: the runner is broken\n{trace(error)}")
            os._exit(BROKEN)
        with self.lock:
            self.overdue.remove(worker)

    def _wait_for_lead(self, worker: Worker) -> None:
        with self.lock:
            self.waiting += 1
        self.lead.acquire()
        with self.lock:
            self.waiting -= 1
            worker.leading = True

    def _lead(self, worker: Worker) -> None:
        find = self.connections.by_fd.get
        while worker.leading:
            for fd, _ in self.epoll.poll(-1, MAX_EVENTS):
                if connection := find(fd):
                    self.serve(worker, connection)
                else:
                    self.send_held(worker)  # first: the sockets may be handed over
                    self._attend(worker, fd)
                if not worker.leading:
                    break  # the epoll is level-triggered: it reports the rest to the new leader
            else:
                self.send_held(worker)

    def _attend(self, worker: Worker, fd: int) -> None:
        """Handle an event of what is no connection; one just closed may be reported too."""
        if fd == self.connections.listening_fd:
            self.connections.accept()
        elif self.idle:
            self.idle.on_event(worker, fd)

    def serve(self, worker: Worker, connection: Connection) -> None:
        """Serve a connection that the epoll has reported."""
        try:
            alive = self._advance(worker, connection)
        except OSError:
            alive = False
        if not alive:
            self.connections.close(connection)
        elif connection.closing or connection.unsent or connection.mask != select.EPOLLIN:
            self.connections.settle(connection)

    def _advance(self, worker: Worker, connection: Connection) -> bool:
        """Send or read, and run complete requests; return False to close the connection."""
        if connection.unsent:
            connection.send(connection.unsent)
            if connection.unsent:
                return True
        elif not connection.receive():
            return False
        if connection.to_discard:
            return connection.discard()
        while connection.buffer and not connection.unsent and not connection.closing:
            try:
                request = connection.next_request()
            except RequestError as error:
                body = encoded(error.content)
                connection.respond((error.status, JSON_TYPE, body), None, True)
                break
            if request is None:
                break
            self._call(worker, connection, request)
        return True

    def _call(self, worker: Worker, connection: Connection, request: Request) -> None:
        if request.method == "OPTIONS" or self.function.cors:
            response = self.function.respond_without_call(connection, request)
            if response:
                connection.respond(response, request, self.stopping)
                return
        call = Call(self, connection, request)
        if self.slow and worker.leading:
            with self.lock:
                self.hand_over(worker, connection)
        worker.slot.append(call)
        if self.wake_on_call:
            self.wake()
        # a context of its own, so that context variables do not leak into the next call
        response = contextvars.Context().run(self.function.respond, call)
        if self.forked:  # a child that the snippet forked has returned here
            os._exit(0)
        try:
            worker.slot.pop()
        except IndexError:
            with self.lock:  # the main thread has claimed the call: wait until it is back
                worker.slot.pop()
        if call.expired:  # the main thread has responded, and settled the connection
            raise Expired
        self.called = time.monotonic()
        took = self.called - call.started
        self.slow = took > SLOW
        if response:
            data = connection.encode(response, request, self.stopping)
            last = not (connection.buffer or connection.closing)
            # the first response is not held: it must not wait for its mark, which wakes the engine
            may_hold = last and worker.leading and self.served_one
            if may_hold and took < QUICK and len(data) < MAX_HELD_BYTES:
                worker.held.append((connection, data))
            else:
                connection.send(data)
        if not self.served_one:
            self.served_one = True
            self.marks.add(FIRST_CALL)

    def send_held(self, worker: Worker) -> None:
        """Send the responses that a worker holds; the epoll watches sockets that are full.

        Called by the worker, or with the lock held by the thread that takes its lead.
        """
        held, worker.held = worker.held, []
        for connection, data in held:
            try:
                connection.send(data)
                if connection.unsent:
                    self.connections.watch(connection, select.EPOLLOUT)
            except OSError:
                connection.abort()  # the epoll reports that, and the leader closes it

    def hand_over(self, worker: Worker, connection: Connection) -> None:
        """Take the lead from `worker`, which serves `connection`; called with the lock held."""
        self.send_held(worker)
        worker.leading = False
        self.connections.unwatch(connection)
        self.lead.release()
        self.reinforce()

    def reinforce(self) -> None:
        """Start a worker if none waits for the lead and the limit of calls allows one more."""
        if self.waiting or len(self.workers) >= self.max_calls:
            return
        worker = Worker(self)
        self.workers.append(worker)
        try:
            worker.start()
        except RuntimeError as error:  # no more threads on this machine: serve with those there are
            self.workers.remove(worker)
            log(f"fob: {error}\n")

    # idle hand-over, called by the leader: no other thread accepts or reads meanwhile

    def detach(self, max_sockets: int) -> list[socket.socket]:
        """Stop accepting and return all sockets, the listening one first.

        Returns [] if a call is in flight, a request is incomplete, or there are too many sockets.
        Clients that connect from now on wait in the listening socket's queue.
        """
        with self.lock:
            alone = self.waiting == len(self.workers) - 1 and not self.overdue
        connections = list(self.connections.by_fd.values())
        quiet = all(
            c.mask == select.EPOLLIN and not (c.buffer or c.request or c.closing)
            for c in connections
        )
        if self.stopping or not (alone and quiet) or len(connections) >= max_sockets:
            return []
        listener = self.connections.listener
        self.epoll.unregister(listener)
        return [listener, *(connection.sock for connection in connections)]

    def reattach(self, worker: Worker, handed_over: bool) -> None:
        """After `detach`: stop if the sockets were handed over, otherwise serve on."""
        if handed_over:
            worker.leading, self.stopping = False, True  # no thread leads any more
            self.wake()
        else:
            self.called = time.monotonic()
            self.epoll.register(self.connections.listener, select.EPOLLIN)


def on_signals(handler: Callable[..., object] | int) -> list[Any]:
    """Set the handler of the signals that end the process; return the previous ones."""
    return [signal.signal(name, handler) for name in ENDING]
