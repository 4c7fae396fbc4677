"""The dispatcher's process: settings, state folder, sockets and engine; stops on a signal."""

import asyncio
import errno
import logging
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tornado.netutil import bind_sockets

from fob import config, process
from fob import log as log_setup
from fob.config import Settings
from fob.dispatcher.kept_engine import KeptEngine
from fob.errors import Conflict, FobError
from fob.state import locked

log = logging.getLogger(__name__)


def main() -> int:
    """Serve with the settings of the environment; return the exit status."""
    try:
        return run(config.from_environment())
    except FobError as error:
        print(error.message, file=sys.stderr)
        return 1


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
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
    stopping = process.stop_event(exit_on_repeat=True)
    if not settings.embedded:
        await _assemble(settings, sockets, stopping, None)
        return
    async with KeptEngine(settings) as engine:
        await _assemble(settings, sockets, stopping, engine)


async def _assemble(
    settings: Settings,
    sockets: list[socket.socket],
    stopping: asyncio.Event,
    engine: KeptEngine | None,
) -> None:
    # Imported here, while the engine starts in its own process: it needs about as long as these
    # imports, and waiting for one after the other would add both to the start.
    from fob.dispatcher import assembly

    await assembly.serve(settings, sockets, stopping, engine)


def _owned(settings: Settings) -> AbstractContextManager[None]:
    """Hold the state folder; raises `Conflict` when another dispatcher does."""
    folder = settings.home_folder
    conflict = (
        f"Another dispatcher uses the state folder {folder}. Stop it, or set FOB_HOME"
        " to another folder"
    )
    return locked(folder / "dispatcher.lock", conflict)


@contextmanager
def _bound(settings: Settings) -> Iterator[list[socket.socket]]:
    """Bind the listening sockets, before anything else is started."""
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
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"Port {settings.port} on {settings.host} is already in use. Stop the program that"
            " uses it, or set FOB_PORT to another port (0 picks a free one)"
        )
    return FobError(
        f"Cannot listen on port {settings.port} of {settings.host}: {error.strerror}. Set FOB_HOST"
        " and FOB_PORT to an address and port that this machine can use"
    )
