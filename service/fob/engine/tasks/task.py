"""One task: a process with its state, its ports, its files and its timeline."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fob import timeline
from fob.contract import LISTENING, PERMANENT_FAILURES
from fob.engine import states
from fob.engine.definitions.app_definitions import (
    Definition,
    activated,
    command_of,
    on_demand,
)
from fob.engine.definitions.checks import health_checks, start_timeout
from fob.engine.definitions.containers import container_of
from fob.engine.runtime.activation_sockets import ActivationSocket
from fob.engine.runtime.docker.lifecycle import CONTAINER_MARKS
from fob.engine.runtime.launcher import (
    Exit,
    Launch,
    Launcher,
    LaunchFailed,
)
from fob.engine.runtime.task_folders import TaskFolder, TaskFolders, Timeline
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import TaskRecord
from fob.engine.tasks.check_results import Health, Readiness
from fob.engine.tasks.deadline import Deadline
from fob.engine.tasks.process import Process, grace_seconds

OnChange = Callable[["Task", str], None]
OnProcess = Callable[["Task"], None]


class Task:
    """A task of an app at one version of its `definition`.

    `on_change(task, message)` is called after every change of state, `on_process(task)` when one
    that runs has another process or has come to rest, without one; `record` is what the store
    should then hold. A task that failed before it was ready, in a way that another try would
    repeat, is `hopeless`. Its `door` is the socket it listens on, while that is the engine's too.
    `held` are the ports of a `container` until that takes them. In `health` is what health checks
    have found, if any are to be performed; in `readiness` what the app's readiness checks have, if
    somebody waits for them.
    """

    def __init__(
        self,
        record: TaskRecord,
        definition: Definition,
        folders: TaskFolders,
        on_change: OnChange,
        on_process: OnProcess,
    ) -> None:
        self.record = record
        self.definition = definition
        self.hopeless = False
        self.door: ActivationSocket | None = None
        self.folder = TaskFolder(folders.of_task(record.id))
        self._folders = folders
        self._on_change = on_change
        self._on_process = on_process
        self._timeline = Timeline(self.folder)
        self._process = Process(self.folder, self._marked, self._exited)
        self._deadline = Deadline()
        self._failed_because = ""
        self._staged = False
        self._goes_to_rest = False
        self.container = container_of(definition, record.ports)
        self.held: tuple[socket.socket, ...] = ()
        checks = () if activated(definition) else health_checks(definition)
        self.health = [Health(check) for check in checks]
        self.readiness: list[Readiness] = []

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

    @property
    def healthy(self) -> bool:
        """True when it runs and every check has found it well, the last time it looked."""
        return self.ready and all(health.alive for health in self.health)

    @property
    def unhealthy(self) -> bool:
        """True when a check says so; not as long as none has anything to say."""
        return self.ready and any(health.known and not health.alive for health in self.health)

    @property
    def fit(self) -> bool:
        """True when it can take the place of another."""
        return self.healthy and all(readiness.ready for readiness in self.readiness)

    @property
    def at_rest(self) -> bool:
        """True when it runs, and its process starts with the next call."""
        return self.ready and not self._process.there

    def stage(self) -> None:
        """Make its folder, unless that is done: what is prepared for it can be told there."""
        if not self._staged:
            begun = timeline.now("called" if self.ready else "placed")
            self._folders.create(self.record.id)
            self._timeline.add(begun, more_follows=True)
            self._staged = True

    def launch(self, launcher: Launcher, environment: dict[str, str]) -> None:
        """Start the process, which answers at the `door`."""
        try:
            self.stage()
            launch = partial(self._launch, environment)
            self._process.start(launcher, launch, marks=activated(self.definition))
        except (LaunchFailed, OSError) as error:
            self._enter(TaskState.FAILED, str(error))
            return
        self._timeline.add(self._process.spawned, more_follows=activated(self.definition))
        self._hand_over_door()
        self.record = replace(self.record, handle=self._process.handle)
        if self.ready:
            self._on_process(self)
        else:
            self._enter(TaskState.STARTING)
        self._start_goes_on()

    def cannot_start(self, reason: str, hopeless: bool = True) -> None:
        """It failed before there was a process, and if that is `hopeless` would again."""
        self.hopeless = hopeless
        self.folder.clean()
        self._enter(TaskState.FAILED, self.folder.with_stderr_tail(reason))

    def adopt(self, launcher: Launcher) -> bool:
        """Find the process an earlier engine started; False when it is gone."""
        if not self._process.adopt(launcher, self.record.id, self.record.handle):
            return False
        self.record = replace(self.record, handle=self._process.handle)
        if self.state is TaskState.STAGING:
            self._enter(TaskState.STARTING)
        if self.state is TaskState.STARTING:
            self._start_goes_on()
        return True

    def forget_process(self) -> None:
        """What is noted of its process is old."""
        self.record = replace(self.record, handle=None)

    def close_door(self) -> None:
        """Send away who waits there."""
        if self.door is not None:
            self.door.close()
            self.door = None

    def close_held(self) -> None:
        """Let go of ports that no container has taken."""
        for sock in self.held:
            sock.close()
        self.held = ()

    def kill(self, reason: str = "", failed: bool = False) -> None:
        """Ask it to stop: SIGTERM, then SIGKILL after the grace period, to its whole group.

        With `failed` it will have ended as TASK_FAILED because of `reason`.
        """
        if not self.alive:
            return
        self._failed_because = reason if failed else ""
        self._enter(TaskState.KILLING, reason)
        if not self._process.there:
            self.folder.clean()
            self._enter(TaskState.KILLED, reason)
            return
        if not failed:  # nobody will take over here: who came before it stops is served by it
            self.close_door()
        self._stop()

    def rest(self) -> None:
        """Have it come to rest now; who has called it is still answered."""
        self._goes_to_rest = True
        if self._process.there:
            self._stop()
        else:
            self._came_to_rest()

    def take_back(self, door: ActivationSocket) -> bool:
        """Its process hands back the door, and will end: True if that is all right."""
        if not (self.ready and self._process.there and on_demand(self.definition)):
            return False
        if self.door:
            self.door.take_connections(door)
        else:
            self.door = door
        self._goes_to_rest = True
        self.mark("resting")
        self._deadline.cancel()
        self._process.expect_end(grace_seconds(self.definition))
        return True

    def stop_hard(self) -> None:
        """Kill the process and its group at once."""
        self._process.stop_hard()

    def mark(self, name: str) -> None:
        """Stamp the mark `name` into its timeline, now."""
        self._timeline.add(timeline.now(name))

    def tell(self, data: bytes) -> None:
        """Add to its standard error, on behalf of what is prepared for it."""
        self.folder.append("stderr", data)

    def _launch(
        self, environment: dict[str, str], stdout: int, stderr: int, passed: dict[str, int]
    ) -> Launch:
        """What to start, with these descriptors of its pipes."""
        if self.door is not None:
            passed = passed | self.door.pass_fds(on_demand=on_demand(self.definition))
        held, self.held = self.held, ()
        return Launch(
            task_id=self.record.id,
            command=command_of(self.definition),
            environment=environment,
            sandbox=self.folder.sandbox,
            stdout=stdout,
            stderr=stderr,
            pass_fds=passed,
            launcher=self.definition["labels"].get("FOB_LAUNCHER", ""),
            container=self.container,
            reserved_ports=held,
        )

    def _start_goes_on(self) -> None:
        """There is a process: it says when it is ready, or a container's life does; of any other
        nothing more is known."""
        if activated(self.definition):
            self._deadline.set(start_timeout(self.definition), self._start_is_overdue)
        elif not self.container:
            self._is_ready()

    def _start_is_overdue(self) -> None:
        self.hopeless = not self.ready
        seconds = start_timeout(self.definition)
        self.kill(f"did not become ready within {seconds:g} seconds of its start", failed=True)

    def _marked(self, mark: timeline.Mark) -> None:
        if mark.name == LISTENING and self.ready:  # woken
            self._deadline.cancel()
        elif mark.name in self._ready_marks() and self.state is TaskState.STARTING:
            self._is_ready()
        self._timeline.add(mark, more_follows=True)
        if self.ready:  # who waits for that is told first
            asyncio.get_running_loop().call_soon(self._timeline.write)

    def _ready_marks(self) -> tuple[str, ...]:
        says = self.container is None or self.container.notifies
        return (LISTENING,) if says else CONTAINER_MARKS

    def _is_ready(self) -> None:
        self._deadline.cancel()
        self.record = replace(self.record, started_at=timeline.utc_now())
        self._enter(TaskState.RUNNING)

    def _exited(self, ended: Exit) -> None:
        self._deadline.cancel()
        self.mark("exited")
        self.folder.clean()
        if self._goes_to_rest and self.ready:
            self._came_to_rest()
        elif self.state is TaskState.KILLING and not self._failed_because:
            self._enter(TaskState.KILLED)
        elif self._failed_because:
            self._enter(TaskState.FAILED, self.folder.with_stderr_tail(self._failed_because))
        elif ended.code == 0:
            self._enter(TaskState.FINISHED, "Command exited with status 0")
        else:
            self._note_hopeless(ended)
            self._enter(
                TaskState.FAILED, self.folder.with_stderr_tail(ended.reason or f"Command {ended}")
            )

    def _came_to_rest(self) -> None:
        self._goes_to_rest = self._staged = False
        self.forget_process()
        self._on_process(self)

    def _note_hopeless(self, ended: Exit) -> None:
        starting = self.state is TaskState.STARTING
        self.hopeless = starting and activated(self.definition) and ended.code in PERMANENT_FAILURES

    def _hand_over_door(self) -> None:
        if self.door is None:
            return
        if on_demand(self.definition):
            self.door.close_connections()
        else:
            self.close_door()

    def _stop(self) -> None:
        self._deadline.cancel()
        self._process.stop(grace_seconds(self.definition))

    def _enter(self, state: TaskState, message: str = "") -> None:
        """The one place where a task changes its state."""
        states.check_transition(self.state, state)
        self.record = replace(self.record, state=state)
        self._on_change(self, message)
