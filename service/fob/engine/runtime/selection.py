"""Select the launcher of each task: the one that its app names, or the engine's default."""

from collections.abc import Mapping
from typing import Any

from fob.engine.runtime.launcher import (
    Launch,
    Launcher,
    OnExit,
    RunningProcess,
)


class SelectedLauncher:
    """Passes each launch to the launcher that its app names, to `default` if there is none of that
    name, or to `containers` if it is a container."""

    def __init__(
        self, launchers: Mapping[str, Launcher], default: str, containers: Launcher
    ) -> None:
        self._launchers = launchers
        self._default = launchers[default]
        self._containers = containers

    def start(self, launch: Launch, on_exit: OnExit) -> RunningProcess:
        if launch.container:
            return self._containers.start(launch, on_exit)
        return self._launchers.get(launch.launcher, self._default).start(launch, on_exit)

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        in_container = handle is not None and "container" in handle
        # every other launcher adopts processes in the same way
        launcher = self._containers if in_container else self._default
        return launcher.adopt(task_id, handle, on_exit)

    async def close(self) -> None:
        for launcher in (*self._launchers.values(), self._containers):
            await launcher.close()
