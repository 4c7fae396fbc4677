"""Execute tasks as processes, and find them again: a pid is not enough, the kernel reuses it."""

import asyncio
import contextlib
import functools
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fob import timeline
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    LaunchFailed,
    OnExit,
    RunningProcess,
)


class ProcessLauncher:
    """Plain exec in a new session: the reference for other launchers, and their fallback."""

    def start(self, launch: Launch, on_exit: OnExit) -> "WatchedProcess":
        try:
            process = subprocess.Popen(
                launch.command,
                cwd=launch.sandbox,
                env=launch.environment | {name: str(fd) for name, fd in launch.pass_fds.items()},
                stdin=subprocess.DEVNULL,
                stdout=launch.stdout,
                stderr=launch.stderr,
                pass_fds=tuple(launch.pass_fds.values()),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise LaunchFailed(f"the command could not be started: {error}") from error
        process.returncode = 0  # keeps Popen from reaping it: WatchedProcess does
        _schedule_as_batch(process.pid)
        return WatchedProcess(process.pid, on_exit)

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None:
        pid = handle["pid"] if handle else find_by_environment("MESOS_TASK_ID", task_id)
        if pid is None or (handle and identity(pid) != handle):
            return None
        try:
            return WatchedProcess(pid, on_exit)
        except ProcessLookupError:
            return None

    async def close(self) -> None:
        """Do nothing: it keeps nothing running."""


class WatchedProcess:
    """A process and its group; `on_exit` may be replaced while it runs.

    A pidfd becomes readable when the process ends. Unlike SIGCHLD it names the process, works for
    those that are not children, and needs no thread; unlike a pid it cannot come to mean another
    process.
    """

    def __init__(self, pid: int, on_exit: OnExit) -> None:
        self.spawned = timeline.now("spawned")
        self.handle = identity(pid)
        self.on_exit = on_exit
        self._pid = pid
        self._pidfd: int | None = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._exited)

    def stop(self, signal_number: int) -> None:
        if self._pidfd is not None:
            self._signal_group(signal_number)

    def release(self) -> None:
        if self._pidfd is not None:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _exited(self) -> None:
        # kill the group before reaping: until then its id, the pid of this zombie, is not reused
        self._signal_group(signal.SIGKILL)
        ended = self._reap()
        self.release()
        self.on_exit(ended)

    def _reap(self) -> Exit:
        assert self._pidfd is not None
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:  # adopted: its parent was an earlier engine
            return Exit()
        assert result is not None
        if result.si_code == os.CLD_EXITED:
            return Exit(code=result.si_status)
        return Exit(signal=result.si_status)

    def _signal_group(self, signal_number: int) -> None:
        try:
            os.killpg(self._pid, signal_number)
        except (ProcessLookupError, PermissionError):
            return


def _schedule_as_batch(pid: int) -> None:
    """Keep the process, and what it starts, from preempting others when it wakes up (SCHED_BATCH,
    see sched(7))."""
    # A client that sends many calls would otherwise be preempted after each one, by the function
    # that wakes up to serve it, and all of them together would take longer.
    with contextlib.suppress(OSError):  # it has ended already, or this is not permitted here
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))


def identity(pid: int) -> dict[str, Any]:
    """Identify a process among all that ever had its pid: by pid, start and boot.

    `started` is in clock ticks since boot (proc(5), stat field 22); None if the process is gone.
    """
    return {"pid": pid, "started": _start_ticks(pid), "boot": _boot_id()}


def find_by_environment(name: str, value: str) -> int | None:
    """The session leader that was started with `name=value` in its environment."""
    return next(leaders_with(name, value), None)


def leaders_with(name: str, value: str) -> Iterator[int]:
    """Every session leader that was started with `name=value` in its environment."""
    variable = f"{name}={value}".encode()
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
    return (pid for pid in pids if variable in _leader_environment(pid))


def _leader_environment(pid: int) -> list[bytes]:
    """The environment `pid` was started with; empty unless it leads a session and can be read."""
    try:
        if os.getsid(pid) != pid:
            return []
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _start_ticks(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # the second field is the command in parentheses, and may contain spaces and parentheses itself
    state, *rest = stat.rpartition(")")[2].split()
    return None if state == "Z" else int(rest[18])


@functools.cache
def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
