"""The process of a task and the pipes it writes to, while there is one."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from fob import timeline
from fob.contract import NOTIFY_FD
from fob.engine.definitions.app_definitions import Definition
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    Launcher,
    LaunchFailed,
    RunningProcess,
)
from fob.engine.runtime.pipes import Pipes
from fob.engine.runtime.task_folders import TaskFolder
from fob.engine.tasks.deadline import Deadline

KILL_GRACE_SECONDS = 3.0  # Marathon's, where the app does not say

Planned = Callable[[int, int, dict[str, int]], Launch]


class Process:
    """A process with its files in `folder`: started or found again, and then watched.

    `on_mark(mark)` is called for each mark that it writes, `on_exit(exit)` when it has ended and
    all that it wrote has been taken.
    """

    __slots__ = ("_deadline", "_folder", "_on_exit", "_on_mark", "_pipes", "_running")

    def __init__(
        self,
        folder: TaskFolder,
        on_mark: Callable[[timeline.Mark], None],
        on_exit: Callable[[Exit], None],
    ) -> None:
        self._folder = folder
        self._on_mark = on_mark
        self._on_exit = on_exit
        self._pipes: Pipes | None = None
        self._running: RunningProcess | None = None
        self._deadline = Deadline()

    @property
    def there(self) -> bool:
        return self._running is not None

    @property
    def handle(self) -> dict[str, Any]:
        """By which an engine finds it again; there must be one."""
        assert self._running is not None
        return self._running.handle

    @property
    def spawned(self) -> timeline.Mark:
        """The mark of its start; there must be one."""
        assert self._running is not None
        return self._running.spawned

    def start(self, launcher: Launcher, launch: Planned, marks: bool) -> None:
        """Start what `launch` gives when it is told the descriptors of standard output and error,
        and those to pass on: with `marks`, the one for marks.

        Raises `LaunchFailed` or `OSError` with nothing left behind.
        """
        try:
            pipes = self._open_pipes()
            with ExitStack() as closing:
                names = ("stdout", "stderr", "marks") if marks else ("stdout", "stderr")
                ends = []
                for name in names:
                    ends.append(pipes.task_end(name))
                    closing.callback(os.close, ends[-1])
                passed = {NOTIFY_FD: ends[2]} if marks else {}
                self._running = launcher.start(launch(ends[0], ends[1], passed), self._exited)
        except (LaunchFailed, OSError):
            self._close_pipes()
            raise

    def adopt(self, launcher: Launcher, task_id: str, handle: dict[str, Any] | None) -> bool:
        """Find the process that an earlier engine started; False when it is gone."""
        try:
            self._open_pipes()
        except OSError:
            return False
        self._running = launcher.adopt(task_id, handle, self._exited)
        if self._running is None:
            self._close_pipes()
        return self.there

    def stop(self, grace_seconds: float) -> None:
        """Ask it and its group to end; kill them after the grace."""
        if self._running is not None:
            self._running.stop(signal.SIGTERM)
            self.expect_end(grace_seconds)

    def stop_hard(self) -> None:
        """Kill it and its group at once."""
        if self._running is not None:
            self._running.stop(signal.SIGKILL)

    def expect_end(self, seconds: float) -> None:
        """It is about to end; kill it if that takes longer."""
        self._deadline.set(seconds, self.stop_hard)

    def _exited(self, ended: Exit) -> None:
        self._deadline.cancel()
        self._running = None
        self._close_pipes()
        self._on_exit(ended)

    def _open_pipes(self) -> Pipes:
        self._pipes = Pipes(self._folder, self._on_mark)
        self._pipes.open()
        return self._pipes

    def _close_pipes(self) -> None:
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None


def grace_seconds(definition: Definition) -> float:
    """Between SIGTERM and SIGKILL, for the tasks of an app."""
    return float(definition.get("taskKillGracePeriodSeconds", KILL_GRACE_SECONDS))
