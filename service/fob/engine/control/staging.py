"""Launches tasks, after what they need has been prepared: files, packages, images."""

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
    """Launches tasks: at once, or after their preparation."""

    def __init__(
        self, launcher: Launcher, fetching: Fetching, environments: Environments, images: Images
    ) -> None:
        self._launcher = launcher
        self._fetching = fetching
        self._environments = environments
        self._images = images
        self._preparing: dict[str, asyncio.Task[None]] = {}

    def launch(self, task: Task, variables: dict[str, str]) -> None:
        """Start the process of the task, now or after its preparation.

        Files are fetched first, then packages are installed, or a container's image is pulled; the
        task's standard error shows the progress. If one of these fails, so does the task, for good
        only if it was the installation. With packages, the process gets FOB_SITE_PACKAGES.
        """
        packages = None if task.container else package_set_of(task.definition)
        folder = self._environments.find(packages) if packages else None
        if task.container or task.definition["fetch"] or (packages and not folder):
            work = self._prepare_and_launch(task, packages, variables)
            self._preparing[task.record.id] = asyncio.get_running_loop().create_task(work)
        else:
            task.launch(self._launcher, variables | _site_packages(folder))

    def cancel(self, task: Task) -> None:
        """Cancel the preparation of the task, if it is in progress."""
        if preparation := self._preparing.pop(task.record.id, None):
            preparation.cancel()

    def collect(self, in_use: list[Definition]) -> None:
        """Remove environments that none of these definitions needs."""
        self._environments.collect(in_use)

    async def _prepare_and_launch(
        self, task: Task, packages: PackageSet | None, variables: dict[str, str]
    ) -> None:
        try:
            prepared = await self._prepare(task, packages)
        except EnvironmentFailed as error:
            task.fail_to_start(str(error))
        except (FetchFailed, ImageFailed, OSError) as error:  # may work at the next attempt
            task.fail_to_start(str(error), permanent=False)
        else:
            task.launch(self._launcher, variables | prepared)

    async def _prepare(self, task: Task, packages: PackageSet | None) -> dict[str, str]:
        """Return the variables that the preparation adds to the task's environment."""
        try:
            task.prepare_folder()
            if task.definition["fetch"]:
                await self._fetching.provide(
                    task.definition, task.folder.sandbox, task.write_stderr
                )
                task.mark("fetched")
            if task.container:
                await self._images.provide(task.container, task.write_stderr)
                task.mark("image_ready")
            return _site_packages(await self._environment(task, packages) if packages else None)
        finally:
            self._preparing.pop(task.record.id, None)

    async def _environment(self, task: Task, packages: PackageSet) -> Path:
        if folder := self._environments.find(packages):
            return folder
        task.mark("environment_begun")
        folder = await self._environments.build(packages, task.write_stderr)
        task.mark("environment_ready")
        return folder


def _site_packages(folder: Path | None) -> dict[str, str]:
    return {SITE_PACKAGES: str(folder)} if folder else {}
