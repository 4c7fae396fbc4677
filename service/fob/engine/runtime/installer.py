"""Runs uv, or else pip: requirements into a folder, within a time and a size."""

import asyncio
import importlib.machinery
import importlib.util
import os
import shutil
import signal
import site
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fob.engine.runtime import task_environment
from fob.engine.runtime.commands import OnOutput, running
from fob.engine.runtime.launcher import Exit, LaunchFailed
from fob.engine.runtime.process_launcher import find_by_environment

SIZE_CHECK_SECONDS = 1.0  # nothing tells that a folder has grown
MARK = "FOB_BUILDING"  # in an installer's environment: the folder it fills
TEMPORARY = ".tmp"  # in that folder; the caller removes it


class InstallFailed(Exception):
    """Why it ended without success; what the installer printed has the rest."""


@dataclass(frozen=True)
class InstallLimits:
    """What a build may take: `seconds`, and bytes on the disk, downloads included."""

    seconds: float
    size_bytes: int


class Installer:
    """Installs with the `variables` of the machine's own configuration for pip and uv."""

    def __init__(self, variables: dict[str, str], limits: InstallLimits) -> None:
        self._variables = variables
        self._limits = limits

    async def install(self, requirements: Sequence[str], target: Path, say: OnOutput) -> None:
        """Fill the folder `target`, which is there and empty. What the installer prints goes to
        `say`, as it comes. Raises `InstallFailed`; nothing runs any more when this ends."""
        temporary = target / TEMPORARY
        temporary.mkdir()
        command = [*self._command(target), "--", *requirements]
        variables = {"PIP_ROOT_USER_ACTION": "ignore"} | self._variables
        variables |= {
            MARK: str(target),
            "TMPDIR": str(temporary),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        try:
            async with running(command, variables, temporary, say) as ended:
                await self._watch(ended, target)
        except LaunchFailed as error:
            raise InstallFailed(str(error)) from error
        how = ended.result()
        if how.code != 0:
            raise InstallFailed(f"{_name(command)} {how}")

    def _command(self, target: Path) -> list[str]:
        path = self._variables.get("PATH")
        if uv := shutil.which("uv", path=path):
            python = ["--python", task_environment.python()]
            options = ["--no-progress", "--link-mode", "copy", "--compile-bytecode"]
            return [uv, "pip", "install", *python, *options, "--target", str(target)]
        # -P: what is in the current folder is no module of pip's
        pip = [_python_with_pip(), "-P", "-m", "pip", "install", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--progress-bar=off", "--target", str(target)]

    async def _watch(self, ended: "asyncio.Future[Exit]", target: Path) -> None:
        loop = asyncio.get_running_loop()
        seconds, most = self._limits.seconds, self._limits.size_bytes
        deadline = loop.time() + seconds
        while not ended.done():
            left = deadline - loop.time()
            if left <= 0:
                raise InstallFailed(f"it took longer than {seconds:g} seconds")
            await asyncio.wait({ended}, timeout=min(left, SIZE_CHECK_SECONDS))
            size = await asyncio.to_thread(size_bytes, target)
            if size > most:
                raise InstallFailed(
                    f"it takes {size / 2**20:.1f} MiB of disk, and {most / 2**20:g} is the most"
                )


def stop_orphan(target: Path) -> None:
    """Kill the installer that an earlier engine left at work on `target`, if it still is."""
    pid = find_by_environment(MARK, str(target))
    if pid is not None:
        os.killpg(pid, signal.SIGKILL)


def size_bytes(folder: Path) -> int:
    """Bytes in all files below `folder`, which others may change meanwhile."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return size


def _python_with_pip() -> str:
    """An interpreter of the tasks' version that has pip: the engine's, or the one it comes from."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    folders = site.getsitepackages([sys.base_prefix])
    if importlib.machinery.PathFinder.find_spec("pip", folders):
        return task_environment.python()
    raise InstallFailed(
        "there is neither uv on the engine's PATH nor pip for"
        f" {task_environment.python()}: install one"
    )


def _name(command: list[str]) -> str:
    return "pip" if "-m" in command else "uv"
