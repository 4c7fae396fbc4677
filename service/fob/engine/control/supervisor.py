"""What runs is made to be what is wanted: places tasks, watches them, and starts them again."""

import asyncio
from functools import partial

from fob.engine.control import recovery, resuming, rolling
from fob.engine.control.activation import Activation
from fob.engine.control.deployments import Deployments
from fob.engine.control.pacing import Pacing
from fob.engine.control.placement import Placements
from fob.engine.control.plans import Action, Kind
from fob.engine.control.recovery import Recovery
from fob.engine.control.reports import Reports
from fob.engine.control.staging import Staging
from fob.engine.control.starts import Starts
from fob.engine.control.waits import Waits
from fob.engine.control.watching import Watching
from fob.engine.definitions.app_definitions import Definition, on_demand
from fob.engine.health.probes import Probes
from fob.engine.runtime.activation_sockets import ActivationSocket, ActivationSockets
from fob.engine.runtime.environments import package_set_of
from fob.engine.runtime.launcher import Launcher
from fob.engine.runtime.resources import NoRoom
from fob.engine.runtime.task_folders import TaskFolders
from fob.engine.states import ENDED, TaskState
from fob.engine.store.records import AppRecord, Store, TaskRecord
from fob.engine.tasks import marathon_json
from fob.engine.tasks.app import App, Waiting
from fob.engine.tasks.task import Task


