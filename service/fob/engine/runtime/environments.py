"""Environments: installed packages. Each distinct set is built once, is read-only, and is shared.

    <root>/<key>/               packages, for sys.path; complete if it exists
    <root>/<key>.building-xxx/  being built
    <root>/<key>.removing-xxx/  being removed

The key is the SHA-256 of the requirements and of the Python that they are installed for.
"""

# A folder gets its final name by rename(2) when it is complete and read-only, and loses that name
# before its content is removed. Renaming is atomic, so no task ever finds a part of an environment,
# and a crash leaves only folders whose names say that they can be removed. One engine at a time has
# the state folder (a lock), so builds need no lock of their own between processes.

import asyncio
import functools
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from fob import contract
from fob.engine.chunks import ChunkedText
from fob.engine.definitions.app_definitions import Definition
from fob.engine.runtime import installer
from fob.engine.runtime.commands import OnOutput
from fob.engine.runtime.installer import Installer, InstallFailed

log = logging.getLogger(__name__)

BUILDS_AT_ONCE = 2
MAX_UNUSED = 8  # environments kept without an app that needs them, the most recently used
TAIL_BYTES = 4096  # of an installer's output, for tasks that start to wait for it later

T = TypeVar("T")

_KEY = re.compile(r"[0-9a-f]{64}")


class EnvironmentFailed(Exception):
    """Why an environment could not be built, in a sentence."""


@dataclass(frozen=True)
class PackageSet:
    """The packages that an app needs: `requirements` (PEP 508), and the range of Python versions
    that it supports (`requires_python`, PEP 440; empty: any)."""

    requirements: tuple[str, ...]
    requires_python: str

    @functools.cached_property
    def key(self) -> str:
        python = (sys.implementation.name, platform.python_version(), sysconfig.get_platform())
        return hashlib.sha256(json.dumps([python, self.requirements]).encode()).hexdigest()


def package_set_of(definition: Definition) -> PackageSet | None:
    """The packages of an app, from FOB_REQUIREMENTS (one per line) and FOB_REQUIRES_PYTHON in its
    env; None when it needs none, or sets FOB_SITE_PACKAGES itself."""
    env: dict[str, str | ChunkedText] = definition.get("env", {})
    if contract.REQUIREMENTS not in env or contract.SITE_PACKAGES in env:
        return None
    lines = (line.strip() for line in str(env[contract.REQUIREMENTS]).splitlines())
    requirements = tuple(sorted({line for line in lines if line}))
    return PackageSet(requirements, str(env.get(contract.REQUIRES_PYTHON, "")))


