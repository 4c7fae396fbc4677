"""Recovery of what an earlier engine left: its tasks, running or idle, and its deployments."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from fob.engine.control.deployment import creation
from fob.engine.control.deployments import Deployments
from fob.engine.control.placement import Placements
from fob.engine.control.plans import Kind
from fob.engine.definitions.app_definitions import Definition, on_demand
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.launcher import Launcher
from fob.engine.runtime.resources import NoRoom
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import Store, TaskRecord
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task

NewTask = Callable[[TaskRecord, Definition], Task]


class Recovery:
    """Finds tasks by their stored records: adopts running processes, and reopens the sockets of
    idle tasks. It starts no process. `new_task(record, definition)` makes a task."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        placements: Placements,
        activation_sockets: ActivationSockets,
        new_task: NewTask,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._placements = placements
        self._activation_sockets = activation_sockets
        self._new_task = new_task

    def find(self, record: TaskRecord, app: App | None) -> Task | None:
        """Return the task of this record. If it is gone, return None and leave its ports to the
        replacement. `app` is None when the app was removed."""
        definition = app and self._definition(app, record.version)
        if record.state not in ENDED and (definition or app is None):
            task = self._new_task(record, definition or _minimal_definition(record))
            if self._is_running(task) or self._is_idle(task):
                return task
        self._store.remove_task(record.id)
        if app is not None:
            app.inherited_ports.append(record.ports)
        return None

    def _definition(self, app: App, version: str) -> Definition | None:
        if version == app.version:
            return app.definition  # the same object: an app can have many tasks
        return self._store.definition(app.id, version)

    def _is_running(self, task: Task) -> bool:
        # a task that may be idle, and without a handle, is tried as idle first
        has_process = task.record.handle is not None or not _may_be_idle(task)
        return has_process and self._adopt(task)

    def _is_idle(self, task: Task) -> bool:
        """True when the task is idle now. Its process, if the record has one, is gone."""
        if not _may_be_idle(task):
            return False
        try:
            listener = self._placements.reopen(task.record)
        except NoRoom:
            # Its own process has the port: the engine died after the start of the process and
            # before it could store the handle. So the launcher looks for it without one.
            task.forget_process()
            return self._adopt(task)
        task.activation_socket = ActivationSocket(self._activation_sockets, listener)
        task.folder.clean()
        return True

    def _adopt(self, task: Task) -> bool:
        adopted = task.adopt(self._launcher)
        if adopted:
            self._placements.adopt(task.record)
        return adopted


def stop_adopted(task: Task) -> None:
    """Stop an adopted task whose app was removed, or that was already being killed."""
    if task.state is TaskState.KILLING:  # the engine died before it could send SIGKILL
        task.kill_now()
    else:
        task.kill("the app was removed")


def resume_deployments(deployments: Deployments, store: Store, apps: Mapping[str, App]) -> None:
    """Resume all deployments in progress, before their apps are reconciled.

    The creation of a single app is not stored, and neither is its end. It counts as in progress
    until all tasks of the app have run, if none has failed; after a failure it is stored.
    """
    deployments.recover({app_id: app.definition for app_id, app in apps.items()})
    for app in _not_all_have_run(store, apps.values()):
        if deployments.of(app.id) is None and len(store.versions(app.id)) == 1:
            deployments.resume(creation(app.definition))
    for app in apps.values():
        if app.held:  # the engine was killed before it could end the deployment
            deployments.app_failed(app.id)


def removed_apps(deployments: Deployments, tasks: Iterable[Task]) -> list[str]:
    """Return the apps that a deployment was removing and that have none of these tasks."""
    left = {task.record.app_id for task in tasks}
    actions = [action for deployment in deployments.all() for action in deployment.step]
    return [a.app_id for a in actions if a.kind is Kind.STOP and a.app_id not in left]


def _may_be_idle(task: Task) -> bool:
    return task.running and on_demand(task.definition)


def _minimal_definition(record: TaskRecord) -> Definition:
    """Return enough of a definition to stop a task whose app was removed."""
    empty: Definition = {"healthChecks": [], "readinessChecks": [], "portDefinitions": []}
    return empty | {"id": record.app_id, "labels": {}}


def _not_all_have_run(store: Store, apps: Iterable[App]) -> Iterator[App]:
    have_run = Counter(record.app_id for record in store.tasks() if record.started_at)
    return (app for app in apps if have_run[app.id] < app.instances and not app.failures)
