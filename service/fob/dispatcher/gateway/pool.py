"""Instances of functions, and persistent connections to them."""

import asyncio
import math
import socket
import time
from typing import Any

from fob.http.client import UpstreamConnection
from fob.http.transport import Transport, Transports

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 30.0
MAX_IDLE_CONNECTIONS = 64  # per instance

Address = tuple[str, int]


class Instance:
    """An instance of a function; `calls` is how many it has in flight."""

    def __init__(self, transports: Transports, address: Address) -> None:
        host, port = address
        self.netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.calls = 0
        self._transports = transports
        self._address = address
        # a stack: the connection used last is reused first, so surplus ones go idle and are closed
        self._idle: list[UpstreamConnection] = []

    @property
    def unused(self) -> bool:
        return not (self.calls or self._idle)

    def acquire(self) -> UpstreamConnection | None:
        """Take an idle connection for a call, if one is still open."""
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                self.calls += 1
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """Open a connection for a call; raises `OSError`, of which `TimeoutError` is one."""
        self.calls += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock = await _connected_socket(self._address)
        except BaseException:
            self.calls -= 1
            raise
        connection = UpstreamConnection()
        Transport(self._transports, sock, connection)
        return connection

    def release(self, connection: UpstreamConnection) -> None:
        """End a call: keep its connection for the next one, or close it."""
        self.calls -= 1
        if connection.reusable and len(self._idle) < MAX_IDLE_CONNECTIONS:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()

    def close_idle(self, since: float) -> None:
        """Close the connections that have been idle since then (monotonic) or longer."""
        for connection in self._idle:
            if connection.idle_since <= since:
                connection.close()
        self._idle = [connection for connection in self._idle if connection.reusable]


class Pool:
    """All instances that have a call in flight or a connection."""

    def __init__(self, transports: Transports) -> None:
        self._transports = transports
        self._instances: dict[Address, Instance] = {}
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return sum(instance.calls for instance in self._instances.values())

    def at(self, address: Address) -> Instance:
        """The instance at an address."""
        instance = self._instances.get(address)
        if not instance:
            instance = self._instances[address] = Instance(self._transports, address)
            if not self._sweep:
                self._schedule_sweep()
        return instance

    def _schedule_sweep(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        """Close idle connections, periodically while any instance is left."""
        since = time.monotonic() - IDLE_SECONDS
        for address, instance in list(self._instances.items()):
            instance.close_idle(since)
            if instance.unused:
                del self._instances[address]
        self._sweep = None
        if self._instances:
            self._schedule_sweep()

    def close(self) -> None:
        """Close all idle connections."""
        if self._sweep:
            self._sweep.cancel()
        for instance in self._instances.values():
            instance.close_idle(math.inf)


async def _connected_socket(address: Address) -> socket.socket:
    """Connect to the first of the host's addresses that accepts."""
    last_error: OSError = OSError(f"{address[0]} has no address")
    for family, kind, protocol, _, resolved in await _resolved(address):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, resolved)
        except OSError as error:
            sock.close()
            last_error = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last_error


async def _resolved(address: Address) -> list[Any]:
    try:
        # an IP address needs no resolver, so no thread either
        return socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