@dataclass
class _Build:
    """A build in progress: the listeners to its output, and the end of that."""

    listeners: list[OnOutput] = field(default_factory=list)
    tail: bytes = b""

    def on_output(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        for listener in self.listeners:
            listener(data)

    def last_line(self) -> str:
        """The last line of the output that is not empty, after a colon."""
        lines = self.tail.decode("utf-8", "replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")

    @contextmanager
    def listener(self, listener: OnOutput) -> Iterator[None]:
        """Pass the output to `listener` within the context, first what it has missed."""
        if self.tail:
            listener(self.tail)
        self.listeners.append(listener)
        try:
            yield
        finally:
            self.listeners.remove(listener)


class Environments:
    """All environments, in the folder `root`, which no other process uses."""

    def __init__(self, root: Path, installer_: Installer) -> None:
        self._root = root
        self._installer = installer_
        self._build_slots = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._builds: dict[str, tuple[_Build, asyncio.Task[Path]]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        root.mkdir(exist_ok=True)

    def find(self, packages: PackageSet) -> Path | None:
        """Return the environment and mark it as used; None when it has to be built."""
        folder = self._root / packages.key
        if not _supports_this_python(packages.requires_python):
            return None
        try:
            os.utime(folder)  # collect() removes the least recently used
        except FileNotFoundError:
            return None
        return folder

    async def build(self, packages: PackageSet, on_output: OnOutput) -> Path:
        """Build the environment and return it; `on_output` gets the installer's output.

        Concurrent calls for the same packages share one build, which is cancelled when the last of
        them is. Raises `EnvironmentFailed`; a later call tries again.
        """
        _check_python(packages.requires_python)
        build, task = self._builds.get(packages.key) or self._start_build(packages)
        with build.listener(on_output):
            try:
                # shielded: cancelling one of the callers must not cancel the build for the others
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if build.listeners == [on_output]:
                    self._builds.pop(packages.key, None)
                    task.cancel()
                raise

    def collect(self, in_use: Iterable[Definition]) -> None:
        """Remove environments that none of the apps `in_use` needs, except the `MAX_UNUSED` most
        recently used."""
        kept = {packages.key for definition in in_use if (packages := package_set_of(definition))}
        unused = [path for path in self._complete() if path.name not in kept]
        unused.sort(key=lambda path: path.stat().st_mtime)
        for path in unused[:-MAX_UNUSED]:
            log.info("Removing environment %s: no app needs it", path.name)
            removing = path.with_name(f"{path.name}.removing-{time.monotonic_ns()}")
            path.rename(removing)
            self._in_background(asyncio.to_thread(_remove, removing))

    def _complete(self) -> Iterator[Path]:
        return (path for path in self._root.iterdir() if _KEY.fullmatch(path.name))

    def clear_leftovers(self) -> None:
        """Remove what an earlier engine was building or removing when it died."""
        for path in self._root.iterdir():
            if not _KEY.fullmatch(path.name):
                installer.kill_orphan(path)
                self._in_background(asyncio.to_thread(_remove, path))

    async def close(self) -> None:
        """Cancel all builds, and wait for what is being removed."""
        for _, task in self._builds.values():
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _start_build(self, packages: PackageSet) -> tuple[_Build, asyncio.Task[Path]]:
        build = _Build()
        task = self._in_background(self._make(packages, build))
        self._builds[packages.key] = build, task
        task.add_done_callback(lambda _: self._forget_build(packages.key, task))
        return build, task

    def _forget_build(self, key: str, task: asyncio.Task[Path]) -> None:
        # a build that was cancelled may have a successor by now
        if key in self._builds and self._builds[key][1] is task:
            del self._builds[key]

    async def _make(self, packages: PackageSet, build: _Build) -> Path:
        async with self._build_slots:
            key, requirements = packages.key, packages.requirements
            log.info("Building environment %s: %s", key, ", ".join(requirements))
            building: Path | None = None
            try:
                building = Path(tempfile.mkdtemp(prefix=f"{key}.building-", dir=self._root))
                if requirements:
                    await self._installer.install(requirements, building, build.on_output)
                return await self._complete_build(building, self._root / key)
            except (InstallFailed, OSError) as error:
                message = f"Its dependencies cannot be installed: {error}{build.last_line()}"
                raise EnvironmentFailed(message) from error
            finally:
                if building is not None:
                    await asyncio.to_thread(_remove, building)

    async def _complete_build(self, building: Path, folder: Path) -> Path:
        await asyncio.to_thread(_make_read_only, building)
        os.rename(building, folder)  # not in the thread, which continues when this is cancelled
        log.info("Environment %s is ready", folder.name)
        return folder

    def _in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _check_python(requires: str) -> None:
    if not _supports_this_python(requires):
        version = platform.python_version()
        raise EnvironmentFailed(f"It requires Python {requires}, and this engine has {version}")


@functools.lru_cache(maxsize=256)
def _supports_this_python(requires: str) -> bool:
    if not requires:
        return True
    # imported for the first app that requires a Python, so that no start pays for it
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(requires).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier:
        return False


def _make_read_only(folder: Path) -> None:
    shutil.rmtree(folder / installer.TEMPORARY, ignore_errors=True)
    for path, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            _without_write(os.path.join(path, name))
    _without_write(folder)


def _without_write(path: str | Path) -> None:
    if not os.path.islink(path):
        os.chmod(path, os.stat(path).st_mode & 0o555 | 0o444)


def _remove(folder: Path) -> None:
    """Remove a folder, even if it is read-only."""
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
