"""The dispatcher's process: builds the parts, serves until told to stop, ends in good order.

The one place, beside the command line, that knows the engine.
"""

import asyncio
import contextlib
import errno
import gc
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager

from tornado.netutil import bind_sockets

from fob import config, process
from fob import log as log_setup
from fob.config import Settings
from fob.dispatcher import guard
from fob.dispatcher.api.routes import application
from fob.dispatcher.front import Front
from fob.dispatcher.gateway.routing import Routing
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.engine import discovery as engine
from fob.errors import Conflict, FobError
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.service import Functions
from fob.functions.store import SnippetStore
from fob.http.transport import Transports
from fob.marathon import Marathon, TaskTable
from fob.state import held

log = logging.getLogger(__name__)

# how long a stop waits for the requests in hand
GRACE_SECONDS = 10.0
# how often registrations that nobody was told of are cleared up
SETTLE_EVERY = 30.0
RESTART_PAUSE = 2.0


def main() -> int:
    """Serve with the settings of the environment; the process's exit status."""
    try:
        return run(config.from_environment())
    except FobError as error:
        print(error.message, file=sys.stderr)
        return 1


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status."""
    log_setup.start(settings.log)
    process.raise_file_limit()
    try:
        with _owned(settings), _bound(settings) as sockets:
            asyncio.run(_serve(settings, sockets))
    except FobError as error:
        log.error("%s", error.message)
        return 1
    return 0


async def _serve(settings: Settings, sockets: list[socket.socket]) -> None:
    await serve(settings, sockets, process.stop_event(exit_on_repeat=True))


async def serve(settings: Settings, sockets: list[socket.socket], stopping: asyncio.Event) -> None:
    """Serve on these listening sockets until `stopping` is set."""
    async with AsyncExitStack() as parts:
        marathon = await _marathon(settings, parts)
        tasks = TaskTable(marathon)
        snippets = SnippetStore(settings.home_folder / "snippets")
        parts.callback(snippets.close)
        functions = Functions(marathon, tasks, snippets, _placement(settings))
        in_hand = InFlight()
        guarded = Guard(settings.host, settings.token)
        wires = Transports()
        parts.callback(wires.close)
        calls = Routing(functions, guarded, in_hand, wires)
        parts.callback(calls.close)
        front = Front(application(functions, guarded, in_hand, calls.pool), calls, in_hand, wires)
        front.listen(sockets)
        _announce(settings, marathon, sockets)
        tasks.start()
        parts.push_async_callback(tasks.stop)
        asyncio.get_running_loop().run_in_executor(None, app_definition.prepare)
        settling = asyncio.create_task(_settle(functions))
        parts.push_async_callback(_cancelled, settling)
        gc.freeze()  # what is there now stays: no collection has to look at it again
        await stopping.wait()
        await _drain(front, in_hand)


async def _marathon(settings: Settings, parts: AsyncExitStack) -> Marathon:
    """The client of the Marathon there is: a remote one, or the engine, started if need be."""
    if settings.embedded:
        kept = _KeptEngine(settings, await engine.ensure(settings))
        parts.push_async_callback(kept.stop)
        marathon = Marathon(kept.link.url, token=kept.link.token)
    else:
        marathon = Marathon(
            settings.marathon_api,
            token=settings.marathon_token,
            user=settings.marathon_user,
            password=settings.marathon_password,
            ca=settings.marathon_ca,
        )
    parts.push_async_callback(marathon.close)
    return marathon


class _KeptEngine:
    """The engine, started anew whenever it ends; it comes back with its apps, URL and token."""

    def __init__(self, settings: Settings, link: engine.Link) -> None:
        self.link = link
        self._settings = settings
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await engine.ended(self.link)
            log.warning("The engine has ended; starting it again")
            await self._start_again()

    async def _start_again(self) -> None:
        while True:
            try:
                self.link = await engine.ensure(self._settings)
            except FobError as error:
                log.error("%s", error.message)
                await asyncio.sleep(RESTART_PAUSE)
            else:
                return

    async def stop(self) -> None:
        """Stop keeping it; and stop it, if it was started by a dispatcher."""
        await _cancelled(self._keeping)
        # not self.link: it may have been being started again just now
        link = await engine.find(self._settings)
        if link and link.managed:
            await engine.stop(link)


def _placement(settings: Settings) -> PlacementSettings:
    roles = tuple(role.strip() for role in settings.role.split(",") if role.strip())
    remote = not settings.embedded
    return PlacementSettings(
        settings.image, roles, settings.activation, settings.keep_alive, remote
    )


def _announce(settings: Settings, marathon: Marathon, sockets: list[socket.socket]) -> None:
    """The three lines of the published walk-through."""
    log.info("FOB dispatcher ready ===")
    log.info("Using Marathon API %s", marathon.url)
    log.info("Listening on port %d", sockets[0].getsockname()[1])
    if not (settings.token or guard.loopback(settings.host)):
        log.warning(
            "ANYBODY who reaches %s can run code here: set FOB_TOKEN, or FOB_HOST=127.0.0.1",
            settings.host,
        )


async def _settle(functions: Functions) -> None:
    """Clear up, at the start and from time to time, registrations that nobody was told of."""
    while True:
        try:
            await functions.settle()
        except FobError as error:
            log.warning("Unfinished registrations stay for now: %s", error.message)
        await asyncio.sleep(SETTLE_EVERY)


async def _drain(front: Front, in_hand: InFlight) -> None:
    """Take no more requests, and finish those in hand while the grace lasts."""
    front.stop()
    if left := await in_hand.stop(GRACE_SECONDS):
        log.warning("%d requests were cut off by the stop", left)
    await front.close()


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _owned(settings: Settings) -> AbstractContextManager[None]:
    """Hold the state folder; raises `Conflict` when another dispatcher does."""
    folder = settings.home_folder
    conflict = (
        f"Another dispatcher uses the state folder {folder}. Stop it, or set FOB_HOME"
        " to another folder"
    )
    return held(folder / "dispatcher.lock", conflict)


@contextmanager
def _bound(settings: Settings) -> Iterator[list[socket.socket]]:
    """Listening sockets, bound before anything else is started."""
    try:
        sockets = bind_sockets(settings.port, settings.host)
    except OSError as error:
        raise _cannot_bind(settings, error) from error
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def _cannot_bind(settings: Settings, error: OSError) -> FobError:
    where = f"port {settings.port} on {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Somebody else listens on {where}. Stop that program, or set FOB_PORT to another port"
            " (0 picks a free one)"
        )
    return FobError(
        f"Cannot listen on {where}: {error.strerror}. Set FOB_HOST and FOB_PORT to what"
        " this machine has"
    )
