"""The engine's process: takes the state folder, builds the parts, serves until told to stop."""

import asyncio
import fcntl
import json
import logging
import os
import resource
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer

from fob import config
from fob import log as log_setup
from fob.config import Settings
from fob.engine.api.base import House
from fob.engine.api.routes import application
from fob.engine.deployments import Deployments
from fob.engine.environments import Environments
from fob.engine.events import Events
from fob.engine.files import TaskFolders
from fob.engine.forked import ZygoteLauncher
from fob.engine.installer import Installer, Limits
from fob.engine.launchers import ChosenLauncher, Launcher, ProcessLauncher
from fob.engine.placement import Placements
from fob.engine.resources import NoRoom, Resources, bind, promised_cpus, promised_mem
from fob.engine.staging import Staging
from fob.engine.store import Store
from fob.engine.supervisor import Supervisor
from fob.errors import BadRequest, Conflict, FobError, StorageFailed

log = logging.getLogger(__name__)

HOST = "127.0.0.1"  # the engine starts whatever it is told to: only this machine may tell it
LAUNCHERS = ("zygote", "process")
MAX_BODY_BYTES = 4 * 2**20


def run(settings: Settings, managed: bool = False, ready_fd: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status.

    `managed` notes that a dispatcher started this engine and will stop it. A line is written to
    `ready_fd` once the engine answers.
    """
    log_setup.start(settings.log)
    try:
        asyncio.run(_serve(settings, managed, ready_fd))
    except FobError as error:
        log.error("%s", error.message)
        return 1
    return 0


async def _serve(settings: Settings, managed: bool, ready_fd: int | None) -> None:
    folder = settings.home_folder / "engine"
    with _owned(folder), _bound(folder) as listener:
        _raise_file_limit()
        token = _token(folder)
        engine = _Engine(settings, folder, listener, token)
        stopping = _stop_event()
        await engine.start()
        address = f"{HOST}:{listener.getsockname()[1]}"
        _announce(folder, {"url": f"http://{address}", "token": token, "managed": managed})
        log.info("Engine ready at http://%s, state in %s", address, folder)
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        await stopping.wait()
        await engine.stop()


class _Engine:
    """The parts, built and wired."""

    def __init__(
        self, settings: Settings, folder: Path, listener: socket.socket, token: str
    ) -> None:
        if settings.launcher not in LAUNCHERS:
            known = ", ".join(LAUNCHERS)
            raise BadRequest(f"FOB_LAUNCHER={settings.launcher!r} is not one of: {known}")
        tasks = folder / "tasks"
        tasks.mkdir(exist_ok=True)
        self._store = Store(folder)
        self._events = Events()
        resources = Resources(promised_cpus(settings.cpus), promised_mem(settings.mem))
        launcher = self._launcher = _launcher(settings.launcher, folder)
        self._environments = _environments(settings, folder)
        self._supervisor = Supervisor(
            store=self._store,
            launcher=launcher,
            staging=Staging(launcher, self._environments),
            placements=Placements(resources, HOST),
            events=self._events,
            deployments=Deployments(self._events),
            folders=TaskFolders(tasks),
            agent_id=f"{self._store.name('agent')}-S0",
        )
        house = House(
            supervisor=self._supervisor,
            events=self._events,
            resources=resources,
            token=token,
            framework_id=self._store.name("framework"),
            address=f"{HOST}:{listener.getsockname()[1]}",
        )
        self._server = HTTPServer(application(house), max_body_size=MAX_BODY_BYTES)
        listener.setblocking(False)
        self._listener = listener

    async def start(self) -> None:
        self._environments.clear_leftovers()
        await self._supervisor.recover()
        self._server.add_socket(self._listener)

    async def stop(self) -> None:
        log.info("Engine stops; every app comes back at the next start")
        self._server.stop()
        await self._supervisor.stop()
        await self._environments.close()
        await self._launcher.close()
        self._events.close()
        await self._server.close_all_connections()
        self._store.close()


def _launcher(default: str, folder: Path) -> Launcher:
    launchers: dict[str, Launcher] = {
        "zygote": ZygoteLauncher(folder),
        "process": ProcessLauncher(),
    }
    return ChosenLauncher(launchers, default)


def _environments(settings: Settings, folder: Path) -> Environments:
    limits = Limits(settings.build_seconds, int(settings.build_mib * 2**20))
    return Environments(folder / "environments", Installer(config.for_installer(), limits))


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Hold the state folder; raises `Conflict` when another engine does."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageFailed(
            f"the state folder {folder} cannot be written: {error.strerror}; set FOB_HOME"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(f"another engine runs with the state folder {folder}") from None
        yield
    finally:
        os.close(lock)


@contextmanager
def _bound(folder: Path) -> Iterator[socket.socket]:
    """The API's listening socket, on the port it had last time if that is free."""
    try:
        before = [int(_announced(folder)["url"].rpartition(":")[2])]
    except (OSError, ValueError, KeyError):
        before = []
    try:
        listener = bind(HOST, 0, before)
    except NoRoom as error:
        raise Conflict(f"no port is free on {HOST} for the engine") from error
    with listener:
        yield listener


def _announced(folder: Path) -> dict[str, Any]:
    announced: dict[str, Any] = json.loads((folder / "engine.json").read_text())
    return announced


def _announce(folder: Path, announcement: dict[str, Any]) -> None:
    """Write where this engine is for whoever looks through the state folder (see link.py)."""
    path = folder / "engine.json.new"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w") as file:
        json.dump(announcement | {"pid": os.getpid()}, file)
    path.rename(folder / "engine.json")


def _token(folder: Path) -> str:
    """The secret of this state folder; the same at every start, so that clients keep theirs."""
    path = folder / "token"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        token = secrets.token_urlsafe(24)
        with open(fd, "w") as file:
            file.write(token + "\n")
        return token


def _stop_event() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


def _raise_file_limit() -> None:
    """Allow as many descriptors as the machine does: a task needs about five."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
