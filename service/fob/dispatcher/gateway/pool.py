"""Where functions answer: instances, and the connections to them that are kept for a while."""

import asyncio
import math
import socket
import time
from typing import Any

from fob.http.client import UpstreamConnection
from fob.http.transport import Transport, Transports

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 30.0
IDLE_MOST = 64

Address = tuple[str, int]


class Instance:
    """One instance of a function; `calls` is how many of them it has in hand."""

    def __init__(self, transports: Transports, there: Address) -> None:
        host, port = there
        self.netloc = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.calls = 0
        self._transports = transports
        self._there = there
        # the one that was used last is the last
        self._kept: list[UpstreamConnection] = []

    @property
    def idle(self) -> bool:
        return not (self.calls or self._kept)

    def take(self) -> UpstreamConnection | None:
        """A connection for a call, if one is kept and still open."""
        while self._kept:
            connection = self._kept.pop()
            if connection.reusable:
                self.calls += 1
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection for a call; raises `OSError` (`TimeoutError` too)."""
        self.calls += 1
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                sock = await _connected(self._there)
        except BaseException:
            self.calls -= 1
            raise
        connection = UpstreamConnection()
        Transport(self._transports, sock, connection)
        return connection

    def give(self, connection: UpstreamConnection) -> None:
        """The call is over: keep the connection, or close it when it cannot serve another one."""
        self.calls -= 1
        if connection.reusable and len(self._kept) < IDLE_MOST:
            connection.idle_since = time.monotonic()
            self._kept.append(connection)
        else:
            connection.close()

    def close(self, since: float) -> None:
        """Close the connections that nobody has used since then."""
        for connection in self._kept:
            if connection.idle_since <= since:
                connection.close()
        self._kept = [connection for connection in self._kept if connection.reusable]


class Pool:
    """All instances that have a call in hand or a connection."""

    def __init__(self, transports: Transports) -> None:
        self._transports = transports
        self._instances: dict[Address, Instance] = {}
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def calls(self) -> int:
        """How many calls are in hand."""
        return sum(instance.calls for instance in self._instances.values())

    def at(self, there: Address) -> Instance:
        """The instance that answers there."""
        instance = self._instances.get(there)
        if not instance:
            instance = self._instances[there] = Instance(self._transports, there)
            if not self._sweep:
                self._look_again()
        return instance

    def _look_again(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_idle)

    def _close_idle(self) -> None:
        """Close what nobody has used for long; come again while there is anything left."""
        since = time.monotonic() - IDLE_SECONDS
        for there, instance in list(self._instances.items()):
            instance.close(since)
            if instance.idle:
                del self._instances[there]
        self._sweep = None
        if self._instances:
            self._look_again()

    def close(self) -> None:
        """Close all connections that are kept."""
        if self._sweep:
            self._sweep.cancel()
        for instance in self._instances.values():
            instance.close(math.inf)


async def _connected(there: Address) -> socket.socket:
    """A socket that is connected, to the first of the addresses that takes it."""
    problem: OSError = OSError(f"{there[0]} has no address")
    for family, kind, protocol, _, where in await _addresses(there):
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, where)
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise problem


async def _addresses(there: Address) -> list[Any]:
    try:
        # for addresses nobody has to be asked
        return socket.getaddrinfo(*there, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(*there, type=socket.SOCK_STREAM)
