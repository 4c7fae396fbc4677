"""How a dispatcher comes to its engine: finds the one that runs for its state folder, or starts it.

An engine that runs holds `<home>/engine/lock`; `engine.json` beside it says where it answers.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import fob
from fob import config
from fob.config import Settings
from fob.errors import FobError
from fob.state import is_locked

LOCK = "lock"  # in the engine's folder
START_SECONDS = 20.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class RunningEngine:
    """An engine that runs: its Marathon URL, its token, its process, and whether a dispatcher
    started it (then a dispatcher's normal stop stops it)."""

    url: str
    token: str
    pid: int
    managed: bool


async def find_or_start(settings: Settings) -> RunningEngine:
    """The engine of `settings.home`, started if none runs.

    Raises `StorageFailed` when the folder cannot be written, `FobError` when the engine does not
    come up, with the last lines of its log.
    """
    folder = settings.home_folder / "engine"
    if not is_locked(folder / LOCK):
        await _start(settings, folder)
    return await _found(folder)


async def find(settings: Settings) -> RunningEngine | None:
    """The engine that runs for `settings.home`; None when none does."""
    folder = settings.home_folder / "engine"
    return await _found(folder) if folder.exists() and is_locked(folder / LOCK) else None


async def wait_until_ended(link: RunningEngine) -> None:
    """Return when the engine's process has ended."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(link.pid)
    except ProcessLookupError:
        return
    over = asyncio.Event()
    loop.add_reader(pidfd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _reap(link.pid)


async def stop(link: RunningEngine) -> None:
    """Stop the engine and with it every task; kill it when it takes too long."""
    try:
        os.kill(link.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        await asyncio.wait_for(wait_until_ended(link), STOP_SECONDS)
    except TimeoutError:
        os.kill(link.pid, signal.SIGKILL)
        await wait_until_ended(link)


async def _start(settings: Settings, folder: Path) -> None:
    """Start an engine and wait until it says that it answers."""
    ready, said = os.pipe()
    try:
        try:
            _spawn(settings, folder, said)
        finally:
            os.close(said)
        await _wait_for_line(ready, folder)
    finally:
        os.close(ready)


def _spawn(settings: Settings, folder: Path, ready_fd: int) -> None:
    """Start the process in a session of its own: it outlives a dispatcher that dies."""
    with (folder / "log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fob.engine", "--managed", "--ready-fd", str(ready_fd)],
            cwd=Path(fob.__file__).parents[1],
            env=config.for_engine(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(ready_fd,),
            start_new_session=True,
        )
    process.returncode = 0  # watched and reaped through its pidfd


async def _wait_for_line(ready: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(ready, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), START_SECONDS)
    except TimeoutError:
        raise FobError(f"the engine did not start in time; its log: {folder / 'log'}") from None
    finally:
        loop.remove_reader(ready)
    if not os.read(ready, 16):
        raise FobError(f"the engine did not start: {_last_line(folder / 'log')}")


async def _found(folder: Path) -> RunningEngine:
    """Where the running engine is; it may be starting still."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            said = json.loads((folder / "engine.json").read_text())
            link = RunningEngine(
                f"{said['url']}/service/marathon", said["token"], said["pid"], said["managed"]
            )
            os.kill(link.pid, 0)
        except (OSError, ValueError, KeyError):
            if asyncio.get_running_loop().time() > deadline:
                raise FobError(f"an engine holds {folder} and does not say where it is") from None
            await asyncio.sleep(0.05)
        else:
            return link


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
