"""The sockets of idle tasks: a connection to one, or data on one, starts its task again.

A task with `FOB_ACTIVATION=on-demand` has a process only while it is called. Its activation socket
is its listening socket, and the connections that clients left open when it went idle. No connection
is refused or closed on the way from the process to the engine and back.
"""

# Which process has which socket when:
#
# - The engine binds the listening socket and never closes it while the task exists; processes of
#   the task inherit it. So it is open all the time, and the kernel completes connections to it (up
#   to its backlog) whether a process accepts them or not.
# - To go idle, the process stops reading and sends one datagram to the engine's socket IDLE_SOCKET:
#   its task's id, and with SCM_RIGHTS a socket for the reply, its listening socket, and its open
#   connections. A descriptor in a queued datagram counts as open, so a process that dies after
#   sending, or an engine that is busy, closes no connection.
# - The reply IDLE_REPLY means that the engine has them, and the process exits. If the reply socket
#   is closed without it, the task may not go idle now: the process still has its own copies, and
#   goes on serving.
# - When the process has exited, the engine watches all of them with epoll, level-triggered: what
#   has arrived in between, in the backlog or in a receive buffer, is reported at once.
# - The first event starts a process, which inherits them all. The engine stops watching, and closes
#   its copies of the connections: if it kept one, the client would not see the process close it.
#
# An engine that was restarted no longer has the listening socket of a task that kept running. It
# takes the one in the datagram, when that task goes idle.

import asyncio
import contextlib
import logging
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path

from fob.contract import IDLE_FD, IDLE_REPLY, IDLE_SOCKET, KEPT_FD, LISTEN_FD

log = logging.getLogger(__name__)

MAX_ID_BYTES = 4096  # of a task's id
MAX_DESCRIPTORS = 253  # in one message, on Linux (SCM_MAX_FD)
MAX_EVENTS = 64  # handled before the loop handles others again

OnIdle = Callable[[str, "ActivationSocket"], bool]


class ActivationSocket:
    """Where clients reach a task: its listening socket, and the connections that were open and
    without a request when it went idle."""

    __slots__ = ("_connections", "_listener", "_on_connection", "_sockets")

    def __init__(
        self,
        sockets: "ActivationSockets",
        listener: socket.socket,
        connections: list[socket.socket] | None = None,
    ) -> None:
        self._sockets = sockets
        self._listener = listener
        self._connections = connections
        self._on_connection: Callable[[], None] | None = None

    def pass_fds(self, on_demand: bool) -> dict[str, int]:
        """The descriptors for a process that is to serve here, by their variables."""
        named = {LISTEN_FD: self._listener.fileno()}
        if on_demand:
            named[IDLE_FD] = self._sockets.folder_fd
        for number, connection in enumerate(self._connections or ()):
            named[f"{KEPT_FD}{number}"] = connection.fileno()
        return named

    def watch(self, on_connection: Callable[[], None]) -> None:
        """Call `on_connection` once, when a client connects or sends on an open connection."""
        self._on_connection = on_connection
        for sock in (self._listener, *(self._connections or ())):
            self._sockets.watch(sock, self)

    def handle_event(self, fd: int) -> None:
        """Handle that the descriptor `fd`, one of these sockets, is readable."""
        connections = self._connections or ()
        connection = next((sock for sock in connections if sock.fileno() == fd), None)
        if self._connections and connection is not None and _is_closed_by_peer(connection):
            self._sockets.unwatch(connection)
            self._connections.remove(connection)
            connection.close()
        elif on_connection := self._on_connection:
            # unwatched first: a socket stays readable until the new process has read from it
            self._unwatch()
            on_connection()

    def close_connections(self) -> None:
        """Close the engine's copies of the connections, now that a process has them."""
        for sock in self._connections or ():
            sock.close()
        self._connections = None

    def take_connections(self, other: "ActivationSocket") -> None:
        """Take the connections of `other`, which is the same socket as it came from a process."""
        self._connections, other._connections = other._connections, None
        other.close()

    def detach(self) -> socket.socket:
        """Return the listening socket, with its queue of connections; the caller owns it now."""
        self._unwatch()
        self.close_connections()
        return self._listener

    def close(self) -> None:
        self.detach().close()

    def _unwatch(self) -> None:
        if self._on_connection:
            self._on_connection = None
            for sock in (self._listener, *(self._connections or ())):
                self._sockets.unwatch(sock)


class ActivationSockets:
    """All activation sockets of an engine, and the socket to which tasks that go idle send theirs.

    One epoll object watches them all, and the loop watches its descriptor. There can be 10,000 of
    them, and this takes less memory for each than the loop's own handles do.
    """

    def __init__(self, folder: Path) -> None:
        self.folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._epoll = select.epoll()
        self._watched: dict[int, ActivationSocket] = {}
        self._idle_socket = self._bind()

    def open(self, on_idle: OnIdle) -> None:
        """Start to handle events. `on_idle(task_id, activation_socket)` returns whether the task
        may go idle; if not, the task goes on, and the socket is closed here."""
        self._on_idle = on_idle
        loop = asyncio.get_running_loop()
        loop.add_reader(self._epoll.fileno(), self._handle_events)
        loop.add_reader(self._idle_socket, self._receive)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._epoll.fileno())
        loop.remove_reader(self._idle_socket)
        self._epoll.close()
        self._idle_socket.close()
        os.close(self.folder_fd)

    def watch(self, sock: socket.socket, owner: ActivationSocket) -> None:
        self._watched[sock.fileno()] = owner
        self._epoll.register(sock, select.EPOLLIN)

    def unwatch(self, sock: socket.socket) -> None:
        del self._watched[sock.fileno()]
        self._epoll.unregister(sock)

    def _bind(self) -> socket.socket:
        # by the descriptor of the folder: an address has at most 108 bytes, a path may have more
        path = f"/proc/self/fd/{self.folder_fd}/{IDLE_SOCKET}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        os.chmod(path, 0o600)
        sock.setblocking(False)
        return sock

    def _handle_events(self) -> None:
        for fd, _ in self._epoll.poll(0, MAX_EVENTS):
            # one event may have unwatched, and closed, the sockets of later ones
            if owner := self._watched.get(fd):
                owner.handle_event(fd)

    def _receive(self) -> None:
        """Receive the datagram of a task that goes idle: its id, and as descriptors a socket for
        the reply, the listening socket, and the connections."""
        try:
            task_id, fds, flags, _ = socket.recv_fds(
                self._idle_socket, MAX_ID_BYTES, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            log.warning("Cannot receive the sockets of a task that goes idle: %s", error)
            return
        if len(fds) < 2 or flags & socket.MSG_CTRUNC:  # the engine is out of descriptors
            for fd in fds:
                os.close(fd)
            return
        reply, listener, *connections = (socket.socket(fileno=fd) for fd in fds)
        received = ActivationSocket(self, listener, connections)
        with reply:
            if self._on_idle(task_id.decode("utf-8", "replace"), received):
                with contextlib.suppress(OSError):  # the process has just exited, as it was to
                    reply.send(IDLE_REPLY)
            else:
                received.close()


def _is_closed_by_peer(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
