"""What starts processes, and what it starts: the engine's only plug."""

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
    """How a process ended: an exit `code`, or the number of a `signal`, or neither when it was not
    our child and nobody can know. A `reason` says more than these do."""

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
        return "ended; how is not known, since it outlived the engine that started it"


class RunningProcess(Protocol):
    """A process that was started.

    `handle` is JSON by which `adopt` finds it again, `spawned` the mark of its start. `stop` sends
    a signal to the process and all that it started, and does nothing once it has ended. The
    `on_exit` given to `start` or `adopt` is called once, on the loop, when it has ended and been
    reaped, and whatever it started in its own process group has been killed.
    """

    handle: dict[str, Any]
    spawned: timeline.Mark

    def stop(self, signal_number: int) -> None: ...

    def release(self) -> None:
        """Stop watching and let it run: the engine is going away without it."""


OnExit = Callable[[Exit], None]


class Launcher(Protocol):
    """Starts processes, and finds again those that an earlier engine started.

    `start` returns at once with the process running, or raises `LaunchFailed` with nothing left
    behind. `adopt` takes a `handle` (None: started, but the engine died before it could note the
    handle) and returns None when that process is gone; it never mistakes another process that has
    the same pid for it. `close` ends what the launcher itself keeps running, and no task.
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
