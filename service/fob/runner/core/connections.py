"""The listening socket, its connections, and the epoll that watches them."""

from __future__ import annotations

import _socket as socket
import errno
import os
import select
import threading
import time

from fob.runner.core.connection import Connection
from fob.runner.core.request import KnownHeads

MAX_CONNECTIONS = 10_000
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Connections:
    """All connections of a server, by file descriptor.

    `lock` guards what the epoll watches. The server shares it, for the lead and calls in flight.
    """

    def __init__(self, listener: socket.socket, streams: bool) -> None:
        self.listener, self.streams = listener, streams
        self.listening_fd = listener.fileno()
        self.by_fd: dict[int, Connection] = {}
        self.heads = KnownHeads()
        # the rest of the descriptors is for the snippet
        self.limit = min(MAX_CONNECTIONS, os.sysconf("SC_OPEN_MAX") * 3 // 4)
        self.epoll = select.epoll()
        self.lock = threading.RLock()

    def open(self) -> None:
        """Let the epoll report clients that connect."""
        self.listener.setblocking(False)
        self.epoll.register(self.listener, select.EPOLLIN)

    def accept(self) -> bool:
        """Accept a connection; return False if none was waiting or there is no room for it."""
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
            sock = socket.socket(self.listener.family, socket.SOCK_STREAM, 0, fd)
            # a response is one write, which Nagle's algorithm must not delay
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno in NO_ROOM:
                self._make_room()
            return False
        if len(self.by_fd) >= self.limit:
            self._make_room()
        self.add(sock)
        return True

    def add(self, sock: socket.socket) -> Connection:
        connection = Connection(sock, self.heads, self.streams)
        self.by_fd[sock.fileno()] = connection
        self.watch(connection, select.EPOLLIN)
        return connection

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest."""
        with self.lock:
            idle = [c for c in list(self.by_fd.values()) if c.mask]
        if idle:
            self.close(min(idle, key=lambda c: c.last_used))
        else:  # the snippet has all descriptors: the epoll would report the client at once again
            time.sleep(0.05)

    def watch(self, connection: Connection, mask: int) -> None:
        """Have the epoll report the events of `mask`, until they are reported or changed."""
        if connection.mask == mask:
            return
        with self.lock:  # the leader must not find the connection before its mask is set
            if connection.mask:
                self.epoll.modify(connection.sock, mask)
            else:
                self.epoll.register(connection.sock, mask)
            connection.mask = mask

    def unwatch(self, connection: Connection) -> None:
        """Keep the connection from the leader; called with the lock held."""
        self.epoll.unregister(connection.sock)
        connection.mask = 0

    def settle(self, connection: Connection) -> None:
        """Watch for what the connection needs next, or close it if it needs nothing more."""
        try:
            if connection.unsent:
                self.watch(connection, select.EPOLLOUT)
            elif not connection.closing:
                self.watch(connection, select.EPOLLIN)
            elif connection.to_discard:
                # the client gets the whole response, then our end of the stream; what it still
                # sends is read and dropped until it closes
                connection.sock.shutdown(socket.SHUT_WR)
                self.watch(connection, select.EPOLLIN)
            else:
                self.close(connection)
        except OSError:
            self.close(connection)

    def close(self, connection: Connection) -> None:
        with self.lock:
            # forgotten before it is closed: the next accept may return the same number
            self.by_fd.pop(connection.sock.fileno(), None)
            if connection.mask:
                self.epoll.unregister(connection.sock)
        connection.sock.close()

    def close_all(self) -> None:
        for connection in list(self.by_fd.values()):
            self.close(connection)
        self.epoll.close()
        self.listener.close()

    def close_inherited(self) -> None:
        """Close a forked child's copies, leaving the parent's epoll as it is.

        Copies would keep the port and the connections open after the parent has closed them; and
        unregistering one would remove it from the epoll that parent and child share.
        """
        self.epoll.close()
        self.listener.close()
        for connection in list(self.by_fd.values()):
            connection.sock.close()
