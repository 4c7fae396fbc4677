"""Going idle: an unused function hands its sockets to the engine, and exits.

The engine keeps them open, and starts the function again when there is something to read.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

from fob.contract import IDLE_REPLY, IDLE_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fob.runner.core.server import Server
    from fob.runner.core.worker import Worker

UNCALLED = 1.0  # seconds after which a function goes idle that was never called
RETRY_SECONDS = 0.05  # at least, between two attempts
MAX_SOCKETS = 201  # handed over; Linux passes no more than 253 descriptors with one message


class Idle:
    """Takes a server idle `keep_alive` seconds after its last call.

    The main thread keeps the time. The leader hands over: it alone accepts and reads, so while it
    does this, no request can begin. The main thread wakes it through a pipe in the epoll.
    """

    def __init__(self, server: Server, folder: int, task: str, keep_alive: float) -> None:
        """`folder` is a descriptor of the engine's folder, which has its socket; the engine knows
        the server as `task`."""
        self.server, self.folder, self.task, self.keep_alive = server, folder, task, keep_alive
        self._handed_over = False
        self._lock = threading.Lock()  # held during a hand-over
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        server.epoll.register(self._reader, select.EPOLLIN)

    def seconds_left(self) -> float:
        """Return seconds until this is to be called again; wake the leader when it is time."""
        pause = self._patience()
        left = self.server.called + pause - time.monotonic()
        if left > 0:
            return left
        self._wake_leader()
        return max(pause, RETRY_SECONDS)

    def on_event(self, worker: Worker, fd: int) -> None:
        """Hand over if nothing has happened meanwhile; called by the leader `worker`."""
        if fd != self._reader:
            return
        os.read(self._reader, 4096)
        with self._lock:
            if time.monotonic() >= self.server.called + self._patience():
                self._hand_over(worker)

    def handed_over(self) -> bool:
        """Whether the engine has the sockets, so that they must be left as they are."""
        with self._lock:
            return self._handed_over

    def _wake_leader(self) -> None:
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:  # full of wake-ups that the leader has not read
            return

    def _patience(self) -> float:
        return self.keep_alive if self.server.served_one else min(self.keep_alive, UNCALLED)

    def _hand_over(self, worker: Worker) -> None:
        sockets = self.server.detach(MAX_SOCKETS)
        if not sockets:
            return
        try:
            self._handed_over = self._offer([sock.fileno() for sock in sockets])
        except OSError:  # no engine is running
            self._handed_over = False
        self.server.reattach(worker, self._handed_over)

    def _offer(self, fds: list[int]) -> bool:
        """Send the descriptors; return whether the engine has accepted them."""
        ours, theirs = socket.socketpair()
        with ours, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            with theirs:
                # through /proc, since the path itself may be too long for a socket's address
                sender.connect(f"/proc/self/fd/{self.folder}/{IDLE_SOCKET}")
                socket.send_fds(sender, [self.task.encode()], [theirs.fileno(), *fds])
            # no copy of `theirs` is open here: if the engine dies, this returns b""
            return ours.recv(16) == IDLE_REPLY