class Supervisor:
    """All apps and all tasks of this machine; the only one who starts and stops them."""

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
        doors: ActivationSockets,
    ) -> None:
        self.apps: dict[str, App] = {}
        self.host, self.agent_id = reports.host, reports.agent_id
        self.deployments = deployments
        deployments.carried_out_by(Pacing(self._carry_out).begin, self.readiness)
        self.folders = folders
        self._store = store
        self._staging = staging
        self._placements = placements
        self._doors = doors
        self._activation = Activation(placements, staging)
        self._starts = Starts(store, placements, doors, self._activation, reports, self._new_task)
        self._recovery = Recovery(store, launcher, placements, doors, self._new_task)
        self._watching = Watching(probes, reports, self._reconcile_soon)
        self._reports = reports
        self._tasks: dict[str, Task] = {}  # with those whose app is gone
        self._leaving: dict[str, App] = {}  # forgotten, and their tasks not told yet
        self._waits = Waits(self.reconcile)
        self._retry_scheduled = False
        self._stopping = False
        self._all_ended = asyncio.Event()

    # what is wanted

    def enter(self, record: AppRecord) -> App:
        """Want an app from now on; its tasks start when it is reconciled."""
        app = self.apps[record.definition["id"]] = App(record)
        return app

    def forget(self, app: App) -> None:
        """Want `app` no more; its tasks stop when they are told to."""
        self._stop_leaving(app.id)  # one of this id that went before
        del self.apps[app.id]
        self._leaving[app.id] = app
        self._waits.end(app)

    def skip_backoff(self, app: App) -> None:
        """Try at once what would be tried later."""
        app.change(app.definition, app.version)
        self.reconcile(app)

    def try_waiting(self) -> None:
        """Something may be there now that was not: look again at who waits for it."""
        self._room_appeared()

    def task(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def readiness(self, app_id: str) -> list[marathon_json.Json]:
        """What readiness checks have found of the app's tasks, while somebody waits for them."""
        tasks = self.apps[app_id].tasks.values() if app_id in self.apps else ()
        return [each.json(task.record.id) for task in tasks for each in task.readiness]

    # from the state folder, and back into it

    async def recover(self) -> None:
        """Find what was wanted and what still runs of it; start what is missing, in the order of
        the deployments that were under way. A process is adopted, never started twice."""
        for record in self._store.apps():
            self.enter(record)
        resuming.resume(self.deployments, self._store, self.apps)
        self._doors.open(self._door_came_back)
        for task_record in self._store.tasks():
            self._recover_task(task_record)
        self.folders.keep_only([*self.apps, *(task.record.app_id for task in self._tasks.values())])
        for app in list(self.apps.values()):
            self.folders.prune(app.id, app.tasks)
            self.reconcile(app)
            await asyncio.sleep(0)  # the API answers in between
        for app_id in resuming.removed(self.deployments, self._tasks.values()):
            self._gone(app_id, {})
        self._collect()

    async def stop(self) -> None:
        """Stop every task; all of them come back at the next `recover`."""
        self._stopping = True
        for task in list(self._tasks.values()):
            if task.ready and on_demand(task.definition):
                task.rest()
            else:
                task.kill("the engine stops")
        if self._tasks:
            await self._all_ended.wait()

    # making it so

    def reconcile(self, app: App) -> None:
        """Bring the tasks of `app` nearer to what is wanted, as far as is possible now."""
        if self._stopping or self.apps.get(app.id) is not app:
            return
        if self.deployments.postponed(app.id):
            return
        for task, why in list(rolling.superfluous(app)):
            task.kill(why)
        self._start_missing(app)
        if app.settled():
            self.deployments.done(app.id)

    def _carry_out(self, action: Action) -> None:
        if action.kind is Kind.STOP:
            self._stop_leaving(action.app_id)
        elif app := self.apps.get(action.app_id):
            self.reconcile(app)

    def _stop_leaving(self, app_id: str) -> None:
        app = self._leaving.pop(app_id, None)
        if app is None:
            return
        app.close_listeners()
        for task in list(app.tasks.values()):
            task.kill("the app was removed")
        if not app.tasks:
            self._gone(app_id, app.definition)

    def _start_missing(self, app: App) -> None:
        while rolling.startable(app) and not app.held:
            if app.backoff.left_seconds() > 0:
                self._waits.back_off(app)
                return
            try:
                self._starts.start(app, self._add_task)
            except NoRoom as no_room:
                self._waits.begin(app, Waiting(no_room.reason, no_room.message))
                return
        if not app.missing() or app.held:
            app.close_listeners()
        self._waits.end(app)

    def _new_task(self, record: TaskRecord, definition: Definition) -> Task:
        return Task(record, definition, self.folders, self._task_changed, self._process_changed)

    def _add_task(self, task: Task) -> None:
        self._tasks[task.record.id] = task
        if app := self.apps.get(task.record.app_id):
            app.tasks[task.record.id] = task

    def _retry_waiting(self) -> None:
        """Room has appeared: try again those who wait for it, the longest waiting first."""
        self._retry_scheduled = False
        self._activation.room_appeared()
        for app in self._waits.for_room():
            self.reconcile(app)

    # what tasks tell

    def _task_changed(self, task: Task, message: str) -> None:
        note = partial(self._reports.note, task, task.state, message, for_next=self._stopping)
        if task.state is TaskState.RUNNING:
            # somebody waits for that; until it is kept, its mark tells it to another engine
            self._reports.status(task, message)
            asyncio.get_running_loop().call_soon(note)
            self._watching.runs(task, deployed=bool(self.deployments.of(task.record.app_id)))
            self._reconcile_soon(task)
            return
        note()
        self._reports.status(task, message)
        self._watching.end(task)
        if task.state in ENDED:
            self._ended(task, message)

    def _ended(self, task: Task, message: str) -> None:
        app_id = task.record.app_id
        self._let_go(task)
        self._placements.give_back(task.record.id)
        app = self.apps.get(app_id)
        if app is not None and app.tasks.pop(task.record.id, None) is not None:
            if task.state is not TaskState.KILLED:
                self._failed(app, task, message)
                self._pass_on_door(app, task)
            self.folders.prune(app_id, app.tasks)
            self._reconcile_soon(task)
        task.close_door()
        task.close_held()
        if app is None and not any(t.record.app_id == app_id for t in self._tasks.values()):
            self._gone(app_id, task.definition)
        self._room_appeared()

    def _failed(self, app: App, task: Task, message: str) -> None:
        app.failed(self._reports.failure(task, message))
        if task.hopeless:
            app.held = True
            self.deployments.fail(app.id)
        else:
            self.deployments.has_failure(app.id)
            app.backoff.failed(app.definition, task.record.age_seconds)

    def _pass_on_door(self, app: App, task: Task) -> None:
        """The task that comes after one that runs on demand answers at the same door."""
        if task.door and not task.hopeless:
            app.listeners.append(task.door.detach())
            task.door = None
        elif on_demand(task.definition):
            app.ports_before.append(task.record.ports)

    def _let_go(self, task: Task) -> None:
        self._tasks.pop(task.record.id, None)
        self._staging.ended(task)
        self._activation.ended(task)

    def _gone(self, app_id: str, definition: Definition) -> None:
        """The last task of an app that was removed has ended."""
        if app_id not in self.apps:
            if package_set_of(definition):
                self._collect()
            self.folders.remove(app_id)
            self.deployments.done(app_id)
            self._reports.gone(app_id)

    def _collect(self) -> None:
        """Environments that no app or task needs may go."""
        apps = [app.definition for app in self.apps.values()]
        self._staging.collect([*apps, *(task.definition for task in self._tasks.values())])

    def _process_changed(self, task: Task) -> None:
        """A task that runs has been woken, or has come to rest."""
        self._reports.keep(task)
        if not task.at_rest:
            return
        if self._stopping:
            self._let_go(task)
            task.close_door()
        else:
            self._activation.rest(task)
        self._room_appeared()

    def _door_came_back(self, task_id: str, door: ActivationSocket) -> bool:
        task = self._tasks.get(task_id)
        return task is not None and task.take_back(door)

    def _room_appeared(self) -> None:
        if self._stopping:
            if not self._tasks:
                self._all_ended.set()
        elif (self._waits or self._activation.waiting) and not self._retry_scheduled:
            self._retry_scheduled = True
            asyncio.get_running_loop().call_soon(self._retry_waiting)

    def _reconcile_soon(self, task: Task) -> None:
        app = self.apps.get(task.record.app_id)
        if app is not None:
            asyncio.get_running_loop().call_soon(self.reconcile, app)

    def _recover_task(self, record: TaskRecord) -> None:
        app = self.apps.get(record.app_id)
        task = self._recovery.find(record, app)
        if task is None:
            return
        self._add_task(task)
        if task.at_rest:
            self._activation.rest(task)
        elif app is None or record.state is TaskState.KILLING:
            recovery.end_adopted(task)
        elif record.state is TaskState.RUNNING:
            deployed = self.deployments.of(app.id) is not None and record.version == app.version
            self._watching.adopted(task, deployed)
