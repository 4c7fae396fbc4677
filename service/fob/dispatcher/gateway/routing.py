"""What calls share: admission, the choice of an instance, and connections to instances."""

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
from fob.functions.instances import address
from fob.functions.service import Functions
from fob.http.client import UpstreamConnection
from fob.http.message import CACHED_HEADS, RequestHead
from fob.http.transport import Transports
from fob.marathon.task_info import TaskInfo

# how long a call waits for a function that is starting
READY_SECONDS = 30.0
# The runner ends a call that exceeds the function's timeout. The dispatcher does so only if the
# runner has not, this much later.
GRACE_SECONDS = 5.0
CONNECT_PAUSES = (0.05, 0.2, 0.8)

# an instance, a connection to it, and the timeout of the call in seconds
Route = tuple[Instance, UpstreamConnection, float]


class Routing:
    """Finds a route for each call: to the instance with the fewest calls in flight."""

    def __init__(
        self, functions: Functions, guard: Guard, in_flight: InFlight, transports: Transports
    ) -> None:
        self.guard = guard
        self.in_flight = in_flight
        self.pool = Pool(transports)
        self.access_log = AccessLog()
        self.expect_event = transports.expect_event
        # heads are cached and compare by identity; errors are not cached
        self.admit = lru_cache(CACHED_HEADS)(self._admit)
        self._functions = functions

    def _admit(self, request: RequestHead) -> str:
        """Return the id of the called function; raises `FobError` when the head is not allowed."""
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

    def immediate(self, id_: str) -> Route | None:
        """A route over an idle connection to an instance known to be ready, if there is one."""
        known = self._functions.known_ready(id_)
        if not known:
            return None
        ready, seconds = known
        instance = self._choose(ready, set())
        connection = instance.acquire()
        return (instance, connection, seconds + GRACE_SECONDS) if connection else None

    async def connect(self, id_: str) -> Route:
        """A route to an instance, once one is ready and reachable.

        Raises `FobError`: unknown function, none ready in time, none reachable.
        """
        unreachable: set[Instance] = set()
        pauses = iter(CONNECT_PAUSES)
        while True:
            ready = await self._functions.ready(id_, READY_SECONDS)
            seconds = await self._functions.timeout(ready[0]) + GRACE_SECONDS
            instance = self._choose(ready, unreachable)
            try:
                return instance, instance.acquire() or await instance.connect(), seconds
            except OSError as error:
                unreachable.add(instance)
                if len(unreachable) >= len(ready):
                    await _pause(pauses, instance, error)

    def _choose(self, ready: list[TaskInfo], avoid: set[Instance]) -> Instance:
        """The instance with the fewest calls in flight, not one of `avoid` if there are others.

        Ties are broken at random, so that calls one after another use all instances too.
        """
        if len(ready) == 1:
            return self.pool.at(address(ready[0]))
        instances = [self.pool.at(address(task)) for task in ready]
        instances = [instance for instance in instances if instance not in avoid] or instances
        return min(instances, key=lambda instance: (instance.calls, random.random()))

    def close(self) -> None:
        self.pool.close()
        self.access_log.flush()


async def _pause(pauses: Iterator[float], instance: Instance, error: OSError) -> None:
    """Wait before the next attempt to connect; raises `CallFailed` after the last one."""
    pause = next(pauses, None)
    if pause is None:
        raise CallFailed(
            f"The function's instance at {instance.netloc} cannot be reached:"
            f" {error.strerror or 'it does not respond'}. Can this machine connect to that address?"
        ) from error
    await asyncio.sleep(pause)
