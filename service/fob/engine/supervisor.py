"""What runs is made to be what is wanted: places tasks, watches them, and starts them again."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from fob.engine import environment, refusals, wire
from fob.engine.app import App, Waiting
from fob.engine.definitions import Definition, activated
from fob.engine.deployments import Deployment, Deployments
from fob.engine.environments import needs_of
from fob.engine.events import Events
from fob.engine.files import TaskFolders
from fob.engine.launchers import Launcher
from fob.engine.placement import Placement, Placements
from fob.engine.refusals import Refusal
from fob.engine.resources import NoRoom
from fob.engine.staging import Staging
from fob.engine.states import ENDED, TaskState
from fob.engine.store import AppRecord, Store, TaskRecord
from fob.engine.task import Task
from fob.timeline import utc_now

log = logging.getLogger(__name__)


class Supervisor:
    """All apps and all tasks of this machine; the only one who starts and stops them."""

    def __init__(
        self,
        store: Store,
        launcher: Launcher,
        staging: Staging,
        placements: Placements,
        events: Events,
        deployments: Deployments,
        folders: TaskFolders,
        agent_id: str,
    ) -> None:
        self.apps: dict[str, App] = {}
        self.host = placements.host
        self.agent_id = agent_id
        self.deployments = deployments
        self.folders = folders
        self._store = store
        self._launcher = launcher
        self._staging = staging
        self._placements = placements
        self._events = events
        self._tasks: dict[str, Task] = {}  # with those whose app is gone
        self._waiting: dict[str, App] = {}
        self._retry_scheduled = False
        self._stopping = False
        self._all_ended = asyncio.Event()

    # what is wanted

    def create(self, definition: Definition) -> tuple[App, Deployment]:
        """A new app; raises `Refusal` 409 when its id is taken, 507 when it cannot be kept."""
        app_id = definition["id"]
        if app_id in self.apps:
            raise refusals.exists(app_id)
        self.deployments.check_unlocked(app_id, force=False)
        version = utc_now()
        definition = _stamped(definition, version, version)
        self._store.put_app(definition, version)
        app = self.apps[app_id] = App(AppRecord(definition, version, [], held=False))
        deployment = self.deployments.start(app_id, "StartApplication")
        self.reconcile(app)
        return app, deployment

    def change(self, app: App, definition: Definition, force: bool) -> Deployment:
        """Another definition for `app`; tasks are replaced unless only `instances` differs."""
        self.deployments.check_unlocked(app.id, force)
        version = _after(app.version)
        scaled = _without_scale(definition) == _without_scale(app.definition)
        since: str = app.definition["versionInfo"]["lastConfigChangeAt"] if scaled else version
        return self._apply(app, _stamped(definition, version, since), scaled)

    def restart(self, app: App, force: bool) -> Deployment:
        """Replace every task of `app`."""
        self.deployments.check_unlocked(app.id, force)
        version = _after(app.version)
        return self._apply(app, _stamped(app.definition, version, version), scaled=False)

    def remove(self, app: App, force: bool) -> Deployment:
        """Forget `app` now, then stop its tasks."""
        self.deployments.check_unlocked(app.id, force)
        self._store.remove_app(app.id)
        del self.apps[app.id]
        self._no_longer_waits(app)
        deployment = self.deployments.start(app.id, "StopApplication")
        for task in list(app.tasks.values()):
            task.kill("the app was removed")
        if not app.tasks:
            self._gone(app.id, app.definition)
        return deployment

    def kill(self, tasks: Iterable[Task], scale: bool, force: bool) -> list[Deployment]:
        """Stop `tasks`; they are replaced, unless `scale`: then their apps want fewer from now."""
        by_app: dict[str, list[Task]] = {}
        for task in tasks:
            by_app.setdefault(task.record.app_id, []).append(task)
        apps = [app for app_id in by_app if scale and (app := self.apps.get(app_id))]
        for app in apps:
            self.deployments.check_unlocked(app.id, force)
        for task in [task for group in by_app.values() for task in group]:
            task.kill("killed on request")
        return [self._fewer(app, len(by_app[app.id])) for app in apps]

    def _fewer(self, app: App, number: int) -> Deployment:
        instances = max(0, app.instances - number)
        return self.change(app, app.definition | {"instances": instances}, force=True)

    def skip_backoff(self, app: App) -> None:
        """Try at once what would be tried later."""
        app.change(app.definition, app.version)
        self.reconcile(app)

    def versions(self, app: App) -> list[str]:
        return self._store.versions(app.id)

    def definition(self, app: App, version: str) -> Definition | None:
        return self._store.definition(app.id, version)

    def task(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    # from the state folder, and back into it

    async def recover(self) -> None:
        """Find what was wanted and what still runs of it; start what is missing.

        A process is adopted, never started twice.
        """
        for record in self._store.apps():
            self.apps[record.definition["id"]] = App(record)
        for task_record in self._store.tasks():
            self._recover_task(task_record)
        self.folders.keep_only([*self.apps, *(task.record.app_id for task in self._tasks.values())])
        for app in self.apps.values():
            self.folders.prune(app.id, app.tasks)
        for app in list(self.apps.values()):
            self.reconcile(app)
            await asyncio.sleep(0)  # the API answers in between
        self._collect()

    async def stop(self) -> None:
        """Stop every task; all of them come back at the next `recover`."""
        self._stopping = True
        for task in list(self._tasks.values()):
            task.kill("the engine stops")
        if self._tasks:
            await self._all_ended.wait()

    # making it so

    def reconcile(self, app: App) -> None:
        """Bring the tasks of `app` nearer to what is wanted, as far as is possible now."""
        if self._stopping or self.apps.get(app.id) is not app:
            return
        for task in app.outdated():
            task.kill("replaced by a newer version")
        surplus = len(app.current()) - app.instances
        for task in app.current()[::-1][: max(0, surplus)]:
            task.kill("the app was scaled down")
        self._start_missing(app)
        if app.settled():
            self.deployments.end(app.id, succeeded=True)

    def _apply(self, app: App, definition: Definition, scaled: bool) -> Deployment:
        version: str = definition["version"]
        self._store.put_app(definition, version)
        app.change(definition, version)
        action = "ScaleApplication" if scaled else "RestartApplication"
        deployment = self.deployments.start(app.id, action)
        self.reconcile(app)
        return deployment

    def _start_missing(self, app: App) -> None:
        while app.missing() and not app.held:
            if app.backoff.left_seconds() > 0:
                self._back_off(app)
                return
            try:
                self._place(app)
            except NoRoom as no_room:
                self._wait(app, Waiting(no_room.reason, no_room.message))
                return
        self._no_longer_waits(app)

    def _place(self, app: App) -> None:
        """Start one more task. Raises `NoRoom` with nothing taken."""
        placement = self._placements.take(app)
        try:
            self._store.put_task(placement.record)
            self._launch(app, placement)
        except Refusal as full:
            self._placements.give_back(placement.record.id)
            raise NoRoom("InsufficientDisk", str(full)) from full
        finally:
            placement.close()

    def _launch(self, app: App, placement: Placement) -> None:
        record = placement.record
        task = self._add_task(app, record, app.definition)
        self._publish_status(task, "")
        listener = placement.hand_over() if activated(app.definition) else None
        placement.close(but=listener)  # the task binds its other ports itself
        variables = environment.for_task(record, app.definition, self.host, task.folder.sandbox)
        self._staging.launch(task, variables, listener)

    def _add_task(self, app: App | None, record: TaskRecord, definition: Definition) -> Task:
        task = Task(record, definition, self.folders.of_task(record.id), self._task_changed)
        self._tasks[record.id] = task
        if app is not None:
            app.tasks[record.id] = task
        return task

    # waiting

    def _wait(self, app: App, waiting: Waiting) -> None:
        before = app.waiting
        if before is None or before.reason != waiting.reason:
            log.info("%s waits: %s", app.id, waiting.message)
        app.waiting = replace(waiting, since=before.since if before else waiting.since)
        self._waiting[app.id] = app

    def _back_off(self, app: App) -> None:
        seconds = app.backoff.left_seconds()
        if app.waiting is None or app.waiting.reason:
            self._wait(app, Waiting("", f"backs off for {seconds:.1f} seconds after a failure"))
            asyncio.get_running_loop().call_later(seconds + 0.001, self.reconcile, app)

    def _no_longer_waits(self, app: App) -> None:
        app.waiting = None
        self._waiting.pop(app.id, None)

    def _retry_waiting(self) -> None:
        """Room has appeared: try again those who wait for it, the longest waiting first."""
        self._retry_scheduled = False
        for app in list(self._waiting.values()):
            if app.waiting is not None and app.waiting.reason:
                self.reconcile(app)

    # what tasks tell

    def _task_changed(self, task: Task, message: str) -> None:
        reason = message.partition("\n")[0]
        log.info("%s %s%s", task.record.id, task.state, reason and f": {reason}")
        self._keep(task)
        self._publish_status(task, message)
        if task.state in ENDED:
            self._ended(task, message)
        elif task.state is TaskState.RUNNING:
            self._publish_health(task)
            self._reconcile_soon(task)

    def _ended(self, task: Task, message: str) -> None:
        app_id = task.record.app_id
        self._tasks.pop(task.record.id, None)
        self._staging.ended(task)
        self._placements.give_back(task.record.id)
        app = self.apps.get(app_id)
        if app is not None and app.tasks.pop(task.record.id, None) is not None:
            if task.state is not TaskState.KILLED:
                self._failed(app, task, message)
            self.folders.prune(app_id, app.tasks)
            self._reconcile_soon(task)
        if app is None and not any(t.record.app_id == app_id for t in self._tasks.values()):
            self._gone(app_id, task.definition)
        self._room_appeared()

    def _failed(self, app: App, task: Task, message: str) -> None:
        failure = wire.failure(task, message, self.host, self.agent_id)
        app.failures.append(failure)
        try:
            self._store.put_failure(failure, task.hopeless)
        except Refusal as full:
            log.error("the failure of %s is not kept: %s", task.record.id, full)
        if task.hopeless:
            app.held = True
            self.deployments.end(app.id, succeeded=False)
        else:
            app.backoff.failed(app.definition, _age_seconds(task.record))

    def _gone(self, app_id: str, definition: Definition) -> None:
        """The last task of an app that was removed has ended."""
        if app_id not in self.apps:
            if needs_of(definition):
                self._collect()
            self.folders.remove(app_id)
            self.deployments.end(app_id, succeeded=True)
            self._events.publish("app_terminated_event", appId=app_id)

    def _collect(self) -> None:
        """Environments that no app or task needs may go."""
        apps = [app.definition for app in self.apps.values()]
        self._staging.collect([*apps, *(task.definition for task in self._tasks.values())])

    def _room_appeared(self) -> None:
        if self._stopping:
            if not self._tasks:
                self._all_ended.set()
        elif self._waiting and not self._retry_scheduled:
            self._retry_scheduled = True
            asyncio.get_running_loop().call_soon(self._retry_waiting)

    def _reconcile_soon(self, task: Task) -> None:
        app = self.apps.get(task.record.app_id)
        if app is not None:
            asyncio.get_running_loop().call_soon(self.reconcile, app)

    def _keep(self, task: Task) -> None:
        try:
            if task.state in ENDED and not self._stopping:
                self._store.remove_task(task.record.id)
            else:
                self._store.put_task(task.record)
        except Refusal as full:
            log.error("the state of %s is not kept: %s", task.record.id, full)

    def _publish_status(self, task: Task, message: str) -> None:
        status = wire.status(task, message, self.host, self.agent_id)
        self._events.publish("status_update_event", **status)

    def _publish_health(self, task: Task) -> None:
        for event_type, payload in wire.health_events(task):
            self._events.publish(event_type, **payload)

    # recovery in detail

    def _recover_task(self, record: TaskRecord) -> None:
        app = self.apps.get(record.app_id)
        definition = app and self._store.definition(record.app_id, record.version)
        if record.state in ENDED or (app and definition is None):
            self._recover_without(record, app)
            return
        task = self._add_task(app, record, definition or _unknown(record))
        if not task.adopt(self._launcher):
            self._tasks.pop(record.id, None)
            self._recover_without(record, app)
            return
        self._placements.adopt(record)
        if app is None or record.state is TaskState.KILLING:
            self._end_adopted(task)

    def _recover_without(self, record: TaskRecord, app: App | None) -> None:
        """The process is gone: its place is filled again, on the same ports if they are free."""
        self._store.remove_task(record.id)
        if app is not None:
            app.tasks.pop(record.id, None)
            app.ports_before.append(record.ports)

    def _end_adopted(self, task: Task) -> None:
        if task.state is TaskState.KILLING:  # the engine died before it could kill it
            task.stop_hard()
        else:
            task.kill("the app was removed")


def _unknown(record: TaskRecord) -> Definition:
    """Enough of a definition to stop a task whose app is gone."""
    return {"id": record.app_id, "labels": {}, "healthChecks": []}


def _stamped(definition: Definition, version: str, config_changed: str) -> Definition:
    info = {"lastScalingAt": version, "lastConfigChangeAt": config_changed}
    return definition | {"version": version, "versionInfo": info}


def _without_scale(definition: Definition) -> dict[str, Any]:
    ignored = ("instances", "version", "versionInfo")
    return {key: value for key, value in definition.items() if key not in ignored}


def _after(version: str) -> str:
    """Now as a version, or the next millisecond when `version` is not past yet."""
    now = utc_now()
    if now > version:
        return now
    later = datetime.fromisoformat(version).astimezone(UTC) + timedelta(milliseconds=1)
    return later.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age_seconds(record: TaskRecord) -> float:
    staged = datetime.fromisoformat(record.staged_at)
    return (datetime.now(UTC) - staged).total_seconds()
