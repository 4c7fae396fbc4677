"""Listening sockets: accept connections into the shared epoll."""

import asyncio
import logging
import select
import socket
from collections.abc import Callable

from fob.http.transport import StreamProtocol, Transport, Transports

log = logging.getLogger(__name__)

BACKLOG = 1024
MAX_ACCEPTS = 64  # per event, so that connections already open are served in between
# how long new connections stay in the kernel's queue when there is no descriptor for them
ACCEPT_PAUSE_SECONDS = 1.0


class ListeningSocket:
    """Accepts connections on a bound socket, each with a protocol from the factory."""

    def __init__(
        self,
        transports: Transports,
        sock: socket.socket,
        protocol_factory: Callable[[], StreamProtocol],
    ) -> None:
        self._transports = transports
        self._sock = sock
        self._protocol_factory = protocol_factory
        self._pause: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        sock.listen(BACKLOG)
        transports.watch(sock.fileno(), self, select.EPOLLIN)

    def on_events(self, _: int) -> None:
        for _ in range(MAX_ACCEPTS):
            try:
                sock, (ip, *_) = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause_accepting(error)
                return
            try:
                Transport(self._transports, sock, self._protocol_factory(), ip)
            except Exception:
                log.exception("A connection failed")
                self._transports.unwatch(sock.fileno())
                sock.close()

    def _pause_accepting(self, error: OSError) -> None:
        """Leave new connections in the kernel's queue for a while.

        Without a free descriptor (EMFILE, ENFILE) the connection that could not be accepted stays
        at the head of that queue, so a level-triggered epoll reports the socket at once again: the
        loop would spin instead of closing connections, which is what frees descriptors.
        """
        log.warning("Accepting no connections for %g s: %s", ACCEPT_PAUSE_SECONDS, error.strerror)
        self._transports.unwatch(self._sock.fileno())
        loop = asyncio.get_running_loop()
        self._pause = loop.call_later(
            ACCEPT_PAUSE_SECONDS, self._transports.watch, self._sock.fileno(), self, select.EPOLLIN
        )

    def close(self) -> None:
        if self._pause:
            self._pause.cancel()
        self._transports.unwatch(self._sock.fileno())
        self._sock.close()
