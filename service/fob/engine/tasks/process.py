"""The process of a task, with the pipes that it writes to."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from fob import timeline
from fob.contract import NOTIFY_FD
from fob.engine.definitions.app_definitions import Definition
from fob.engine.runtime.launcher import Exit, Launch, Launcher, LaunchFailed, RunningProcess
from fob.engine.runtime.pipes import Pipes
from fob.engine.runtime.task_folders import TaskFolder
from fob.engine.tasks.deadline import Deadline

DEFAULT_GRACE_SECONDS = 3.0  # Marathon's

MakeLaunch = Callable[[int, int, dict[str, int]], Launch]


class Process:
    """At most one process at a time, started or adopted, with its files in `folder`.

    `on_mark(mark)` is called for each mark that it writes, `on_exit(exit)` after it has ended and
    all its output has been read.
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
    def exists(self) -> bool:
        return self._running is not None

    @property
    def handle(self) -> dict[str, Any]:
        """The handle by which a later engine adopts the process, which must exist."""
        assert self._running is not None
        return self._running.handle

    @property
    def spawned(self) -> timeline.Mark:
        """The mark of the start of the process, which must exist."""
        assert self._running is not None
        return self._running.spawned

    def start(self, launcher: Launcher, make_launch: MakeLaunch, marks: bool) -> None:
        """Start what `make_launch(stdout, stderr, pass_fds)` returns. With `marks`, `pass_fds` has
        the pipe for marks.

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
                launch = make_launch(ends[0], ends[1], passed)
                self._running = launcher.start(launch, self._handle_exit)
        except (LaunchFailed, OSError):
            self._close_pipes()
            raise

    def adopt(self, launcher: Launcher, task_id: str, handle: dict[str, Any] | None) -> bool:
        """Adopt the process that an earlier engine started; return False when it is gone."""
        try:
            self._open_pipes()
        except OSError:
            return False
        self._running = launcher.adopt(task_id, handle, self._handle_exit)
        if self._running is None:
            self._close_pipes()
        return self.exists

    def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM to the process and its group, and SIGKILL after the grace period."""
        if self._running is not None:
            self._running.stop(signal.SIGTERM)
            self.kill_after(grace_seconds)

    def kill(self) -> None:
        """Send SIGKILL to the process and its group."""
        if self._running is not None:
            self._running.stop(signal.SIGKILL)

    def kill_after(self, seconds: float) -> None:
        """Kill it unless it ends by itself within `seconds`."""
        self._deadline.set(seconds, self.kill)

    def _handle_exit(self, ended: Exit) -> None:
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
    """The seconds between SIGTERM and SIGKILL for tasks of an app."""
    return float(definition.get("taskKillGracePeriodSeconds", DEFAULT_GRACE_SECONDS))
