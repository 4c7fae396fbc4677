"""The engine's launcher alone: in this process, with nothing else to do."""

import asyncio
import contextlib
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from bench.load import Connection
from bench.service import HELLO
from fob import timeline
from fob.contract import COMMAND, LISTEN_FD, NOTIFY_FD
from fob.engine.runtime import task_environment
from fob.engine.runtime.launcher import Exit, Launch, Launcher
from fob.engine.runtime.zygote_launcher import ZygoteLauncher
from fob.functions import app_definition
from fob.functions.options import Options

PAUSE_SECONDS = 0.03  # in which a launcher readies what it likes to have ready
READY_ATTEMPTS = 500
KILL = 9


def taken_ms(count: int) -> list[float]:
    """Milliseconds from handing a launch to the launcher, until the function, on a socket that
    listens already, has answered its first call."""
    return asyncio.run(_measured(count))


async def _measured(count: int) -> list[float]:
    with tempfile.TemporaryDirectory(prefix="fob-bench-") as folder:
        launcher = ZygoteLauncher(Path(folder))
        try:
            await _until_it_forks(launcher, folder)
            return [await _launched(launcher, folder) for _ in range(count)]
        finally:
            await launcher.close()


async def _until_it_forks(launcher: Launcher, folder: str) -> None:
    """A first launch is executed while the zygote starts; a forked one takes less than half."""
    executed = await _launched(launcher, folder)
    for _ in range(READY_ATTEMPTS):
        if await _launched(launcher, folder) < executed / 2:
            return
    raise SystemExit(
        f"the launcher does not fork: a launch takes {executed:.1f} ms, and goes on to"
    )


async def _launched(launcher: Launcher, folder: str) -> float:
    """A launch, an answer, and the end of the function; milliseconds of the first two."""
    ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
    await asyncio.sleep(PAUSE_SECONDS)
    with _launch(folder) as (launch, listener):
        started_ns = time.monotonic_ns()
        function = launcher.start(launch, ended.set_result)
        with contextlib.closing(Connection(*listener.getsockname())) as connection:
            connection.ask("GET", "/")
        taken = (time.monotonic_ns() - started_ns) / 1e6
    function.stop(KILL)
    await ended
    return taken


@contextlib.contextmanager
def _launch(folder: str) -> Iterator[tuple[Launch, socket.socket]]:
    """What the engine hands to its launcher for a function, and the function's socket."""
    app = app_definition.app(
        str(uuid.uuid4()), HELLO, Options(), timeline.utc_now(), app_definition.PlacementSettings()
    )
    own = {"MESOS_TASK_ID": "bench", "MESOS_SANDBOX": folder}
    python = {"PATH": task_environment.python_path(), "LANG": task_environment.LANG}
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        open(Path(folder, "output"), "wb") as output,
        open(Path(folder, "marks"), "wb") as marks,
    ):
        launch = Launch(
            task_id="bench",
            command=["/bin/sh", "-c", COMMAND],
            environment=python | app["env"] | own,
            sandbox=Path(folder),
            stdout=output.fileno(),
            stderr=output.fileno(),
            pass_fds={LISTEN_FD: listener.fileno(), NOTIFY_FD: marks.fileno()},
        )
        yield launch, listener
