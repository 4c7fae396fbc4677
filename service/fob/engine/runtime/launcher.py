"""The contract of launchers, which start the processes of tasks: the engine's only plug.

The launchers are process_launcher, zygote_launcher and docker/container_launcher.
"""

import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fob import timeline
from fob.engine.definitions.containers import Container


class LaunchFailed(Exception):
    """The process could not be started; the message says why."""


@dataclass(frozen=True)
class Launch:
    """What to start: a `command` line with its whole environment, in the folder `sandbox`.

    `stdout` and `stderr` are descriptors to write to. `pass_fds` maps the names of environment
    variables to descriptors: the process inherits each, and finds its number in the variable. All
    of them stay the caller's to close. `launcher` is the name of the launcher that the app asks
    for; empty: any.

    With a `container`, that is started instead of a process. Its ports are kept bound by
    `reserved_ports` until then; the launcher closes those. The `sandbox` lies in the task's folder,
    next to its pipes (see task_folders.py).
    """

    task_id: str
    command: list[str]
    environment: dict[str, str]
    sandbox: Path
    stdout: int
    stderr: int
    pass_fds: Mapping[str, int] = field(default_factory=dict)
    launcher: str = ""
    container: Container | None = None
    reserved_ports: tuple[socket.socket, ...] = ()


@dataclass(frozen=True)
class Exit:
    """How a process ended: an exit `code`, or the number of a `signal`.

    Neither is known of a process that an earlier engine started, because only its parent can learn
    them. A `reason`, if there is one, is more precise than both.
    """

    code: int | None = None
    signal: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if self.signal is not None:
            return f"was killed by {_signal_name(self.signal)}"
        if self.code is not None:
            return f"exited with status {self.code}"
        return "ended; its exit status is unknown because it outlived the engine that started it"


class RunningProcess(Protocol):
    """A process that was started or adopted.

    `handle` is JSON by which a later engine can adopt it, `spawned` the mark of its start. `stop`
    sends a signal to the process and all that it started; it does nothing after the process has
    ended. The `on_exit` passed to `start` or `adopt` is called once, on the loop, after the process
    has ended and been reaped, and everything left in its process group has been killed.
    """

    handle: dict[str, Any]
    spawned: timeline.Mark

    def stop(self, signal_number: int) -> None: ...

    def release(self) -> None:
        """Stop watching it and let it run, because the engine stops without it."""


OnExit = Callable[[Exit], None]


class Launcher(Protocol):
    """Starts processes, and adopts processes that an earlier engine started.

    `start` returns at once with the process running, or raises `LaunchFailed` with nothing left
    behind. `adopt` takes the `handle` of a process, or None if the engine died before it could
    store the handle, and returns None when the process is gone; it never takes another process with
    the same pid for it. `close` ends what the launcher itself keeps running, but no task.
    """

    def start(self, launch: Launch, on_exit: OnExit) -> RunningProcess: ...

    def adopt(
        self, task_id: str, handle: dict[str, Any] | None, on_exit: OnExit
    ) -> RunningProcess | None: ...

    async def close(self) -> None: ...


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
