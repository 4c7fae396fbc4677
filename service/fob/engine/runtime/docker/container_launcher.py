"""The launcher of containers."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fob import timeline
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.container_config import (
    ENGINE_LABEL,
    container_config,
    container_name,
)
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

KILL_TIMEOUT_SECONDS = 10.0  # after which Docker, which has not killed a container, is given up


class ContainerLauncher:
    """Runs containers that are named after their tasks and labelled with `owner`.

    Their ports are published at `address`. The file `containers` in `folder` notes that there may
    be some, so that an engine without containers never needs Docker.
    """

    def __init__(self, host: DockerHost, owner: str, address: str, folder: Path) -> None:
        self._host = host
        self._owner = owner
        self._address = address
        self._marker = folder / "containers"
        self._containers: dict[str, _Container] = {}
        host.on_connect = self._remove_orphans

    def start(self, launch: Launch, on_exit: OnExit) -> "_Container":
        assert launch.container is not None
        self._marker.touch()
        container = self._container(launch.task_id, launch.sandbox.parent, on_exit)
        config = container_config(launch, launch.container, self._address, self._owner)
        try:
            # open to all, since an image may run as any user; the folders above keep others out
            launch.sandbox.chmod(0o777)
            (launch.sandbox.parent / "pipes" / "marks").chmod(0o666)
            container.lifecycle.start(config, launch.reserved_ports)
        except OSError as error:
            self._forget(container)
            raise LaunchFailed(f"the container's folder cannot be used: {error}") from error
        return container

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        if handle is None:
            return None
        container = self._container(task_id, Path(handle["folder"]), on_exit)
        try:
            container.lifecycle.adopt()
        except OSError:
            self._forget(container)
            return None
        return container

    def remove_orphans(self) -> None:
        """Remove containers that no task has, once Docker is reachable; call this after all tasks
        have been adopted."""
        if self._marker.exists():
            self._host.connect()

    async def close(self) -> None:
        await self._host.close()

    def _container(self, task_id: str, folder: Path, on_exit: OnExit) -> "_Container":
        container = _Container(self._host, task_id, folder, on_exit, self._forget)
        self._containers[container.name] = container
        return container

    def _forget(self, container: "_Container") -> None:
        self._containers.pop(container.name, None)

    def _remove_orphans(self, client: "APIClient") -> None:
        """Remove this engine's containers that no task has: an earlier engine was killed between
        creating one and storing its handle, or Docker was away when one was to be removed."""
        mine = {"label": f"{ENGINE_LABEL}={self._owner}"}
        for found in client.containers(all=True, filters=mine):
            names = [name.lstrip("/") for name in found["Names"] or []]
            if not any(name in self._containers for name in names):
                log.info("Removing container %s, which belongs to no task", names)
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
        self.lifecycle = ContainerLifecycle(host, self.name, folder, self._on_end)
        self._loop = asyncio.get_running_loop()
        self._on_exit: OnExit | None = on_exit
        self._forget = forget
        self._kill_timer: asyncio.TimerHandle | None = None

    def stop(self, signal_number: int) -> None:
        threads.start(self.name, lambda: self.lifecycle.send_signal(signal_number))
        if signal_number == signal.SIGKILL and self._kill_timer is None:
            self._kill_timer = self._loop.call_later(KILL_TIMEOUT_SECONDS, self._give_up)

    def release(self) -> None:
        self._on_exit = None

    def _give_up(self) -> None:
        """Report an exit although Docker does not respond, so that nothing waits for it for ever.

        The container is an orphan then, and is removed when Docker is reachable again.
        """
        why = f"it has not killed a container within {KILL_TIMEOUT_SECONDS:g} seconds"
        self._exited(Exit(reason=f"the Docker engine at {self._host.address} hangs: {why}"))
        self._host.set_unreachable(why)

    def _on_end(self, ended: Exit) -> None:
        """Called in the thread of the container."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the engine has stopped
            self._loop.call_soon_threadsafe(self._exited, ended)

    def _exited(self, ended: Exit) -> None:
        self._forget(self)
        if self._kill_timer is not None:
            self._kill_timer.cancel()
        if self._on_exit is not None:
            on_exit, self._on_exit = self._on_exit, None
            on_exit(ended)
