"""From a place to a process: a task is launched once the environment it needs is there."""

import asyncio
import socket
from pathlib import Path

from fob.engine.definitions import Definition
from fob.engine.environments import EnvironmentFailed, Environments, Needs, needs_of
from fob.engine.launchers import Launcher
from fob.engine.task import Task


class Staging:
    """Launches tasks: at once, or when their environment has been built."""

    def __init__(self, launcher: Launcher, environments: Environments) -> None:
        self._launcher = launcher
        self._environments = environments
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def launch(self, task: Task, variables: dict[str, str], listener: socket.socket | None) -> None:
        """Start the task's process, now or later; `listener` stays the caller's to close.

        With needs it finds FOB_SITE_PACKAGES. Until it can start it is staged: its port listens,
        and its standard error tells how far the installation is. An installation that fails is the
        end of the task, and another try would end the same.
        """
        needs = needs_of(task.definition)
        if needs is None:
            task.launch(self._launcher, variables, listener)
        elif folder := self._environments.find(needs):
            found = {"FOB_SITE_PACKAGES": str(folder)}
            task.launch(self._launcher, variables | found, listener)
        else:
            self._begin(task, needs, variables, listener.dup() if listener else None)

    def ended(self, task: Task) -> None:
        """The task will not need what it waits for."""
        if waiting := self._waiting.pop(task.record.id, None):
            waiting.cancel()

    def collect(self, in_use: list[Definition]) -> None:
        """Remove environments that none of these definitions needs."""
        self._environments.collect(in_use)

    def _begin(
        self, task: Task, needs: Needs, variables: dict[str, str], listener: socket.socket | None
    ) -> None:
        work = self._launch_later(task, needs, variables, listener)
        waiting = self._waiting[task.record.id] = asyncio.get_running_loop().create_task(work)
        if listener is not None:
            waiting.add_done_callback(lambda _: listener.close())

    async def _launch_later(
        self, task: Task, needs: Needs, variables: dict[str, str], listener: socket.socket | None
    ) -> None:
        try:
            folder = await self._prepared(task, needs)
        except (EnvironmentFailed, OSError) as error:
            task.cannot_start(str(error))
        else:
            found = {"FOB_SITE_PACKAGES": str(folder)}
            task.launch(self._launcher, variables | found, listener)

    async def _prepared(self, task: Task, needs: Needs) -> Path:
        try:
            task.stage()
            task.mark("environment_begun")
            folder = await self._environments.build(needs, task.tell)
            task.mark("environment_ready")
            return folder
        finally:
            self._waiting.pop(task.record.id, None)
