"""Which launcher starts a task: the one that its app asks for, or else the engine's own choice."""

from collections.abc import Mapping
from typing import Any

from fob.engine.runtime.launcher import (
    Launch,
    Launcher,
    OnExit,
    RunningProcess,
)


class SelectedLauncher:
    """For each task the launcher that its app names, if it names one of these, or the `default`;
    for a container the one for `containers`."""

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
        contained = handle is not None and "container" in handle
        launcher = self._containers if contained else self._default
        return launcher.adopt(task_id, handle, on_exit)

    async def close(self) -> None:
        for launcher in (*self._launchers.values(), self._containers):
            await launcher.close()
