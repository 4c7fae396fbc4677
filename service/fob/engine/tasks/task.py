"""A task: its state, its process, its ports, its files and its timeline."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from fob import timeline
from fob.contract import LISTENING, PERMANENT_FAILURES
from fob.engine import states
from fob.engine.definitions.app_definitions import Definition, activated, command_of, on_demand
from fob.engine.definitions.checks import health_checks, start_timeout
from fob.engine.definitions.containers import container_of
from fob.engine.runtime.activation_sockets import ActivationSocket
from fob.engine.runtime.docker.lifecycle import CONTAINER_MARKS
from fob.engine.runtime.launcher import Exit, Launch, Launcher, LaunchFailed
from fob.engine.runtime.task_folders import TaskFolder, TaskFolders, Timeline
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import TaskRecord
from fob.engine.tasks.check_results import Health, Readiness
from fob.engine.tasks.deadline import Deadline
from fob.engine.tasks.process import Process, grace_seconds

OnChange = Callable[["Task", str], None]
OnProcess = Callable[["Task"], None]


class Task:
    """A task of an app, at one version of its `definition`.

    `on_change(task, message)` is called after every change of state, `on_process(task)` when a
    running task has got a new process or has become idle. In both, `record` is what the store
    should hold from then on.

    - `failed_permanently`: it failed before it was ready, in a way that a retry would repeat.
    - `activation_socket`: its listening socket, if the engine has a copy of it.
    - `reserved_ports`: sockets that keep the ports of a `container` bound until it takes them.
    - `health`: results of health checks, if the engine performs any.
    - `readiness`: results of readiness checks, while a deployment waits for them.
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
        self.failed_permanently = False
        self.activation_socket: ActivationSocket | None = None
        self.folder = TaskFolder(folders.of_task(record.id))
        self._folders = folders
        self._on_change = on_change
        self._on_process = on_process
        self._timeline = Timeline(self.folder)
        self._process = Process(self.folder, self._handle_mark, self._handle_exit)
        self._deadline = Deadline()
        self._failure_reason = ""
        self._prepared = False
        self._going_idle = False
        self.container = container_of(definition, record.ports)
        self.reserved_ports: tuple[socket.socket, ...] = ()
        checks = () if activated(definition) else health_checks(definition)
        self.health = [Health(check) for check in checks]
        self.readiness: list[Readiness] = []

    @property
    def state(self) -> TaskState:
        return self.record.state

    @property
    def alive(self) -> bool:
        """True unless it has ended or is being killed."""
        return self.state not in ENDED and self.state is not TaskState.KILLING

    @property
    def running(self) -> bool:
        return self.state is TaskState.RUNNING

    @property
    def healthy(self) -> bool:
        """True when it runs and the latest result of each of its health checks is good."""
        return self.running and all(health.alive for health in self.health)

    @property
    def unhealthy(self) -> bool:
        """True when a health check has failed; not before the first result."""
        return self.running and any(health.known and not health.alive for health in self.health)

    @property
    def available(self) -> bool:
        """True when it is healthy and ready, so that it can replace an older task."""
        return self.healthy and all(readiness.ready for readiness in self.readiness)

    @property
    def idle(self) -> bool:
        """True when it runs without a process: the next call starts one."""
        return self.running and not self._process.exists

    def prepare_folder(self) -> None:
        """Create its folder, once per start; output can be written there before the launch."""
        if not self._prepared:
            begun = timeline.now("called" if self.running else "placed")
            self._folders.create(self.record.id)
            self._timeline.add(begun, more_follows=True)
            self._prepared = True

    def launch(self, launcher: Launcher, environment: dict[str, str]) -> None:
        """Start the process. If that fails, so does the task."""
        try:
            self.prepare_folder()
            make_launch = partial(self._make_launch, environment)
            self._process.start(launcher, make_launch, marks=activated(self.definition))
        except (LaunchFailed, OSError) as error:
            self._enter(TaskState.FAILED, str(error))
            return
        self._timeline.add(self._process.spawned, more_follows=activated(self.definition))
        self._close_inherited_sockets()
        self.record = replace(self.record, handle=self._process.handle)
        if self.running:
            self._on_process(self)
        else:
            self._enter(TaskState.STARTING)
        self._await_ready()

    def fail_to_start(self, reason: str, permanent: bool = True) -> None:
        """Fail before there is a process; if `permanent`, a retry would fail the same way."""
        self.failed_permanently = permanent
        self.folder.clean()
        self._enter(TaskState.FAILED, self.folder.with_stderr_tail(reason))

    def adopt(self, launcher: Launcher) -> bool:
        """Adopt the process that an earlier engine started; return False when it is gone."""
        if not self._process.adopt(launcher, self.record.id, self.record.handle):
            return False
        self.record = replace(self.record, handle=self._process.handle)
        if self.state is TaskState.STAGING:
            self._enter(TaskState.STARTING)
        if self.state is TaskState.STARTING:
            self._await_ready()
        return True

    def forget_process(self) -> None:
        """Drop the handle from its record: that process is gone."""
        self.record = replace(self.record, handle=None)

    def close_activation_socket(self) -> None:
        """Close the engine's copy. If it was the last one, queued connections are reset."""
        if self.activation_socket is not None:
            self.activation_socket.close()
            self.activation_socket = None

    def close_reserved_ports(self) -> None:
        """Release ports that no container has taken."""
        for sock in self.reserved_ports:
            sock.close()
        self.reserved_ports = ()

    def kill(self, reason: str = "", failed: bool = False) -> None:
        """Stop it: SIGTERM, then SIGKILL after the grace period, to its whole process group.

        With `failed` it ends as TASK_FAILED, because of `reason`, instead of TASK_KILLED.
        """
        if not self.alive:
            return
        self._failure_reason = reason if failed else ""
        self._enter(TaskState.KILLING, reason)
        if not self._process.exists:
            self.folder.clean()
            self._enter(TaskState.KILLED, reason)
            return
        if not failed:
            # No replacement inherits this socket. Once the process closes its copy too, new clients
            # are refused; it still serves the connections that it accepted before.
            self.close_activation_socket()
        self._stop()

    def go_idle(self) -> None:
        """Stop the process so that the task becomes idle; calls in flight are served first."""
        self._going_idle = True
        if self._process.exists:
            self._stop()
        else:
            self._become_idle()

    def allow_idle(self, activation_socket: ActivationSocket) -> bool:
        """Take the sockets of its process, which will exit; False if the task may not go idle."""
        if not (self.running and self._process.exists and on_demand(self.definition)):
            return False
        if self.activation_socket:
            self.activation_socket.take_connections(activation_socket)
        else:
            self.activation_socket = activation_socket
        self._going_idle = True
        self.mark("resting")
        self._deadline.cancel()
        self._process.kill_after(grace_seconds(self.definition))
        return True

    def kill_now(self) -> None:
        """Send SIGKILL to the process and its group."""
        self._process.kill()

    def mark(self, name: str) -> None:
        """Write the mark `name` with the current time to its timeline."""
        self._timeline.add(timeline.now(name))

    def write_stderr(self, data: bytes) -> None:
        """Append to its standard error; for programs that prepare its start."""
        self.folder.append("stderr", data)

    def _make_launch(
        self, environment: dict[str, str], stdout: int, stderr: int, passed: dict[str, int]
    ) -> Launch:
        """Return what to start, with these descriptors."""
        if self.activation_socket is not None:
            inherited = self.activation_socket.pass_fds(on_demand=on_demand(self.definition))
            passed = passed | inherited
        reserved_ports, self.reserved_ports = self.reserved_ports, ()
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
            reserved_ports=reserved_ports,
        )

    def _await_ready(self) -> None:
        """Wait for the mark that says that the process is ready. A process without marks counts as
        ready at once, and a container when Docker has started it."""
        if activated(self.definition):
            self._deadline.set(start_timeout(self.definition), self._start_timed_out)
        elif not self.container:
            self._become_running()

    def _start_timed_out(self) -> None:
        self.failed_permanently = not self.running
        seconds = start_timeout(self.definition)
        self.kill(f"did not become ready within {seconds:g} seconds of its start", failed=True)

    def _handle_mark(self, mark: timeline.Mark) -> None:
        if mark.name == LISTENING and self.running:  # an idle task that was called
            self._deadline.cancel()
        elif mark.name in self._ready_marks() and self.state is TaskState.STARTING:
            self._become_running()
        self._timeline.add(mark, more_follows=True)
        if self.running:  # written after the clients that wait for this task have been notified
            asyncio.get_running_loop().call_soon(self._timeline.write)

    def _ready_marks(self) -> tuple[str, ...]:
        notifies = self.container is None or self.container.notifies
        return (LISTENING,) if notifies else CONTAINER_MARKS

    def _become_running(self) -> None:
        self._deadline.cancel()
        self.record = replace(self.record, started_at=timeline.utc_now())
        self._enter(TaskState.RUNNING)

    def _handle_exit(self, ended: Exit) -> None:
        self._deadline.cancel()
        self.mark("exited")
        self.folder.clean()
        if self._going_idle and self.running:
            self._become_idle()
        elif self.state is TaskState.KILLING and not self._failure_reason:
            self._enter(TaskState.KILLED)
        elif self._failure_reason:
            self._enter(TaskState.FAILED, self.folder.with_stderr_tail(self._failure_reason))
        elif ended.code == 0:
            self._enter(TaskState.FINISHED, "Command exited with status 0")
        else:
            self.failed_permanently = self._is_permanent(ended)
            reason = ended.reason or f"Command {ended}"
            self._enter(TaskState.FAILED, self.folder.with_stderr_tail(reason))

    def _become_idle(self) -> None:
        self._going_idle = self._prepared = False
        self.forget_process()
        self._on_process(self)

    def _is_permanent(self, ended: Exit) -> bool:
        starting = self.state is TaskState.STARTING
        return starting and activated(self.definition) and ended.code in PERMANENT_FAILURES

    def _close_inherited_sockets(self) -> None:
        """Close the engine's copies of what the new process has inherited; the listening socket of
        a task on demand stays open for the next process."""
        if self.activation_socket is None:
            return
        if on_demand(self.definition):
            self.activation_socket.close_connections()
        else:
            self.close_activation_socket()

    def _stop(self) -> None:
        self._deadline.cancel()
        self._process.stop(grace_seconds(self.definition))

    def _enter(self, state: TaskState, message: str = "") -> None:
        """Change the state; the only place that does."""
        states.check_transition(self.state, state)
        self.record = replace(self.record, state=state)
        self._on_change(self, message)
