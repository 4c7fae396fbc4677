"""Tasks as containers, by the contract of every launcher."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fob import timeline
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.container_config import ENGINE_LABEL, container_config
from fob.engine.runtime.docker.container_exec import container_name
from fob.engine.runtime.docker.host import DockerHost
from fob.engine.runtime.docker.lifecycle import ContainerLifecycle
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    LaunchFailed,
    OnExit,
    RunningProcess,
)

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger(__name__)

DEAF_SECONDS = 10.0  # a Docker engine that has not killed a container for so long hangs


class ContainerLauncher:
    """Runs containers that are known by their task's id, and labelled as those of `owner`.

    Their ports are published at `address`. In `folder` the file `containers` says that there may be
    some, so that nobody else looks for them.
    """

    def __init__(self, host: DockerHost, owner: str, address: str, folder: Path) -> None:
        self._host = host
        self._owner = owner
        self._address = address
        self._marker = folder / "containers"
        self._lives: dict[str, _Container] = {}
        host.greet = self._remove_orphans_with

    def start(self, launch: Launch, on_exit: OnExit) -> "_Container":
        assert launch.container is not None
        self._marker.touch()
        contained = self._contained(launch.task_id, launch.sandbox.parent, on_exit)
        wanted = container_config(launch, launch.container, self._address, self._owner)
        try:
            # whatever user the image has; who is outside is kept off by the folders above
            launch.sandbox.chmod(0o777)
            (launch.sandbox.parent / "pipes" / "marks").chmod(0o666)
            contained.life.begin(wanted, launch.reserved_ports)
        except OSError as error:
            self._forget(contained)
            raise LaunchFailed(f"the container's folder cannot be used: {error}") from error
        return contained

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        if handle is None:
            return None
        contained = self._contained(task_id, Path(handle["folder"]), on_exit)
        try:
            contained.life.find_again()
        except OSError:
            self._forget(contained)
            return None
        return contained

    def remove_orphans(self) -> None:
        """All that is wanted has been adopted: what else there is, is nobody's."""
        if self._marker.exists():
            self._host.look()

    async def close(self) -> None:
        await self._host.close()

    def _contained(self, task_id: str, folder: Path, on_exit: OnExit) -> "_Container":
        contained = _Container(self._host, task_id, folder, on_exit, self._forget)
        self._lives[contained.name] = contained
        return contained

    def _forget(self, contained: "_Container") -> None:
        self._lives.pop(contained.name, None)

    def _remove_orphans_with(self, client: "APIClient") -> None:
        """Remove containers of ours that no task has: an engine was killed at a bad moment."""
        mine = {"label": f"{ENGINE_LABEL}={self._owner}"}
        for found in client.containers(all=True, filters=mine):
            names = [name.lstrip("/") for name in found["Names"] or []]
            if not any(name in self._lives for name in names):
                log.info("Removes the container %s, which no task has", names)
                client.remove_container(found["Id"], v=True, force=True)


class _Container:
    """A task's container; see `RunningProcess`."""

    def __init__(
        self,
        host: DockerHost,
        task_id: str,
        folder: Path,
        on_exit: OnExit,
        forget: Callable[["_Container"], None],
    ) -> None:
        self.name = container_name(task_id)
        self._host = host
        self.handle = {"container": self.name, "folder": str(folder)}
        self.spawned = timeline.now("spawned")
        self.life = ContainerLifecycle(host, self.name, folder, self._over)
        self._loop = asyncio.get_running_loop()
        self._on_exit: OnExit | None = on_exit
        self._forget = forget
        self._patience: asyncio.TimerHandle | None = None

    def stop(self, signal_number: int) -> None:
        threads.start(self.name, lambda: self.life.send(signal_number))
        if signal_number == signal.SIGKILL and self._patience is None:
            self._patience = self._loop.call_later(DEAF_SECONDS, self._give_up)

    def release(self) -> None:
        self._on_exit = None

    def _give_up(self) -> None:
        """Nobody waits for Docker for ever; it removes the container when it hears again."""
        why = f"it has not killed a container for {DEAF_SECONDS:g} seconds"
        self._tell(Exit(reason=f"the Docker engine at {self._host.address} hangs: {why}"))
        self._host.lost(why)

    def _over(self, ended: Exit) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the engine has gone
            self._loop.call_soon_threadsafe(self._tell, ended)

    def _tell(self, ended: Exit) -> None:
        self._forget(self)
        if self._patience is not None:
            self._patience.cancel()
        if self._on_exit is not None:
            on_exit, self._on_exit = self._on_exit, None
            on_exit(ended)
