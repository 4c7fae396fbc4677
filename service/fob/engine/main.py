"""The engine's process: takes the state folder, builds the parts, serves until told to stop."""

import asyncio
import gc
import ipaddress
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tornado.httpserver import HTTPServer

from fob import config, process
from fob import log as log_setup
from fob.config import Settings
from fob.engine.api.base import House
from fob.engine.api.routes import application
from fob.engine.control.changes import Changes
from fob.engine.control.deployments import Deployments
from fob.engine.control.keeping import Keeping
from fob.engine.control.placement import Placements
from fob.engine.control.reports import Reports
from fob.engine.control.staging import Staging
from fob.engine.control.supervisor import Supervisor
from fob.engine.definitions.constraints import attributes_of
from fob.engine.discovery import LOCK
from fob.engine.events import Events
from fob.engine.health.probes import Probes
from fob.engine.runtime import fetching
from fob.engine.runtime.activation_sockets import ActivationSockets
from fob.engine.runtime.commands import Commands
from fob.engine.runtime.docker.container_exec import ContainerExec
from fob.engine.runtime.docker.container_launcher import ContainerLauncher
from fob.engine.runtime.docker.host import DockerHost
from fob.engine.runtime.docker.images import Images
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.runtime.environments import Environments
from fob.engine.runtime.fetching import Fetching
from fob.engine.runtime.installer import Installer, InstallLimits
from fob.engine.runtime.launcher import Launcher
from fob.engine.runtime.process_launcher import ProcessLauncher
from fob.engine.runtime.resources import (
    NoRoom,
    Resources,
    bind,
    promised_cpus,
    promised_mem,
)
from fob.engine.runtime.selection import SelectedLauncher
from fob.engine.runtime.task_folders import TaskFolders
from fob.engine.runtime.zygote_launcher import ZygoteLauncher
from fob.engine.store.records import Store
from fob.errors import BadRequest, Conflict, FobError
from fob.state import locked

log = logging.getLogger(__name__)

READ_BODY_BYTES = 16 * 2**20  # more than is taken, so that the refusal can be answered


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
    another = f"another engine runs with the state folder {folder}"
    with locked(folder / LOCK, another), _bound(settings, folder) as listener:
        process.raise_file_limit()
        token = _token(folder)
        engine = _Engine(settings, folder, listener, token)
        stopping = process.stop_event()
        await engine.start()
        url = f"http://{_address(listener)}"
        _announce(folder, {"url": url, "token": token, "managed": managed})
        _warn_of_others(settings.engine_host)
        log.info("Engine ready at %s, state in %s", url, folder)
        gc.freeze()  # what is there now stays: no collection has to look at it again
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
        host = settings.engine_host
        tasks = folder / "tasks"
        tasks.mkdir(exist_ok=True)
        self._folders = TaskFolders(tasks, folder / "spare")
        self._store = Store(folder)
        # above all ids that an engine before this one can have given
        self._events = Events(first=time.time_ns() // 1000)
        resources = Resources(promised_cpus(settings.cpus), promised_mem(settings.mem))
        self._docker = DockerHost(settings.docker_host)
        policy = DockerPolicy(settings.docker_allow, self._docker)
        attributes = attributes_of(settings.attributes)
        self._commands = Commands(folder)
        fetching_ = self._fetching = _fetching(settings, folder, self._commands)
        self._containers = ContainerLauncher(self._docker, self._store.name("agent"), host, folder)
        launcher = self._launcher = _launcher(settings.launcher, folder, self._containers)
        self._environments = _environments(settings, folder)
        self._doors = ActivationSockets(folder)
        deployments = Deployments(self._events, Keeping(self._store.deployments))
        self._supervisor = Supervisor(
            store=self._store,
            launcher=launcher,
            staging=Staging(launcher, fetching_, self._environments, Images(self._docker)),
            placements=Placements(resources, host, attributes, policy),
            probes=Probes(host, self._commands, ContainerExec(self._docker)),
            reports=Reports(self._store, self._events, host, f"{self._store.name('agent')}-S0"),
            deployments=deployments,
            folders=self._folders,
            doors=self._doors,
        )
        self._docker.on_change = self._supervisor.try_waiting
        self._changes = Changes(self._supervisor, self._store, deployments, self._events, policy)
        house = House(
            supervisor=self._supervisor,
            changes=self._changes,
            events=self._events,
            resources=resources,
            attributes=attributes,
            token=token,
            framework_id=self._store.name("framework"),
            address=_address(listener),
        )
        self._server = HTTPServer(application(house), max_body_size=READ_BODY_BYTES)
        listener.setblocking(False)
        self._listener = listener

    async def start(self) -> None:
        self._commands.kill_orphans()
        self._fetching.clear_leftovers()
        self._environments.clear_leftovers()
        await self._supervisor.recover()
        self._containers.remove_orphans()
        self._changes.recover()
        self._server.add_socket(self._listener)

    async def stop(self) -> None:
        log.info("Engine stops; every app comes back at the next start")
        self._server.stop()
        await self._supervisor.stop()
        self._doors.close()
        self._folders.close()
        await self._environments.close()
        await self._launcher.close()
        self._events.close()
        await self._server.close_all_connections()
        self._store.close()


def _launcher(default: str, folder: Path, containers: Launcher) -> Launcher:
    launchers: dict[str, Launcher] = {
        "zygote": ZygoteLauncher(folder),
        "process": ProcessLauncher(),
    }
    return SelectedLauncher(launchers, default, containers)


def _environments(settings: Settings, folder: Path) -> Environments:
    limits = InstallLimits(settings.build_seconds, int(settings.build_mib * 2**20))
    return Environments(folder / "environments", Installer(config.for_installer(), limits))


def _fetching(settings: Settings, folder: Path, commands: Commands) -> Fetching:
    limits = fetching.FetchLimits(settings.fetch_seconds, int(settings.fetch_mib * 2**20))
    return Fetching(folder / "fetched", commands, config.for_installer(), limits)


@contextmanager
def _bound(settings: Settings, folder: Path) -> Iterator[socket.socket]:
    """The API's listening socket, where the settings say; else on the port it had last time, if
    that is free."""
    host, port = settings.engine_host, settings.engine_port
    _check_address(host)
    try:
        before = [int(_announced(folder)["url"].rpartition(":")[2])]
    except (OSError, ValueError, KeyError):
        before = []
    try:
        listener = bind(host, port, before)
    except NoRoom as error:
        raise Conflict(
            f"The engine cannot listen on {host}: {error.message}. Stop the program that has it, or"
            " set FOB_ENGINE_PORT to another port (0 picks a free one)"
        ) from error
    with listener:
        yield listener


def _check_address(host: str) -> None:
    """Raise `BadRequest` unless it is one of this machine's."""
    with socket.socket() as sock:
        try:
            sock.bind((host, 0))
        except OSError as error:
            raise BadRequest(
                f"Cannot listen on {host}: {error.strerror}. Set FOB_ENGINE_HOST to an address that"
                " this machine has"
            ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def _warn_of_others(host: str) -> None:
    if not ipaddress.ip_address(host).is_loopback:
        log.warning(
            "ANYBODY who reaches %s can call the tasks here, and with this engine's token, which"
            " travels unencrypted, run code: see FOB_ENGINE_HOST",
            host,
        )


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
