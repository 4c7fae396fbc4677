"""What stands behind the dispatcher's port: calls go to functions, all else to Tornado's routes."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterable

from tornado.web import Application

from fob.dispatcher.gateway import forwarding
from fob.dispatcher.gateway.call import RoutedCall
from fob.dispatcher.gateway.routing import Routing
from fob.dispatcher.in_flight import InFlight
from fob.http.message import RequestHead
from fob.http.server import ClientConnection, Exchange
from fob.http.tornado_bridge import Bridge
from fob.http.transport import ListeningSocket, Transports

# how exactly deadlines are kept; nothing is looked at while there are no clients
SWEEP_SECONDS = 0.5
# at a stop, for clients to take the answers that are finished
TAKE_SECONDS = 2.0


class Front:
    """Serves clients until `close`. One timer looks after the deadlines of all connections."""

    def __init__(
        self, application: Application, calls: Routing, in_flight: InFlight, transports: Transports
    ) -> None:
        self._application = application
        self._calls = calls
        self._in_flight = in_flight
        self._transports = transports
        self._clients: set[ClientConnection] = set()
        self._listeners: list[ListeningSocket] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Serve what connects to the bound `sockets`."""
        for sock in sockets:
            self._listeners.append(ListeningSocket(self._transports, sock, self._client))

    def stop(self) -> None:
        """Take no new connections."""
        for listener in self._listeners:
            listener.close()

    async def close(self) -> None:
        """Close all connections, once their clients have taken what is answered."""
        if self._sweep:
            self._sweep.cancel()
        for client in list(self._clients):
            client.close()
        await self._left(TAKE_SECONDS)
        for client in list(self._clients):
            client.close_at_once()
        await self._left(TAKE_SECONDS)

    async def _left(self, seconds: float) -> None:
        """Wait until all clients have left, but not for ever."""
        if self._clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def _client(self) -> ClientConnection:
        if not self._sweep:
            self._look_again()
        client = ClientConnection(self._exchange, self._leave)
        self._clients.add(client)
        return client

    def _leave(self, client: ClientConnection) -> None:
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()

    def _exchange(self, client: ClientConnection, request: RequestHead) -> Exchange:
        if self._in_flight.stopping.is_set():
            client.last()
        if request.target.startswith(forwarding.PREFIX):
            return RoutedCall(self._calls, client, request)
        return Bridge(self._application, client, request)

    def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(SWEEP_SECONDS, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        for client in [client for client in self._clients if client.deadline < now]:
            client.expire()
        self._sweep = None
        if self._clients:
            self._look_again()
