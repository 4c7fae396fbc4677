"""Going to rest: a function that nobody calls hands its sockets to the engine, and ends.

The engine keeps them, open, and starts the function again when there is something to read.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNCALLED = 1.0  # seconds a function stays that nobody has called at all
AGAIN = 0.05  # seconds at least before it is tried again
MOST = 200  # connections handed back; one message holds no more than 253


class Rest:
    """When the `server` goes to rest: `keep_alive` seconds after its last call, when no call is in
    hand and no request half read.

    The main thread keeps the time, and rings; the leader hands over, for nobody else takes new
    connections or reads from those there are.
    """

    def __init__(self, server: Any, folder: int, task: str, keep_alive: float) -> None:
        """`folder` is a descriptor of the engine's folder, in which its socket is; to the engine
        the server is `task`."""
        self.server, self.folder, self.task, self.keep_alive = server, folder, task, keep_alive
        self.taken = False  # the engine has the sockets
        self.handing = threading.Lock()
        self.bell, self.button = os.pipe()
        os.set_blocking(self.button, False)
        server.epoll.register(self.bell, select.EPOLLIN)

    def left(self) -> float:
        """Seconds until this wants to be asked again; rings when it is time."""
        pause = self._patience()
        left = float(self.server.called + pause - time.monotonic())
        if left > 0:
            return left
        self._ring()
        return max(pause, AGAIN)

    def rung(self, worker: Any, fd: int) -> None:
        """Hand over if it is still time to; called by the leader `worker`."""
        if fd != self.bell:
            return
        os.read(self.bell, 4096)
        with self.handing:
            if not self.server.stopping and self._idle():
                self._hand_over(worker)

    def over(self) -> bool:
        """True when the engine has taken the sockets, so that they must be left as they are."""
        with self.handing:
            return self.taken

    def _ring(self) -> None:
        try:
            os.write(self.button, b"!")
        except BlockingIOError:  # it rings already
            return

    def _patience(self) -> float:
        return self.keep_alive if self.server.served_one else min(self.keep_alive, UNCALLED)

    def _idle(self) -> bool:
        server = self.server
        with server.lock:
            alone = server.waiting == len(server.workers) - 1 and not server.overdue
        connections = list(server.connections.values())
        quiet = all(
            c.mask == select.EPOLLIN and not (c.buffer or c.request or c.closing)
            for c in connections
        )
        late = time.monotonic() >= server.called + self._patience()
        return bool(alone and quiet and late and len(connections) <= MOST)

    def _hand_over(self, worker: Any) -> None:
        server = self.server
        server.epoll.unregister(server.listener)  # what comes now waits in its queue
        sockets = [server.listener, *(c.sock for c in server.connections.values())]
        try:
            self.taken = self._told([sock.fileno() for sock in sockets])
        except OSError:  # no engine runs just now
            self.taken = False
        if not self.taken:
            server.called = time.monotonic()
            server.epoll.register(server.listener, select.EPOLLIN)
            return
        worker.leading, server.stopping = False, True  # nobody leads from now
        os.write(server.bell_button, b"!")

    def _told(self, fds: list[int]) -> bool:
        """Send the descriptors; whether the engine has taken them."""
        ours, theirs = socket.socketpair()
        with ours, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            with theirs:
                sender.connect(f"/proc/self/fd/{self.folder}/rest")
                socket.send_fds(sender, [self.task.encode()], [theirs.fileno(), *fds])
            return ours.recv(16) == b"rest"  # it ends without a word when the engine dies
