"""The dispatcher's parts, put together: serves on bound sockets until it is stopped."""

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from contextlib import AsyncExitStack

from fob.config import Settings
from fob.dispatcher import guard
from fob.dispatcher.api.routes import application
from fob.dispatcher.front import Front
from fob.dispatcher.gateway.routing import Routing
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.dispatcher.kept_engine import KeptEngine
from fob.errors import FobError
from fob.functions.app_definition import PlacementSettings
from fob.functions.service import Functions
from fob.functions.store import SnippetStore
from fob.http.transport import Transports
from fob.marathon import Marathon, TaskTable

log = logging.getLogger(__name__)

# how long a stop waits for requests in flight
GRACE_SECONDS = 10.0
# how often registrations whose client never got an id are removed
SETTLE_EVERY = 30.0


async def serve(
    settings: Settings,
    sockets: list[socket.socket],
    stopping: asyncio.Event,
    engine: KeptEngine | None = None,
) -> None:
    """Serve on these listening sockets until `stopping` is set.

    Functions run on `engine`, or on the Marathon that the settings name.
    """
    async with AsyncExitStack() as parts:
        # before the wait for the engine: opening the store takes time, too
        snippets = SnippetStore(settings.home_folder / "snippets")
        parts.callback(snippets.close)
        marathon = await _embedded(engine) if engine else _remote(settings)
        parts.push_async_callback(marathon.close)
        tasks = TaskTable(marathon)
        functions = Functions(marathon, tasks, snippets, _placement(settings))
        in_flight = InFlight()
        guarded = Guard(settings.host, settings.token)
        transports = Transports()
        parts.callback(transports.close)
        routing = Routing(functions, guarded, in_flight, transports)
        parts.callback(routing.close)
        routes = application(functions, guarded, in_flight, routing.pool)
        front = Front(routes, routing, in_flight, transports)
        front.listen(sockets)
        _announce(settings, marathon, sockets)
        tasks.start()
        parts.push_async_callback(tasks.stop)
        settling = asyncio.create_task(_settle(functions))
        parts.push_async_callback(_cancelled, settling)
        gc.freeze()  # everything built so far is permanent: keep it out of every collection
        await stopping.wait()
        await _drain(front, in_flight)


async def _embedded(engine: KeptEngine) -> Marathon:
    link = await engine.link()
    return Marathon(link.url, token=link.token)


def _remote(settings: Settings) -> Marathon:
    return Marathon(
        settings.marathon_api,
        token=settings.marathon_token,
        user=settings.marathon_user,
        password=settings.marathon_password,
        ca=settings.marathon_ca,
    )


def _placement(settings: Settings) -> PlacementSettings:
    roles = tuple(role.strip() for role in settings.role.split(",") if role.strip())
    remote = not settings.embedded
    return PlacementSettings(
        settings.image, roles, settings.activation, settings.keep_alive, remote
    )


def _announce(settings: Settings, marathon: Marathon, sockets: list[socket.socket]) -> None:
    """Log the three lines of the published walk-through; on a terminal also what to do next."""
    port = sockets[0].getsockname()[1]
    log.info("FOB dispatcher ready ===")
    log.info("Using Marathon API %s", marathon.url)
    log.info("Listening on port %d", port)
    if sys.stderr.isatty():
        log.info("%s", next_step(settings.host, port))
    if not (settings.token or guard.is_loopback(settings.host)):
        log.warning(
            "ANYBODY who reaches %s can run code here: set FOB_TOKEN, or FOB_HOST=127.0.0.1",
            settings.host,
        )


def next_step(host: str, port: int) -> str:
    """Where the service is, and a command to try; `fob` finds the default address by itself."""
    if guard.is_unspecified(host):
        host = "127.0.0.1"
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    option = "" if (host, port) == ("127.0.0.1", Settings.port) else f"--url {url} "
    return f"Serving on {url}; try: fob gen {option}py_example.py"


async def _settle(functions: Functions) -> None:
    """Remove, now and periodically, registrations whose client never got an id."""
    while True:
        try:
            await functions.settle()
        except FobError as error:
            log.warning("Unfinished registrations cannot be removed yet: %s", error.message)
        await asyncio.sleep(SETTLE_EVERY)


async def _drain(front: Front, in_flight: InFlight) -> None:
    """Accept no more connections, and finish requests in flight within the grace period."""
    front.stop()
    if cut_off := await in_flight.stop(GRACE_SECONDS):
        log.warning("%d requests were cut off by the stop", cut_off)
    await front.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
