"""Install requirements into a folder, with uv or else pip, within limits of time and size."""

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
from fob.engine.runtime.commands import OnOutput, running_command
from fob.engine.runtime.launcher import Exit, LaunchFailed
from fob.engine.runtime.process_launcher import find_by_environment

SIZE_CHECK_SECONDS = 1.0  # by polling: the kernel has no event for the size of a folder
TARGET = "FOB_BUILDING"  # in an installer's environment: the folder that it fills
TEMPORARY = ".tmp"  # in that folder; the caller removes it


class InstallFailed(Exception):
    """Why the installation failed; the installer's output has the details."""


@dataclass(frozen=True)
class InstallLimits:
    """Limits of an installation: `seconds`, and bytes on disk, downloads included."""

    seconds: float
    size_bytes: int


class Installer:
    """Installs with the `variables` that configure pip and uv on this machine."""

    def __init__(self, variables: dict[str, str], limits: InstallLimits) -> None:
        self._variables = variables
        self._limits = limits

    async def install(self, requirements: Sequence[str], target: Path, on_output: OnOutput) -> None:
        """Install into the folder `target`, which exists and is empty.

        `on_output` gets the installer's output as it is printed. Raises `InstallFailed`. When this
        returns, raises or is cancelled, the installer has ended.
        """
        temporary = target / TEMPORARY
        temporary.mkdir()
        command = [*self._command(target), "--", *requirements]
        variables = {"PIP_ROOT_USER_ACTION": "ignore"} | self._variables
        variables |= {
            TARGET: str(target),
            "TMPDIR": str(temporary),
            "PYTHONUNBUFFERED": "1",
            "NO_COLOR": "1",
        }
        try:
            async with running_command(command, variables, temporary, on_output) as ended:
                await self._watch(ended, target)
        except LaunchFailed as error:
            raise InstallFailed(str(error)) from error
        exit_ = ended.result()
        if exit_.code != 0:
            raise InstallFailed(f"{_name(command)} {exit_}")

    def _command(self, target: Path) -> list[str]:
        path = self._variables.get("PATH")
        if uv := shutil.which("uv", path=path):
            python = ["--python", task_environment.python()]
            options = ["--no-progress", "--link-mode", "copy", "--compile-bytecode"]
            return [uv, "pip", "install", *python, *options, "--target", str(target)]
        # -P: do not import modules from the current folder
        pip = [_python_with_pip(), "-P", "-m", "pip", "install", "--no-input"]
        return [*pip, "--disable-pip-version-check", "--progress-bar=off", "--target", str(target)]

    async def _watch(self, ended: "asyncio.Future[Exit]", target: Path) -> None:
        loop = asyncio.get_running_loop()
        seconds, max_bytes = self._limits.seconds, self._limits.size_bytes
        deadline = loop.time() + seconds
        while not ended.done():
            left = deadline - loop.time()
            if left <= 0:
                raise InstallFailed(f"it took longer than {seconds:g} seconds")
            await asyncio.wait({ended}, timeout=min(left, SIZE_CHECK_SECONDS))
            size = await asyncio.to_thread(size_bytes, target)
            if size > max_bytes:
                raise InstallFailed(
                    f"it takes {size / 2**20:.1f} MiB of disk; the limit is {max_bytes / 2**20:g}"
                )


def kill_orphan(target: Path) -> None:
    """Kill the installer that an earlier engine left running on `target`, if there is one."""
    pid = find_by_environment(TARGET, str(target))
    if pid is not None:
        os.killpg(pid, signal.SIGKILL)


def size_bytes(folder: Path) -> int:
    """Bytes in all files below `folder`, which may change in the meantime."""
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(path, name)).st_size
            except FileNotFoundError:
                continue
    return size


def _python_with_pip() -> str:
    """An interpreter of the tasks' version with pip: the engine's, or that of its base Python."""
    if importlib.util.find_spec("pip"):
        return sys.executable
    folders = site.getsitepackages([sys.base_prefix])
    if importlib.machinery.PathFinder.find_spec("pip", folders):
        return task_environment.python()
    raise InstallFailed(
        "there is neither uv on the engine's PATH nor pip for"
        f" {task_environment.python()}: install one of them"
    )


def _name(command: list[str]) -> str:
    return "pip" if "-m" in command else "uv"
