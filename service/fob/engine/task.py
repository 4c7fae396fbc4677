"""One task: a process with its state, its ports, its files and its timeline."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from fob import timeline
from fob.engine import states
from fob.engine.definitions import Definition, activated
from fob.engine.files import Pipes, TaskFolder
from fob.engine.launchers import Exit, Launch, Launcher, LaunchFailed, Running
from fob.engine.states import ENDED, TaskState
from fob.engine.store import TaskRecord

KILL_GRACE_SECONDS = 3.0  # Marathon's, where the app does not say
START_SECONDS = 300.0  # Marathon's gracePeriodSeconds, where the app does not say
TAIL_BYTES = 4096  # of standard error, in the reason of a failure
HOLDING_CODES = (3, 4)  # "cannot be imported", "nothing to call": another try would end the same

OnChange = Callable[["Task", str], None]


class Task:
    """A task of an app at one version of its `definition`.

    `on_change(task, message)` is called after every change of state; `record` is what the store
    should then hold. A task that failed before it was ready, in a way that another try would
    repeat, is `hopeless`.
    """

    def __init__(
        self, record: TaskRecord, definition: Definition, path: Path, on_change: OnChange
    ) -> None:
        self.record = record
        self.definition = definition
        self.hopeless = False
        self.folder = TaskFolder(path)
        self._on_change = on_change
        self._pipes = Pipes(self.folder, self._marked)
        self._running: Running | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._failed_because = ""
        self._staged = False

    @property
    def state(self) -> TaskState:
        return self.record.state

    @property
    def alive(self) -> bool:
        """True while it may still come to run, or does."""
        return self.state not in ENDED and self.state is not TaskState.KILLING

    @property
    def ready(self) -> bool:
        return self.state is TaskState.RUNNING

    def stage(self) -> None:
        """Make its folder, unless that is done: what is prepared for it can be told there."""
        if not self._staged:
            placed = timeline.now("placed")
            self.folder.create()
            self.folder.mark(placed)
            self._staged = True

    def launch(
        self, launcher: Launcher, environment: dict[str, str], listener: socket.socket | None
    ) -> None:
        """Start the process; `listener` becomes its own, and stays the caller's to close."""
        try:
            self.stage()
            self._pipes.open()
            self._running = self._start(launcher, environment, listener)
        except (LaunchFailed, OSError) as error:
            self._pipes.close()
            self._enter(TaskState.FAILED, str(error))
            return
        self.folder.mark(self._running.spawned)
        self.record = replace(self.record, handle=self._running.handle)
        self._enter(TaskState.STARTING)
        if activated(self.definition):
            self._timer = self._later(self._start_seconds(), self._start_is_overdue)
        else:
            self._is_ready()

    def cannot_start(self, reason: str) -> None:
        """It failed before there was a process, and would again."""
        self.hopeless = True
        self.folder.clean()
        self._enter(TaskState.FAILED, self._why(reason))

    def adopt(self, launcher: Launcher) -> bool:
        """Find the process an earlier engine started; False when it is gone."""
        try:
            self._pipes.open()
        except OSError:
            return False
        self._running = launcher.adopt(self.record.id, self.record.handle, self._exited)
        if self._running is None:
            self._pipes.close()
            return False
        self.record = replace(self.record, handle=self._running.handle)
        if self.state is TaskState.STAGING:
            self._enter(TaskState.STARTING)
        if self.state is TaskState.STARTING:
            self._timer = self._later(self._start_seconds(), self._start_is_overdue)
        return True

    def kill(self, reason: str = "", failed: bool = False) -> None:
        """Ask it to stop: SIGTERM, then SIGKILL after the grace period, to its whole group.

        With `failed` it will have ended as TASK_FAILED because of `reason`.
        """
        if not self.alive:
            return
        self._failed_because = reason if failed else ""
        self._enter(TaskState.KILLING, reason)
        if self._running is None:
            self.folder.clean()
            self._enter(TaskState.KILLED, reason)
            return
        self._running.stop(signal.SIGTERM)
        grace = self.definition.get("taskKillGracePeriodSeconds", KILL_GRACE_SECONDS)
        self._timer = self._later(grace, self.stop_hard)

    def stop_hard(self) -> None:
        """Kill the process and its group at once."""
        if self._running is not None:
            self._running.stop(signal.SIGKILL)

    def mark(self, name: str) -> None:
        """Stamp the mark `name` into its timeline, now."""
        self.folder.mark(timeline.now(name))

    def tell(self, data: bytes) -> None:
        """Add to its standard error, on behalf of what is prepared for it."""
        self.folder.append("stderr", data)

    def release(self) -> None:
        """Stop watching; the process goes on by itself."""
        self._cancel_timer()
        if self._running is not None:
            self._running.release()
        self._pipes.close()

    def _start(
        self, launcher: Launcher, environment: dict[str, str], listener: socket.socket | None
    ) -> Running:
        with ExitStack() as closing:
            ends = {name: self._pipes.task_end(name) for name in ("stdout", "stderr")}
            for fd in ends.values():
                closing.callback(os.close, fd)
            passed: dict[str, int] = {}
            if activated(self.definition):
                passed["FOB_NOTIFY_FD"] = self._pipes.task_end("marks")
                closing.callback(os.close, passed["FOB_NOTIFY_FD"])
            if listener is not None:
                passed["FOB_LISTEN_FD"] = listener.fileno()
            launch = Launch(
                task_id=self.record.id,
                command=self._command(),
                environment=environment,
                sandbox=self.folder.sandbox,
                stdout=ends["stdout"],
                stderr=ends["stderr"],
                passed=passed,
                launcher=self.definition["labels"].get("FOB_LAUNCHER", ""),
            )
            return launcher.start(launch, self._exited)

    def _command(self) -> list[str]:
        if self.definition["cmd"] is not None:
            return ["/bin/sh", "-c", self.definition["cmd"]]
        arguments: list[str] = self.definition["args"]
        return arguments

    def _start_seconds(self) -> float:
        checks: list[dict[str, Any]] = self.definition["healthChecks"]
        return (
            float(checks[0].get("gracePeriodSeconds", START_SECONDS)) if checks else START_SECONDS
        )

    def _start_is_overdue(self) -> None:
        self.hopeless = True
        self.kill(
            f"did not become ready within {self._start_seconds():g} seconds of its start",
            failed=True,
        )

    def _marked(self, mark: timeline.Mark) -> None:
        self.folder.mark(mark)
        if mark.name == "listening" and self.state is TaskState.STARTING:
            self._is_ready()

    def _is_ready(self) -> None:
        self._cancel_timer()
        self.record = replace(self.record, started_at=timeline.utc_now())
        self._enter(TaskState.RUNNING)

    def _exited(self, ended: Exit) -> None:
        self._cancel_timer()
        self._running = None
        self._pipes.close()
        self.mark("exited")
        self.folder.clean()
        if self.state is TaskState.KILLING and not self._failed_because:
            self._enter(TaskState.KILLED)
        elif self._failed_because:
            self._enter(TaskState.FAILED, self._why(self._failed_because))
        elif ended.code == 0:
            self._enter(TaskState.FINISHED, "Command exited with status 0")
        else:
            self._note_hopeless(ended)
            self._enter(TaskState.FAILED, self._why(f"Command {ended}"))

    def _note_hopeless(self, ended: Exit) -> None:
        starting = self.state is TaskState.STARTING
        self.hopeless = starting and activated(self.definition) and ended.code in HOLDING_CODES

    def _why(self, reason: str) -> str:
        tail = self.folder.tail("stderr", TAIL_BYTES)
        return f"{reason}\n{tail}".rstrip() if tail else reason

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self._cancel_timer()
        return asyncio.get_running_loop().call_later(seconds, call)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _enter(self, state: TaskState, message: str = "") -> None:
        """The one place where a task changes its state."""
        states.check(self.state, state)
        self.record = replace(self.record, state=state)
        self._on_change(self, message)
