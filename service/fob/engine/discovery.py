"""Find the engine of a state folder, or start it; watch it and stop it.

A running engine has `<home>/engine/lock` locked; `engine.json` beside it has its URL and token.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fob
from fob import config
from fob.config import Settings
from fob.errors import FobError
from fob.state import is_locked

LOCK = "lock"  # file names in the engine's folder
ANNOUNCEMENT = "engine.json"
START_SECONDS = 20.0
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class RunningEngine:
    """A running engine: its Marathon URL, token and process id; `managed` if a dispatcher started
    it, in which case a dispatcher that stops normally stops it too."""

    url: str
    token: str
    pid: int
    managed: bool


def announce(folder: Path, url: str, token: str, managed: bool) -> None:
    """Write this process to `engine.json` in the engine's folder."""
    new = folder / f"{ANNOUNCEMENT}.new"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(fd, "w") as file:
        json.dump({"url": url, "token": token, "managed": managed, "pid": os.getpid()}, file)
    new.rename(folder / ANNOUNCEMENT)  # atomic: readers see the old file or the new one


def announced(folder: Path) -> dict[str, Any]:
    """Read `engine.json`, which an engine may have left that no longer runs.

    Raises `OSError` or `ValueError` if it is missing or malformed.
    """
    content: dict[str, Any] = json.loads((folder / ANNOUNCEMENT).read_text())
    return content


async def find_or_start(settings: Settings) -> RunningEngine:
    """Return the engine of the state folder; start one if none is running.

    Raises `StorageFailed` if the folder cannot be written, and `FobError` with the last line of the
    engine's log if it does not start.
    """
    folder = settings.home_folder / "engine"
    if not is_locked(folder / LOCK):
        await _start(settings, folder)
    return await _running(folder)


async def find(settings: Settings) -> RunningEngine | None:
    """Return the running engine of the state folder; None if there is none."""
    folder = settings.home_folder / "engine"
    return await _running(folder) if folder.exists() and is_locked(folder / LOCK) else None


async def wait_until_ended(engine: RunningEngine) -> None:
    """Return once the engine's process has ended, whether or not it is a child of this one."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(engine.pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)  # a pidfd is readable once its process has ended
    try:
        await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _reap(engine.pid)


async def stop(engine: RunningEngine) -> None:
    """Stop the engine and all its tasks; kill the engine after `STOP_SECONDS`."""
    try:
        os.kill(engine.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        await asyncio.wait_for(wait_until_ended(engine), STOP_SECONDS)
    except TimeoutError:
        os.kill(engine.pid, signal.SIGKILL)
        await wait_until_ended(engine)


async def _start(settings: Settings, folder: Path) -> None:
    """Start an engine and wait until it is ready."""
    ready_fd, engine_fd = os.pipe()
    try:
        try:
            _spawn(settings, folder, engine_fd)
        finally:
            # the engine has the only write end now: if it dies, this end is readable too
            os.close(engine_fd)
        await _wait_until_ready(ready_fd, folder)
    finally:
        os.close(ready_fd)


def _spawn(settings: Settings, folder: Path, ready_fd: int) -> None:
    """Start the process in a session of its own, so that it outlives a dispatcher that dies."""
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
    # `wait_until_ended` reaps it; a Popen without a return code warns when it is collected
    process.returncode = 0


async def _wait_until_ready(ready_fd: int, folder: Path) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(ready_fd, readable.set)
    try:
        await asyncio.wait_for(readable.wait(), START_SECONDS)
    except TimeoutError:
        raise FobError(
            f"the engine did not start within {START_SECONDS:g} s; see its log {folder / 'log'}"
        ) from None
    finally:
        loop.remove_reader(ready_fd)
    if not os.read(ready_fd, 16):  # end of file: it ended without writing
        raise FobError(f"the engine did not start: {_last_line(folder / 'log')}")


async def _running(folder: Path) -> RunningEngine:
    """Return the engine that holds the lock; wait for its `engine.json` if it is still starting."""
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while True:
        try:
            content = announced(folder)
            engine = RunningEngine(
                url=f"{content['url']}/service/marathon",
                token=content["token"],
                pid=content["pid"],
                managed=content["managed"],
            )
            os.kill(engine.pid, 0)  # an engine that was killed leaves its file behind
        except (OSError, ValueError, KeyError):
            if asyncio.get_running_loop().time() > deadline:
                raise FobError(
                    f"a running engine has locked {folder}, but its {ANNOUNCEMENT} is missing or"
                    " of an earlier engine"
                ) from None
            await asyncio.sleep(0.05)
        else:
            return engine


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "its log is empty"


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # another process started it
        return
