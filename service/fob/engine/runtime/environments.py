"""Installed sets of packages: each distinct set is built once, kept read-only, and shared.

    <root>/<key>/               packages, for sys.path; complete from the moment it is there
    <root>/<key>.building-xxx/  on its way there
    <root>/<key>.removing-xxx/  on its way out

The key is the SHA-256 of the requirements and of the Python they were installed for.
"""

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
MAX_UNUSED = 8  # of those that no app wants, the ones used last
TAIL_BYTES = 4096  # of an installation's output, for those who come to it late

T = TypeVar("T")

_KEY = re.compile(r"[0-9a-f]{64}")


class EnvironmentFailed(Exception):
    """Why there is no such environment, in a sentence."""


@dataclass(frozen=True)
class PackageSet:
    """What an app needs installed: `requirements` as PEP 508 has them, for a Python that
    `requires_python` (PEP 440; empty: any) allows."""

    requirements: tuple[str, ...]
    requires_python: str

    @functools.cached_property
    def key(self) -> str:
        python = (sys.implementation.name, platform.python_version(), sysconfig.get_platform())
        return hashlib.sha256(json.dumps([python, self.requirements]).encode()).hexdigest()


def package_set_of(definition: Definition) -> PackageSet | None:
    """The needs of an app, from its env FOB_REQUIREMENTS (one a line) and FOB_REQUIRES_PYTHON."""
    env: dict[str, str | ChunkedText] = definition.get("env", {})
    if contract.REQUIREMENTS not in env or contract.SITE_PACKAGES in env:
        return None
    lines = (line.strip() for line in str(env[contract.REQUIREMENTS]).splitlines())
    requirements = tuple(sorted({line for line in lines if line}))
    return PackageSet(requirements, str(env.get(contract.REQUIRES_PYTHON, "")))


@dataclass
class _Build:
    """An installation at work: who hears of it, and the end of what it said."""

    listeners: list[OnOutput] = field(default_factory=list)
    tail: bytes = b""

    def say(self, data: bytes) -> None:
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        for listener in self.listeners:
            listener(data)

    def last_words(self) -> str:
        """The last line of the output that says something, after a colon."""
        lines = self.tail.decode("utf-8", "replace").split("\n")
        return next((f": {line.strip()}" for line in reversed(lines) if line.strip()), "")

    @contextmanager
    def heard_by(self, listener: OnOutput) -> Iterator[None]:
        if self.tail:
            listener(self.tail)
        self.listeners.append(listener)
        try:
            yield
        finally:
            self.listeners.remove(listener)


class Environments:
    """All environments below the folder `root`, which is the engine's alone."""

    def __init__(self, root: Path, installer_: Installer) -> None:
        self._root = root
        self._installer = installer_
        self._room = asyncio.Semaphore(BUILDS_AT_ONCE)
        self._builds: dict[str, tuple[_Build, asyncio.Task[Path]]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        root.mkdir(exist_ok=True)

    def find(self, needs: PackageSet) -> Path | None:
        """The environment, noted as used now; None when it has to be built."""
        folder = self._root / needs.key
        if not _python_is_in(needs.requires_python):
            return None
        try:
            os.utime(folder)
        except FileNotFoundError:
            return None
        return folder

    async def build(self, needs: PackageSet, say: OnOutput) -> Path:
        """The environment, once it is there; built once for all who ask meanwhile, and given up
        when the last of them is cancelled. What the installer prints goes to `say`.

        Raises `EnvironmentFailed`; a later call tries again.
        """
        _check_python(needs.requires_python)
        build, task = self._builds.get(needs.key) or self._begin(needs)
        with build.heard_by(say):
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if build.listeners == [say]:
                    self._builds.pop(needs.key, None)
                    task.cancel()
                raise

    def collect(self, in_use: Iterable[Definition]) -> None:
        """Remove what no app of `in_use` needs, except for the few that were used last."""
        kept = {needs.key for definition in in_use if (needs := package_set_of(definition))}
        unused = [path for path in self._complete() if path.name not in kept]
        unused.sort(key=lambda path: path.stat().st_mtime)
        for path in unused[:-MAX_UNUSED]:
            log.info("environment %s is removed: nothing needs it", path.name)
            doomed = path.with_name(f"{path.name}.removing-{time.monotonic_ns()}")
            path.rename(doomed)  # at once, so that nobody finds it half there
            self._run(asyncio.to_thread(_remove, doomed))

    def _complete(self) -> Iterator[Path]:
        return (path for path in self._root.iterdir() if _KEY.fullmatch(path.name))

    def clear_leftovers(self) -> None:
        """Remove what an engine that died was building or removing; for the start."""
        for path in self._root.iterdir():
            if not _KEY.fullmatch(path.name):
                installer.stop_orphan(path)
                self._run(asyncio.to_thread(_remove, path))

    async def close(self) -> None:
        """Give up what is being built, and finish what is being removed."""
        for _, task in self._builds.values():
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _begin(self, needs: PackageSet) -> tuple[_Build, asyncio.Task[Path]]:
        build = _Build()
        task = self._run(self._make(needs, build))
        self._builds[needs.key] = build, task
        task.add_done_callback(lambda _: self._ended(needs.key, task))
        return build, task

    def _ended(self, key: str, task: asyncio.Task[Path]) -> None:
        if key in self._builds and self._builds[key][1] is task:
            del self._builds[key]

    async def _make(self, needs: PackageSet, build: _Build) -> Path:
        async with self._room:
            log.info("environment %s is built: %s", needs.key, ", ".join(needs.requirements))
            building: Path | None = None
            try:
                building = Path(tempfile.mkdtemp(prefix=f"{needs.key}.building-", dir=self._root))
                if needs.requirements:
                    await self._installer.install(needs.requirements, building, build.say)
                return await self._finish(building, self._root / needs.key)
            except (InstallFailed, OSError) as error:
                message = f"Its dependencies cannot be installed: {error}{build.last_words()}"
                raise EnvironmentFailed(message) from error
            finally:
                if building is not None:
                    await asyncio.to_thread(_remove, building)

    async def _finish(self, building: Path, folder: Path) -> Path:
        await asyncio.to_thread(_make_read_only, building)
        os.rename(building, folder)  # not in the thread, which goes on when this is cancelled
        log.info("environment %s is ready", folder.name)
        return folder

    def _run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


def _check_python(requires: str) -> None:
    if not _python_is_in(requires):
        version = platform.python_version()
        raise EnvironmentFailed(f"It requires Python {requires}, and this engine has {version}")


@functools.lru_cache(maxsize=256)
def _python_is_in(requires: str) -> bool:
    if not requires:
        return True
    # imported by the first app that says which Python it needs: others are not to pay for it
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
    """Remove a folder, also a read-only one."""
    for path, _, _ in os.walk(folder):
        with suppress(OSError):
            os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
