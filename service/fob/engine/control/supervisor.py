"""Reconciles running tasks with the desired state: starts missing tasks and stops surplus ones."""

import asyncio
from functools import partial

from fob.engine.control import recovery, rolling
from fob.engine.control.deployments import Deployments
from fob.engine.control.placement import Placements
from fob.engine.control.plans import Action, Kind
from fob.engine.control.recovery import Recovery
from fob.engine.control.reports import Reports
from fob.engine.control.staging import Staging
from fob.engine.control.starts import Starts
from fob.engine.definitions.app_definitions import Definition, on_demand
from fob.engine.health.probes import Probes
from fob.engine.health.task_checks import TaskChecks
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.environments import package_set_of
from fob.engine.runtime.launcher import Launcher
from fob.engine.runtime.resources import NoRoom
from fob.engine.runtime.task_folders import TaskFolders
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import AppRecord, Store, TaskRecord
from fob.engine.tasks import marathon_json
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task


class Supervisor:
    """All apps and tasks of this machine; nothing else starts tasks or changes `apps`."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        staging: Staging,
        placements: Placements,
        probes: Probes,
        reports: Reports,
        deployments: Deployments,
        folders: TaskFolders,
        activation_sockets: ActivationSockets,
    ) -> None:
        self.apps: dict[str, App] = {}
        self.host, self.agent_id = reports.host, reports.agent_id
        self.deployments = deployments
        deployments.connect(self._carry_out, self.readiness)
        self.folders = folders
        self._store = store
        self._staging = staging
        self._activation_sockets = activation_sockets
        self._starts = Starts(store, placements, activation_sockets, staging, self.reconcile)
        self._recovery = Recovery(store, launcher, placements, activation_sockets, self._new_task)
        self._checks = TaskChecks(probes, reports, self._reconcile_soon)
        self._reports = reports
        self._tasks: dict[str, Task] = {}  # including those of removed apps
        self._removed: dict[str, App] = {}  # whose tasks have not been stopped yet
        self._stopping = False
        self._all_ended = asyncio.Event()

    # the desired state

    def add(self, record: AppRecord) -> App:
        """Add an app; its tasks start when it is reconciled."""
        app = self.apps[record.definition["id"]] = App(record)
        return app

    def remove(self, app: App) -> None:
        """Remove `app`; its tasks are stopped when its deployment carries that out."""
        self._stop_removed(app.id)  # an earlier app with this id
        del self.apps[app.id]
        self._removed[app.id] = app
        self._starts.end_wait(app)

    def skip_backoff(self, app: App) -> None:
        """Start the app's next task now instead of after its backoff."""
        app.change(app.definition, app.version)
        self.reconcile(app)

    def retry_waiting(self) -> None:
        """Retry apps and tasks that wait: an obstacle outside this class may be gone."""
        self._room_appeared()

    def task(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def readiness(self, app_id: str) -> list[marathon_json.Json]:
        """Return the results of readiness checks of the app's tasks."""
        tasks = self.apps[app_id].tasks.values() if app_id in self.apps else ()
        return [each.json(task.record.id) for task in tasks for each in task.readiness]

    # start and stop of the engine

    async def recover(self) -> None:
        """Load the desired state, adopt the tasks that still run, resume the deployments that were
        in progress, and start what is missing."""
        for record in self._store.apps():
            self.add(record)
        recovery.resume_deployments(self.deployments, self._store, self.apps)
        self._activation_sockets.open(self._on_idle)
        for task_record in self._store.tasks():
            self._recover_task(task_record)
        self.folders.keep_only([*self.apps, *(task.record.app_id for task in self._tasks.values())])
        for app in list(self.apps.values()):
            self.folders.prune(app.id, app.tasks)
            self.reconcile(app)
            await asyncio.sleep(0)  # handle events of tasks in between: there can be thousands
        for app_id in recovery.removed_apps(self.deployments, self._tasks.values()):
            self._app_terminated(app_id, {})
        self._collect_environments()

    async def stop(self) -> None:
        """Stop every task; the next `recover` brings all of them back."""
        self._stopping = True
        for task in list(self._tasks.values()):
            if task.running and on_demand(task.definition):
                task.go_idle()
            else:
                task.kill("the engine stops")
        if self._tasks:
            await self._all_ended.wait()

    # reconciliation

    def reconcile(self, app: App) -> None:
        """Start and stop tasks of `app` to approach its desired state, as far as possible now."""
        if self._stopping or self.apps.get(app.id) is not app:
            return
        if self.deployments.postponed(app.id):
            return
        for task, reason in list(rolling.tasks_to_stop(app)):
            task.kill(reason)
        self._start_missing(app)
        if app.settled():
            self.deployments.app_settled(app.id)

    def _carry_out(self, action: Action) -> None:
        if action.kind is Kind.STOP:
            self._stop_removed(action.app_id)
        elif app := self.apps.get(action.app_id):
            self.reconcile(app)

    def _stop_removed(self, app_id: str) -> None:
        app = self._removed.pop(app_id, None)
        if app is None:
            return
        app.close_listeners()
        for task in list(app.tasks.values()):
            task.kill("the app was removed")
        if not app.tasks:
            self._app_terminated(app_id, app.definition)

    def _start_missing(self, app: App) -> None:
        while rolling.startable(app) and not app.held:
            if app.backoff.left_seconds() > 0:
                self._starts.back_off(app)
                return
            try:
                self._start_task(app)
            except NoRoom as no_room:
                self._starts.wait_for_room(app, no_room)
                return
        if not app.missing() or app.held:
            app.close_listeners()
        self._starts.end_wait(app)

    def _start_task(self, app: App) -> None:
        """Start one more task. Raises `NoRoom` when it cannot be placed now."""
        placement = self._starts.place(app)
        task = self._new_task(placement.record, app.definition)
        self._add_task(task)
        self._reports.status(task, "")
        self._starts.launch(task, placement)

    def _new_task(self, record: TaskRecord, definition: Definition) -> Task:
        return Task(record, definition, self.folders, self._task_changed, self._process_changed)

    def _add_task(self, task: Task) -> None:
        self._tasks[task.record.id] = task
        if app := self.apps.get(task.record.app_id):
            app.tasks[task.record.id] = task

    def _recover_task(self, record: TaskRecord) -> None:
        app = self.apps.get(record.app_id)
        task = self._recovery.find(record, app)
        if task is None:
            return
        self._add_task(task)
        if task.idle:
            self._starts.release_idle(task)
        elif app is None or record.state is TaskState.KILLING:
            recovery.stop_adopted(task)
        elif record.state is TaskState.RUNNING:
            deploying = self.deployments.of(app.id) is not None and record.version == app.version
            self._checks.resume(task, deploying)

    # changes of tasks

    def _task_changed(self, task: Task, message: str) -> None:
        log_and_store = partial(
            self._reports.log_and_store, task, task.state, message, keep_ended=self._stopping
        )
        if task.state is TaskState.RUNNING:
            # Clients wait for this event, so it is published before the state is stored. If the
            # engine dies in between, the next one learns the state from the mark: that is still in
            # the task's pipe, which removes it in the next turn of the loop too, but later.
            self._reports.status(task, message)
            asyncio.get_running_loop().call_soon(log_and_store)
            self._checks.begin(task, deploying=bool(self.deployments.of(task.record.app_id)))
            self._reconcile_soon(task)
            return
        log_and_store()
        self._reports.status(task, message)
        self._checks.end(task)
        if task.state in ENDED:
            self._task_ended(task, message)

    def _task_ended(self, task: Task, message: str) -> None:
        app_id = task.record.app_id
        self._tasks.pop(task.record.id, None)
        self._starts.release(task)
        app = self.apps.get(app_id)
        if app is not None and app.tasks.pop(task.record.id, None) is not None:
            if task.state is not TaskState.KILLED:
                self._task_failed(app, task, message)
                self._leave_ports(app, task)
            self.folders.prune(app_id, app.tasks)
            self._reconcile_soon(task)
        task.close_activation_socket()
        task.close_reserved_ports()
        if app is None and not any(t.record.app_id == app_id for t in self._tasks.values()):
            self._app_terminated(app_id, task.definition)
        self._room_appeared()

    def _task_failed(self, app: App, task: Task, message: str) -> None:
        app.add_failure(self._reports.failure(task, message))
        if task.failed_permanently:
            app.held = True
            self.deployments.app_failed(app.id)
        else:
            self.deployments.task_failed(app.id)
            app.backoff.add_failure(app.definition, task.record.age_seconds)

    def _leave_ports(self, app: App, task: Task) -> None:
        """Leave the socket of a task on demand to its replacement: connections wait in the queue of
        the socket until the replacement accepts them."""
        if task.activation_socket and not task.failed_permanently:
            app.inherited_listeners.append(task.activation_socket.detach())
            task.activation_socket = None
        elif on_demand(task.definition):
            app.inherited_ports.append(task.record.ports)

    def _app_terminated(self, app_id: str, definition: Definition) -> None:
        """Clean up after a removed app, whose last task has ended."""
        if app_id not in self.apps:
            if package_set_of(definition):
                self._collect_environments()
            self.folders.remove(app_id)
            self.deployments.app_settled(app_id)
            self._reports.app_terminated(app_id)

    def _collect_environments(self) -> None:
        apps = [app.definition for app in self.apps.values()]
        self._staging.collect([*apps, *(task.definition for task in self._tasks.values())])

    def _process_changed(self, task: Task) -> None:
        """Handle that a running task has got a process, or has become idle."""
        self._reports.store(task)
        if not task.idle:
            return
        if self._stopping:
            self._tasks.pop(task.record.id, None)
            self._starts.release(task)
            task.close_activation_socket()
        else:
            self._starts.release_idle(task)
        self._room_appeared()

    def _on_idle(self, task_id: str, activation_socket: ActivationSocket) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and task.allow_idle(activation_socket)

    def _room_appeared(self) -> None:
        if not self._stopping:
            self._starts.retry_soon()
        elif not self._tasks:
            self._all_ended.set()

    def _reconcile_soon(self, task: Task) -> None:
        app = self.apps.get(task.record.app_id)
        if app is not None:
            asyncio.get_running_loop().call_soon(self.reconcile, app)
