"""What fob does with functions: register, find, list, describe, change and remove them.

Uses Marathon, the table of its tasks and the store of snippets; independent of HTTP requests.
"""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Mapping
from typing import Any

from fob import timeline
from fob.errors import AppNotFound, FobError, MarathonError, NotFound
from fob.functions import app_definition, logs
from fob.functions.app_definition import PlacementSettings
from fob.functions.instances import address, failed_instance, last_failed, ready_of
from fob.functions.options import Options
from fob.functions.registration import Registration
from fob.functions.status import Status, failure_json, queued_id, status
from fob.functions.store import SnippetStore
from fob.marathon.client import Marathon
from fob.marathon.task_table import TaskInfo, TaskTable, tasks_of
from fob.source import dependencies
from fob.timeline import Mark

# How often Marathon is asked while a caller waits for a first instance, in seconds: events can get
# lost, so not only after an event; more often without an event stream; and for a function that was
# just registered not before its event is overdue.
POLL_SECONDS = 5.0
POLL_SECONDS_WITHOUT_EVENTS = 1.0
FIRST_POLL_SECONDS = 0.5


class Functions:
    """The operations on functions. An id is a uuid4 as text; every method raises `FobError`s."""

    def __init__(
        self,
        marathon: Marathon,
        tasks: TaskTable,
        snippets: SnippetStore,
        placement: PlacementSettings,
    ) -> None:
        self._marathon = marathon
        self._tasks = tasks
        self._snippets = snippets
        self._registration = Registration(marathon, snippets, placement)
        self._turn = itertools.count()
        # app id -> task version -> timeout of a call in seconds, for apps known to be functions
        self._timeouts: dict[str, dict[str, float]] = {}

    async def register(self, body: bytes, options: Options, received: Mark) -> str:
        """Register the file `body`; return the function's id once store and Marathon have it.

        After a failure nothing remains on either side, except when Marathon does not say whether
        it has the app: then a pending record remains, which `settle` removes.
        """
        app, made = await self._registration.register(body, options, received)
        self._tasks.app_cache.created(app | made)
        self._timeouts[app["id"]] = {str(made.get("version")): app_definition.timeout_of(app)}
        return app_definition.function_id(app)

    async def settle(self) -> None:
        """Undo registrations that no client knows of, after a crash or a silent Marathon."""
        await self._registration.settle()

    def known_ready(self, id_: str) -> tuple[list[TaskInfo], float] | None:
        """Return the instances known to be ready, and the timeout of a call to them in seconds.

        None means that Marathon has to be asked, by `ready` and `timeout`.
        """
        app_id = app_definition.app_id(id_)
        known = self._known(app_id)
        if not (known and self._tasks.fresh):
            return None
        seconds = self._timeouts[app_id].get(known[0].version)
        return None if seconds is None else (known, seconds)

    async def ready(self, id_: str, wait: float = 0) -> list[TaskInfo]:
        """Return the ready instances, at least one.

        Waits up to `wait` seconds for the first. After that, or at once if waiting cannot help,
        raises `NotReady` with the state and Marathon's reason.
        """
        app_id = app_definition.app_id(id_)
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        first_poll = min(now() + FIRST_POLL_SECONDS, deadline)
        while True:
            known = self._known(app_id)
            if known and self._tasks.fresh:
                return known
            if self._expects_event(app_id) and now() < first_poll:
                await self._tasks.next_change(app_id, first_poll - now())
                continue
            # Subscribe before asking, so that a change in between is not missed.
            pause = POLL_SECONDS if self._tasks.fresh else POLL_SECONDS_WITHOUT_EVENTS
            change = self._tasks.next_change(app_id, pause)
            try:
                left = deadline - now()
                if ready := await self._poll(id_, known, left > 0):
                    return ready
                await asyncio.wait({change}, timeout=left)
            finally:
                change.cancel()

    def _known(self, app_id: str) -> list[TaskInfo]:
        """Return the ready instances in the table, if the app is known to be a function."""
        return ready_of(self._tasks.of(app_id)) if app_id in self._timeouts else []

    def _expects_event(self, app_id: str) -> bool:
        """Whether an event should announce the first instance; not after a failure."""
        known = app_id in self._timeouts and self._tasks.fresh
        return known and not self._tasks.failures(app_id)

    async def _poll(self, id_: str, known: list[TaskInfo], patient: bool) -> list[TaskInfo]:
        """Ask Marathon for the ready instances; while it does not respond, return `known`.

        Returns an empty list if waiting may help. Raises `NotReady` if it cannot, or if the caller
        is not `patient`.
        """
        try:
            app = await self._read(id_)
        except MarathonError:
            if known:
                return known
            raise
        ready = ready_of(tasks_of(app))
        if not ready:
            now = await self._status(app)
            if now.final or not patient:
                raise now.not_ready(id_)
        return ready

    async def endpoint(self, id_: str, wait: float = 0) -> tuple[str, int]:
        """Return host and port of a ready instance, in round-robin order; see `ready`."""
        ready = await self.ready(id_, wait)
        return address(ready[next(self._turn) % len(ready)])

    async def timeout(self, task: TaskInfo) -> float:
        """Return the timeout of a call to this instance, in seconds."""
        known = self._timeouts.setdefault(task.app_id, {})
        if task.version not in known:
            app = await self._read(task.app_id.rpartition("/")[2])
            known[task.version] = app_definition.timeout_of(app)
        return known[task.version]

    async def summaries(self) -> list[dict[str, Any]]:
        """Return a summary of every function, oldest first."""
        apps, tasks, queue, deployments = await asyncio.gather(
            self._tasks.app_cache.all(),
            self._tasks.all(),
            self._marathon.queue(),
            self._marathon.deployments(),
        )
        queued = {queued_id(item): item for item in queue}
        changing = {app_id for each in deployments for app_id in each.get("affectedApps") or ()}
        found = []
        for app in filter(app_definition.is_function, apps):
            id_ = app["id"]
            instances = tasks.get(id_, [])
            changes = {"tasks": instances, "deployments": id_ in changing}
            now = app | changes | self._last_failure(app)
            ready = len(ready_of(instances))
            items = [queued[id_]] if id_ in queued else []
            found.append(_summary(app, ready, status(now, ready, items)))
        return sorted(found, key=lambda summary: (summary["created"], summary["id"]))

    async def release(self, id_: str) -> dict[str, str]:
        """Identify the function's current release: name, sha256 of the file, version."""
        app = await self._read(id_)
        labels = app["labels"]
        return {
            "name": labels.get("FOB_NAME", ""),
            "sha256": labels.get("FOB_SHA256", ""),
            "version": str(app.get("version")),
        }

    async def details(self, id_: str) -> dict[str, Any]:
        """Return state, settings, instances, timelines and last failures."""
        app = await self._read(id_, whole=True)
        now, marks, instances, failures = await asyncio.gather(
            self._status(app),
            asyncio.to_thread(self._snippets.marks, id_),
            asyncio.gather(*(self._instance(task) for task in tasks_of(app))),
            asyncio.gather(*(self._failure(app, each) for each in self._failures(app))),
        )
        return _summary(app, len(ready_of(tasks_of(app))), now) | {
            "settings": app_definition.settings_of(app),
            "convention": app_definition.convention_of(app),
            "dependencies": dependencies.of_app(app).json(),
            "timeline": [mark.json() for mark in marks],
            "instances": instances,
            "failures": failures,
        }

    async def change(self, id_: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings, as `options.from_change` returns them; return the new details.

        Overrides a deployment of the function in progress, because that may be stuck.
        """
        app = await self._read(id_, whole=True)
        change = app_definition.change(app, values)
        updated = await self._marathon.update(app["id"], change, force=True)
        self._timeouts.pop(app["id"], None)
        details = await self.details(id_)
        self._tasks.app_cache.changed(str(updated.get("version")))
        return details

    async def remove(self, id_: str) -> None:
        """Remove the function from store and Marathon; `NotFound` if Marathon no longer has it."""
        app_id = app_definition.app_id(id_)
        try:
            await self._read(id_)
            self._tasks.app_cache.removed(app_id, await self._marathon.delete(app_id))
        except NotFound:
            await self._forget(id_)
            raise
        await self._forget(id_)

    async def _forget(self, id_: str) -> None:
        self._timeouts.pop(app_definition.app_id(id_), None)
        await asyncio.to_thread(self._snippets.remove, id_)

    async def source(self, id_: str) -> bytes:
        """Return the file, byte for byte, from the store or else from the app.

        Raises `NotFound` once Marathon no longer has the function.
        """
        app_definition.app_id(id_)
        try:
            stored = (await asyncio.to_thread(self._snippets.get, id_)).content
        except NotFound:
            return app_definition.snippet_of(await self._read(id_, whole=True))
        with contextlib.suppress(MarathonError):  # an unreachable Marathon does not change the file
            await self._read(id_)
        return stored

    def logs(self, id_: str, query: logs.LogQuery) -> logs.LogReader:
        """Return a reader of the output of the function's instances."""
        next_change = functools.partial(self._tasks.next_change, app_definition.app_id(id_))
        instances = functools.partial(self._logged_instances, id_, query.task)
        return logs.LogReader(self._marathon.read_file, instances, next_change, query)

    async def _logged_instances(self, id_: str, task_id: str) -> list[TaskInfo]:
        """Return the instances whose logs to show: the one with `task_id` or, if that is empty,
        all of them, and while none is ready also the last one that failed."""
        app = await self._read(id_)
        tasks = tasks_of(app)
        failed = last_failed(app)
        if task_id:
            return [task for task in [*failed, *tasks] if task.id == task_id]
        return tasks if ready_of(tasks) else [*failed, *tasks]

    async def _read(self, id_: str, whole: bool = False) -> dict[str, Any]:
        """Return the function's app from Marathon; raises `NotFound` unless it is a function.

        The file and long values of the user's environment may be missing unless `whole`.
        """
        app_id = app_definition.app_id(id_)
        try:
            app = await self._marathon.app(app_id, whole)
        except AppNotFound as error:
            self._timeouts.pop(app_id, None)
            raise _unknown(id_) from error
        if not app_definition.is_function(app):
            raise _unknown(id_)
        self._timeouts.setdefault(app_id, {})
        self._tasks.note_app(app)
        return app

    async def _status(self, app: dict[str, Any]) -> Status:
        tasks = tasks_of(app)
        settled = tasks and not app.get("deployments")
        queue = [] if settled else await self._marathon.queue()
        return status(app, len(ready_of(tasks)), queue)

    async def _instance(self, task: TaskInfo) -> dict[str, Any]:
        return {
            "task": task.id,
            "host": task.host,
            "port": task.ports[0] if task.ports else None,
            "state": task.state,
            "ready": task.ready,
            "staged_at": task.staged_at,
            "started_at": task.started_at,
            "timeline": await self._timeline(task),
        }

    def _failures(self, app: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the last failures that are known, oldest first, in Marathon's format."""
        last = app.get("lastTaskFailure")
        return self._tasks.failures(app["id"]) or ([last] if last else [])

    def _last_failure(self, app: dict[str, Any]) -> dict[str, Any]:
        """Return the newest failure, which the app itself may be too old to contain."""
        failures = self._failures(app)
        return {"lastTaskFailure": failures[-1]} if failures else {}

    async def _failure(self, app: dict[str, Any], failure: dict[str, Any]) -> dict[str, Any]:
        marks = await self._timeline(failed_instance(app["id"], failure))
        return failure_json(failure) | {"timeline": marks}

    async def _timeline(self, task: TaskInfo) -> list[dict[str, Any]]:
        """Return the marks in the instance's sandbox; none if that cannot be read."""
        try:
            text, _ = await self._marathon.read_file(task, "timeline", 0, 16 * 1024)
        except FobError:
            return []
        return [mark.json() for mark in timeline.parse(text)]


def _summary(app: dict[str, Any], ready: int, now: Status) -> dict[str, Any]:
    return {
        "id": app_definition.function_id(app),
        "name": app["labels"].get("FOB_NAME", ""),
        "created": app["labels"].get("FOB_CREATED", ""),
        "sha256": app["labels"].get("FOB_SHA256", ""),
        "instances_wanted": app.get("instances"),
        "instances_ready": ready,
        **now.json(),
    }


def _unknown(id_: str) -> NotFound:
    return NotFound(f"There is no function {id_}; GET /api/functions lists the functions")
