"""The engine's process: locks the state folder, builds the engine, and serves until a signal."""

import asyncio
import gc
import ipaddress
import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tornado.httpserver import HTTPServer

from fob import config, process
from fob import log as log_setup
from fob.config import Settings
from fob.engine.api.base import EngineParts
from fob.engine.api.routes import application
from fob.engine.control.changes import Changes
from fob.engine.control.deployment_storage import DeploymentStorage
from fob.engine.control.deployments import Deployments
from fob.engine.control.placement import Placements
from fob.engine.control.reports import Reports
from fob.engine.control.staging import Staging
from fob.engine.control.supervisor import Supervisor
from fob.engine.definitions.constraints import attributes_of
from fob.engine.discovery import LOCK, announce, announced
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

# Tornado rejects a larger body with a bare 400. It is above the API's own maximum, so that most
# bodies that are too large get Marathon's 413 instead.
MAX_READ_BYTES = 16 * 2**20


def run(settings: Settings, managed: bool = False, ready_fd: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status of the process.

    `managed` says that a dispatcher started this engine and will stop it. A line is written to
    `ready_fd` once the engine accepts requests.
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
    conflict = f"another engine runs with the state folder {folder}"
    with locked(folder / LOCK, conflict), _listener(settings, folder) as listener:
        process.raise_file_limit()
        token = _token(folder)
        engine = _Engine(settings, folder, listener, token)
        stopping = process.stop_event()
        await engine.start()
        url = f"http://{_address(listener)}"
        announce(folder, url, token, managed)
        _warn_if_reachable(settings.engine_host)
        log.info("Engine ready at %s, state in %s", url, folder)
        gc.freeze()  # all objects so far stay: collections need not traverse them again
        if ready_fd is not None:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)
        await stopping.wait()
        await engine.stop()


class _Engine:
    """The composition root: builds all parts of the engine and starts and stops them in order."""

    def __init__(
        self, settings: Settings, folder: Path, listener: socket.socket, token: str
    ) -> None:
        host = settings.engine_host
        store = self._store = Store(folder)
        # a microsecond clock: larger than the ids of all events of earlier engines
        events = self._events = Events(first=time.time_ns() // 1000)

        # this machine: what it has, and what runs on it
        resources = Resources(promised_cpus(settings.cpus), promised_mem(settings.mem))
        attributes = attributes_of(settings.attributes)
        docker = DockerHost(settings.docker_host)
        policy = DockerPolicy(settings.docker_allow, docker)
        self._commands = Commands(folder)
        self._fetching = _fetching(settings, folder, self._commands)
        self._environments = _environments(settings, folder)
        self._containers = ContainerLauncher(docker, store.name("agent"), host, folder)
        self._launcher = _launcher(settings.launcher, folder, self._containers)
        self._folders = _task_folders(folder)
        self._activation_sockets = ActivationSockets(folder)

        # the desired state, and its reconciliation
        deployments = Deployments(events, DeploymentStorage(store.deployments))
        self._supervisor = Supervisor(
            store=store,
            launcher=self._launcher,
            staging=Staging(self._launcher, self._fetching, self._environments, Images(docker)),
            placements=Placements(resources, host, attributes, policy),
            probes=Probes(host, self._commands, ContainerExec(docker)),
            reports=Reports(store, events, host, f"{store.name('agent')}-S0"),
            deployments=deployments,
            folders=self._folders,
            activation_sockets=self._activation_sockets,
        )
        docker.on_change = self._supervisor.retry_waiting
        self._changes = Changes(self._supervisor, store, deployments, events, policy)

        # the API
        parts = EngineParts(
            supervisor=self._supervisor,
            changes=self._changes,
            events=events,
            resources=resources,
            attributes=attributes,
            token=token,
            framework_id=store.name("framework"),
            address=_address(listener),
        )
        self._server = HTTPServer(application(parts), max_body_size=MAX_READ_BYTES)
        self._listener = listener

    async def start(self) -> None:
        self._commands.kill_orphans()
        self._fetching.clear_leftovers()
        self._environments.clear_leftovers()
        await self._supervisor.recover()
        self._containers.remove_orphans()
        self._changes.recover()
        # last: connections wait in the socket's queue until everything has been recovered
        self._listener.setblocking(False)
        self._server.add_socket(self._listener)

    async def stop(self) -> None:
        log.info("Engine is stopping; the next start brings every app back")
        self._server.stop()
        await self._supervisor.stop()
        self._activation_sockets.close()
        self._folders.close()
        await self._environments.close()
        await self._launcher.close()
        self._events.close()
        await self._server.close_all_connections()
        self._store.close()


def _task_folders(folder: Path) -> TaskFolders:
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    return TaskFolders(tasks, folder / "spare")


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
def _listener(settings: Settings, folder: Path) -> Iterator[socket.socket]:
    """The API's listening socket: on the port in the settings, or without one on the previous
    engine's port if it is free, so that clients keep their URL."""
    host, port = settings.engine_host, settings.engine_port
    _check_address(host)
    try:
        previous = [int(announced(folder)["url"].rpartition(":")[2])]
    except (OSError, ValueError, KeyError):
        previous = []
    try:
        listener = bind(host, port, previous)
    except NoRoom as error:
        raise Conflict(
            f"The engine cannot listen on {host}: {error.message}. Stop the program that uses"
            " it, or set FOB_ENGINE_PORT to another port (0 picks a free one)"
        ) from error
    with listener:
        yield listener


def _check_address(host: str) -> None:
    """Raise `BadRequest` unless `host` is an address of this machine."""
    with socket.socket() as sock:
        try:
            sock.bind((host, 0))
        except OSError as error:
            raise BadRequest(
                f"Cannot listen on {host}: {error.strerror}. Set FOB_ENGINE_HOST to an address of"
                " this machine"
            ) from error


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"{host}:{port}"


def _warn_if_reachable(host: str) -> None:
    if not ipaddress.ip_address(host).is_loopback:
        log.warning(
            "ANYBODY who reaches %s can call the tasks here, and run code with this engine's token,"
            " which travels unencrypted: see FOB_ENGINE_HOST",
            host,
        )


def _token(folder: Path) -> str:
    """Return the state folder's token; the same at every start, so that clients can keep it."""
    path = folder / "token"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        token = secrets.token_urlsafe(24)
        with open(fd, "w") as file:
            file.write(token + "\n")
        return token
