"""From a place to a process: a task is launched once all that it needs is there."""

import asyncio
from pathlib import Path

from fob.contract import SITE_PACKAGES
from fob.engine.definitions.app_definitions import Definition
from fob.engine.runtime.docker.images import ImageFailed, Images
from fob.engine.runtime.environments import (
    EnvironmentFailed,
    Environments,
    PackageSet,
    package_set_of,
)
from fob.engine.runtime.fetching import FetchFailed, Fetching
from fob.engine.runtime.launcher import Launcher
from fob.engine.tasks.task import Task


class Staging:
    """Launches tasks: at once, or when all that they need is there."""

    def __init__(
        self, launcher: Launcher, fetching: Fetching, environments: Environments, images: Images
    ) -> None:
        self._launcher = launcher
        self._fetching = fetching
        self._environments = environments
        self._images = images
        self._waiting: dict[str, asyncio.Task[None]] = {}

    def launch(self, task: Task, variables: dict[str, str]) -> None:
        """Start the task's process, now or later.

        With needs it finds FOB_SITE_PACKAGES. Until it can start it is staged, and its standard
        error tells how far what it waits for is: files to be fetched, and then an installation, or
        for a container its image. If one of these fails that is the end of the task; of an
        installation, another try would end the same.
        """
        needs = None if task.container else package_set_of(task.definition)
        folder = self._environments.find(needs) if needs else None
        if task.container or task.definition["fetch"] or (needs and not folder):
            work = self._launch_later(task, needs, variables)
            self._waiting[task.record.id] = asyncio.get_running_loop().create_task(work)
        else:
            task.launch(self._launcher, variables | _found(folder))

    def ended(self, task: Task) -> None:
        """The task will not need what it waits for."""
        if waiting := self._waiting.pop(task.record.id, None):
            waiting.cancel()

    def collect(self, in_use: list[Definition]) -> None:
        """Remove environments that none of these definitions needs."""
        self._environments.collect(in_use)

    async def _launch_later(
        self, task: Task, needs: PackageSet | None, variables: dict[str, str]
    ) -> None:
        try:
            found = await self._prepared(task, needs)
        except EnvironmentFailed as error:
            task.cannot_start(str(error))
        except (FetchFailed, ImageFailed, OSError) as error:  # another time they may do better
            task.cannot_start(str(error), hopeless=False)
        else:
            task.launch(self._launcher, variables | found)

    async def _prepared(self, task: Task, needs: PackageSet | None) -> dict[str, str]:
        """What the task finds in its environment of what it was waiting for."""
        try:
            task.stage()
            if task.definition["fetch"]:
                await self._fetching.provide(task.definition, task.folder.sandbox, task.tell)
                task.mark("fetched")
            if task.container:
                await self._images.provide(task.container, task.tell)
                task.mark("image_ready")
            return _found(await self._environment(task, needs) if needs else None)
        finally:
            self._waiting.pop(task.record.id, None)

    async def _environment(self, task: Task, needs: PackageSet) -> Path:
        if folder := self._environments.find(needs):
            return folder
        task.mark("environment_begun")
        folder = await self._environments.build(needs, task.tell)
        task.mark("environment_ready")
        return folder


def _found(folder: Path | None) -> dict[str, str]:
    return {SITE_PACKAGES: str(folder)} if folder else {}
