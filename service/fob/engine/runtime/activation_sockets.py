"""The sockets of tasks that rest: whoever knocks at one wakes its task.

A task with `FOB_ACTIVATION=on-demand` shares its listening socket with the engine, so that the
socket outlives every process of the task. When the task goes to rest it hands the engine its open
connections too, over the engine's socket `rest`; a connection that comes, or is used again, finds
either the process or the engine, and nobody is refused in between.
"""

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

ID_BYTES = 4096  # of a task's id, at most
DESCRIPTORS = 253  # that Linux passes in one message
KNOCKS = 64  # answered before the loop looks after others again

OnReturn = Callable[[str, "ActivationSocket"], bool]


class ActivationSocket:
    """Where a task is called: its listening socket, and the connections that were open and idle
    when it went to rest."""

    __slots__ = ("_doors", "_kept", "_listener", "_on_connection")

    def __init__(
        self,
        doors: "ActivationSockets",
        listener: socket.socket,
        kept: list[socket.socket] | None = None,
    ) -> None:
        self._doors = doors
        self._listener = listener
        self._kept = kept
        self._on_connection: Callable[[], None] | None = None

    def pass_fds(self, on_demand: bool) -> dict[str, int]:
        """The descriptors for the process that is to answer here, by their variables."""
        named = {LISTEN_FD: self._listener.fileno()}
        if on_demand:
            named[IDLE_FD] = self._doors.folder_fd
        for number, connection in enumerate(self._kept or ()):
            named[f"{KEPT_FD}{number}"] = connection.fileno()
        return named

    def watch(self, on_connection: Callable[[], None]) -> None:
        """Have `on_connection` called once, when somebody connects or goes on talking."""
        self._on_connection = on_connection
        for sock in (self._listener, *(self._kept or ())):
            self._doors.watch(sock, self)

    def knocked(self, fd: int) -> None:
        """There is something to read at `fd`, one of ours."""
        kept = next((sock for sock in self._kept or () if sock.fileno() == fd), None)
        if self._kept and kept is not None and _is_over(kept):
            self._doors.unwatch(kept)
            self._kept.remove(kept)
            kept.close()
        elif on_connection := self._on_connection:
            self._unwatch()
            on_connection()

    def close_connections(self) -> None:
        """A process has the connections now; the engine's copies would keep them open."""
        for sock in self._kept or ():
            sock.close()
        self._kept = None

    def take_connections(self, other: "ActivationSocket") -> None:
        """Take over the connections of `other`, which is the same door come back."""
        self._kept, other._kept = other._kept, None
        other.close()

    def detach(self) -> socket.socket:
        """The listening socket, with all who wait there; it is the caller's from now."""
        self._unwatch()
        self.close_connections()
        return self._listener

    def close(self) -> None:
        self.detach().close()

    def _unwatch(self) -> None:
        if self._on_connection:
            self._on_connection = None
            for sock in (self._listener, *(self._kept or ())):
                self._doors.unwatch(sock)


class ActivationSockets:
    """All doors of this engine, watched in one epoll, which costs less than the loop's handles; and
    the socket over which they come back."""

    def __init__(self, folder: Path) -> None:
        self.folder_fd = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._epoll = select.epoll()
        self._watched: dict[int, ActivationSocket] = {}
        self._returns = self._bound()

    def open(self, on_return: OnReturn) -> None:
        """Answer from now on. `on_return(task_id, door)` says whether the task may rest; if it may
        not, the door is closed and the task goes on."""
        self._on_return = on_return
        loop = asyncio.get_running_loop()
        loop.add_reader(self._epoll.fileno(), self._knocked)
        loop.add_reader(self._returns, self._returned)

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._epoll.fileno())
        loop.remove_reader(self._returns)
        self._epoll.close()
        self._returns.close()
        os.close(self.folder_fd)

    def watch(self, sock: socket.socket, door: ActivationSocket) -> None:
        self._watched[sock.fileno()] = door
        self._epoll.register(sock, select.EPOLLIN)

    def unwatch(self, sock: socket.socket) -> None:
        del self._watched[sock.fileno()]
        self._epoll.unregister(sock)

    def _bound(self) -> socket.socket:
        # by way of the descriptor, for a path of its own may be longer than a socket's can be
        path = f"/proc/self/fd/{self.folder_fd}/{IDLE_SOCKET}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        returns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        returns.bind(path)
        os.chmod(path, 0o600)
        returns.setblocking(False)
        return returns

    def _knocked(self) -> None:
        for fd, _ in self._epoll.poll(0, KNOCKS):
            if door := self._watched.get(fd):
                door.knocked(fd)

    def _returned(self) -> None:
        """Take a door that a task hands back: the message is its id, the descriptors a socket for
        the answer, the listening socket, and the connections."""
        try:
            told, fds, flags, _ = socket.recv_fds(
                self._returns, ID_BYTES, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            log.warning("A task that would rest cannot be heard: %s", error)
            return
        if len(fds) < 2 or flags & socket.MSG_CTRUNC:  # no descriptors are left here
            for fd in fds:
                os.close(fd)
            return
        answer, listener, *kept = (socket.socket(fileno=fd) for fd in fds)
        door = ActivationSocket(self, listener, kept)
        with answer:
            if self._on_return(told.decode("utf-8", "replace"), door):
                with contextlib.suppress(OSError):  # it ended in this moment, which is as good
                    answer.send(IDLE_REPLY)
            else:
                door.close()


def _is_over(sock: socket.socket) -> bool:
    """True when the client has closed the connection."""
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
