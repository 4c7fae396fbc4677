"""The dispatcher's port: calls go to functions, all other requests to Tornado's routes."""

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
from fob.http.listener import ListeningSocket
from fob.http.message import RequestHead
from fob.http.server import ClientConnection, Exchange
from fob.http.tornado_bridge import Bridge
from fob.http.transport import Transports

# the resolution of deadlines; without clients no timer runs
SWEEP_SECONDS = 0.5
# how long a stop waits for clients to read responses that are complete
FLUSH_SECONDS = 2.0


class Front:
    """Serves clients until `close`. One timer checks the deadlines of all connections.

    A timer per connection would have to be set and cancelled several times per request.
    """

    def __init__(
        self,
        application: Application,
        routing: Routing,
        in_flight: InFlight,
        transports: Transports,
    ) -> None:
        self._application = application
        self._routing = routing
        self._in_flight = in_flight
        self._transports = transports
        self._clients: set[ClientConnection] = set()
        self._listeners: list[ListeningSocket] = []
        self._sweep: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()

    def listen(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on the bound `sockets`."""
        for sock in sockets:
            self._listeners.append(ListeningSocket(self._transports, sock, self._new_client))

    def stop(self) -> None:
        """Accept no more connections."""
        for listener in self._listeners:
            listener.close()

    async def close(self) -> None:
        """Close all connections, once their clients have read responses that are complete."""
        if self._sweep:
            self._sweep.cancel()
        for client in list(self._clients):
            client.close()
        await self._all_closed(FLUSH_SECONDS)
        for client in list(self._clients):
            client.close_now()
        await self._all_closed(FLUSH_SECONDS)

    async def _all_closed(self, seconds: float) -> None:
        """Wait up to `seconds` until all connections are closed."""
        if self._clients:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), seconds)

    def _new_client(self) -> ClientConnection:
        if not self._sweep:
            self._schedule_sweep()
        client = ClientConnection(self._new_exchange, self._on_closed)
        self._clients.add(client)
        return client

    def _on_closed(self, client: ClientConnection) -> None:
        self._clients.discard(client)
        if not self._clients:
            self._empty.set()

    def _new_exchange(self, client: ClientConnection, request: RequestHead) -> Exchange:
        if self._in_flight.stopping.is_set():
            client.close_after_response()
        if request.target.startswith(forwarding.PREFIX):
            return RoutedCall(self._routing, client, request)
        return Bridge(self._application, client, request)

    def _schedule_sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweep = loop.call_later(SWEEP_SECONDS, self._expire)

    def _expire(self) -> None:
        now = time.monotonic()
        for client in [client for client in self._clients if client.deadline < now]:
            client.expire()
        self._sweep = None
        if self._clients:
            self._schedule_sweep()
