"""What calls share: who may call, which instance is asked, and the ways to it."""

import asyncio
import random
from collections.abc import Iterator
from functools import lru_cache

from fob.dispatcher.gateway import forwarding
from fob.dispatcher.gateway.access_log import AccessLog
from fob.dispatcher.gateway.pool import Instance, Pool
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.errors import CallFailed, MethodNotAllowed, UpgradeRefused
from fob.functions.service import Functions, address
from fob.http.client import UpstreamConnection
from fob.http.message import RECENT, RequestHead
from fob.http.transport import Transports
from fob.marathon.task_info import TaskInfo

# how long a call waits for a function that is starting
READY_SECONDS = 30.0
# the runner ends a call that takes too long; only when it does not is it for us to do
GRACE_SECONDS = 5.0
CONNECT_PAUSES = (0.05, 0.2, 0.8)

# a connection to an instance, and how many seconds the call may take
Route = tuple[Instance, UpstreamConnection, float]


class Routing:
    """Finds the way for each call: to the instance with the fewest in hand."""

    def __init__(
        self, functions: Functions, guard: Guard, in_flight: InFlight, transports: Transports
    ) -> None:
        self.guard = guard
        self.in_flight = in_flight
        self.pool = Pool(transports)
        self.lines = AccessLog()
        self.expect = transports.expect
        self.admit = lru_cache(RECENT)(self._admit)
        self._functions = functions

    def _admit(self, request: RequestHead) -> str:
        """The id of the function that is called; raises when the head alone says that it is not to
        be called so."""
        self.guard.check_origin(request.headers)
        self.guard.check_token(request.headers)
        if "websocket" in request.headers.get("Upgrade", "").lower():
            raise UpgradeRefused(
                "WebSockets cannot be called through the dispatcher;"
                " connect to the function itself, at the address from /api/meta/<id>"
            )
        if request.method == "CONNECT":
            raise MethodNotAllowed("CONNECT is not supported: the dispatcher is not a tunnel")
        return forwarding.function_id(request)

    def at_once(self, id_: str) -> Route | None:
        """By a connection that is open already, to an instance that is known to be ready."""
        known = self._functions.at_hand(id_)
        if not known:
            return None
        ready, seconds = known
        instance = self._choose(ready, set())
        connection = instance.take()
        return (instance, connection, seconds + GRACE_SECONDS) if connection else None

    async def connect(self, id_: str) -> Route:
        """By a connection to an instance that is ready, once there is one."""
        avoid: set[Instance] = set()
        pauses = iter(CONNECT_PAUSES)
        while True:
            ready = await self._functions.ready(id_, READY_SECONDS)
            seconds = await self._functions.timeout(ready[0]) + GRACE_SECONDS
            instance = self._choose(ready, avoid)
            try:
                return instance, instance.take() or await instance.connect(), seconds
            except OSError as error:
                avoid.add(instance)
                if len(avoid) >= len(ready):
                    await _pause(pauses, instance, error)

    def _choose(self, ready: list[TaskInfo], avoid: set[Instance]) -> Instance:
        """The instance with the fewest calls in hand, of those not to `avoid` if there are any;
        any one of several."""
        if len(ready) == 1:
            return self.pool.at(address(ready[0]))
        instances = [self.pool.at(address(task)) for task in ready]
        instances = [instance for instance in instances if instance not in avoid] or instances
        return min(instances, key=lambda instance: (instance.calls, random.random()))

    def close(self) -> None:
        self.pool.close()
        self.lines.flush()


async def _pause(pauses: Iterator[float], instance: Instance, error: OSError) -> None:
    """Wait a moment for what listens there to come (back), or give up."""
    pause = next(pauses, None)
    if pause is None:
        raise CallFailed(
            f"The function's instance at {instance.netloc} cannot be reached:"
            f" {error.strerror or 'it does not answer'}. Can this machine reach that one?"
        ) from error
    await asyncio.sleep(pause)
