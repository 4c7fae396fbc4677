"""The verbs of the platform: register, find, list, describe, change, remove.

Knows Marathon, the table of tasks, the store and the app definition; nothing of HTTP requests.
"""

import asyncio
import contextlib
import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from fob import timeline
from fob.errors import (
    AppNotFound,
    FobError,
    MarathonError,
    NotFound,
)
from fob.functions import app_definition, logs
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.functions.registration import Registration
from fob.functions.status import (
    Status,
    queued_id,
    status,
    told,
)
from fob.functions.store import SnippetStore
from fob.marathon.client import Marathon
from fob.marathon.task_table import TaskInfo, TaskTable, tasks_of
from fob.source import dependencies
from fob.timeline import Mark

# events get lost; while somebody waits, Marathon itself is asked this often (seconds)
ASK_AGAIN = 5.0
# ... and this often as long as there is no stream of events
ASK_BLIND = 1.0
# and for the first time, when the function was made just now and events will tell
ASK_FIRST = 0.5


class Functions:
    """What can be done with functions. Ids are uuid4 texts; every method raises `FobError`s."""

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
        # apps known to be ours: app id -> task version -> seconds a call may take
        self._ours: dict[str, dict[str, float]] = {}

    async def register(self, body: bytes, options: Options, received: Mark) -> str:
        """Make a function of the file `body`; answers its id once store and Marathon have it.

        When anything fails, nothing is left on either side, or (when Marathon does not even say
        whether it has the app) a pending record that `settle` clears up.
        """
        app, made = await self._registration.register(body, options, received)
        self._tasks.app_cache.created(app | made)
        self._ours[app["id"]] = {str(made.get("version")): app_definition.timeout_of(app)}
        return app_definition.function_id(app)

    async def settle(self) -> None:
        """Undo registrations that nobody was told of: a crash, or a Marathon that kept silent."""
        await self._registration.settle()

    def at_hand(self, id_: str) -> tuple[list[TaskInfo], float] | None:
        """The instances that are known to answer, and the seconds a call to them may take.

        None when Marathon has to be asked (`ready`, `timeout`).
        """
        app_id = app_definition.app_id(id_)
        known = self._known(app_id)
        if not (known and self._tasks.fresh):
            return None
        seconds = self._ours[app_id].get(known[0].version)
        return None if seconds is None else (known, seconds)

    async def ready(self, id_: str, wait: float = 0) -> list[TaskInfo]:
        """The instances that answer, at least one.

        Waits up to `wait` seconds for the first; raises `NotReady` with the state and Marathon's
        reason after that, or at once when waiting alone will not help.
        """
        app_id = app_definition.app_id(id_)
        now = asyncio.get_running_loop().time
        deadline = now() + wait
        until_asked = min(now() + ASK_FIRST, deadline)
        while True:
            known = self._known(app_id)
            if known and self._tasks.fresh:
                return known
            if self._coming(app_id) and now() < until_asked:
                await self._tasks.next_change(app_id, until_asked - now())
                continue
            # listen first, ask then: a change in between is not missed
            pause = ASK_AGAIN if self._tasks.fresh else ASK_BLIND
            change = self._tasks.next_change(app_id, pause)
            try:
                left = deadline - now()
                if ready := await self._ask(id_, known, left > 0):
                    return ready
                await asyncio.wait({change}, timeout=left)
            finally:
                change.cancel()

    def _known(self, app_id: str) -> list[TaskInfo]:
        """What the table has, of an app that is known to be ours."""
        return _ready(self._tasks.of(app_id)) if app_id in self._ours else []

    def _coming(self, app_id: str) -> bool:
        """Whether events will tell of its first instance, as far as anybody knows."""
        known = app_id in self._ours and self._tasks.fresh
        return known and not self._tasks.failures(app_id)

    async def _ask(self, id_: str, known: list[TaskInfo], patient: bool) -> list[TaskInfo]:
        """What Marathon has; `known` while it does not answer, for old news is better than none.

        Nothing means that it is worth to wait; raises `NotReady` when it is not, or nobody will.
        """
        try:
            app = await self._read(id_)
        except MarathonError:
            if known:
                return known
            raise
        ready = _ready(tasks_of(app))
        if not ready:
            now = await self._status(app)
            if now.final or not patient:
                raise now.not_ready(id_)
        return ready

    async def endpoint(self, id_: str, wait: float = 0) -> tuple[str, int]:
        """Host and port of an instance that answers, of several each in its turn; see `ready`."""
        ready = await self.ready(id_, wait)
        return address(ready[next(self._turn) % len(ready)])

    async def timeout(self, task: TaskInfo) -> float:
        """Seconds that a call to this instance may take."""
        known = self._ours.setdefault(task.app_id, {})
        if task.version not in known:
            app = await self._read(task.app_id.rpartition("/")[2])
            known[task.version] = app_definition.timeout_of(app)
        return known[task.version]

    async def summaries(self) -> list[dict[str, Any]]:
        """A summary of every function, oldest first."""
        apps, tasks, queue, deployments = await asyncio.gather(
            self._tasks.app_cache.all(),
            self._tasks.all(),
            self._marathon.queue(),
            self._marathon.deployments(),
        )
        waiting = {queued_id(item): item for item in queue}
        changing = {app_id for each in deployments for app_id in each.get("affectedApps") or ()}
        found = []
        for app in filter(app_definition.is_function, apps):
            id_ = app["id"]
            here = tasks.get(id_, [])
            now = app | {"tasks": here, "deployments": id_ in changing} | self._last_failure(app)
            queued = [waiting[id_]] if id_ in waiting else []
            ready = len(_ready(here))
            found.append(_summary(app, ready, status(now, ready, queued)))
        return sorted(found, key=lambda summary: (summary["created"], summary["id"]))

    async def label(self, id_: str) -> dict[str, str]:
        """What tells one release of a function from another: name, sha256 of the file, version."""
        app = await self._read(id_)
        labels = app["labels"]
        return {
            "name": labels.get("FOB_NAME", ""),
            "sha256": labels.get("FOB_SHA256", ""),
            "version": str(app.get("version")),
        }

    async def details(self, id_: str) -> dict[str, Any]:
        """Everything there is to know: state, settings, instances, timelines, last failure."""
        app = await self._read(id_, whole=True)
        now, marks, instances, failures = await asyncio.gather(
            self._status(app),
            asyncio.to_thread(self._snippets.marks, id_),
            asyncio.gather(*(self._instance(task) for task in tasks_of(app))),
            asyncio.gather(*(self._failure(app, one) for one in self._failures(app))),
        )
        return _summary(app, len(_ready(tasks_of(app))), now) | {
            "settings": app_definition.settings_of(app),
            "convention": app_definition.convention_of(app),
            "dependencies": dependencies.of_app(app).json(),
            "timeline": [mark.json() for mark in marks],
            "instances": instances,
            "failures": failures,
        }

    async def change(self, id_: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change settings (as `options.from_change` gives them); answers the new details.

        Goes ahead even when a deployment of the function is under way, for that may be stuck.
        """
        app = await self._read(id_, whole=True)
        change = app_definition.change(app, values)
        done = await self._marathon.update(app["id"], change, force=True)
        self._ours.pop(app["id"], None)
        details = await self.details(id_)
        self._tasks.app_cache.changed(str(done.get("version")))
        return details

    async def remove(self, id_: str) -> None:
        """Remove the function here and at Marathon; `NotFound` when Marathon has it no more."""
        app_id = app_definition.app_id(id_)
        try:
            await self._read(id_)
            self._tasks.app_cache.removed(app_id, await self._marathon.delete(app_id))
        except NotFound:
            await self._forget(id_)
            raise
        await self._forget(id_)

    async def _forget(self, id_: str) -> None:
        self._ours.pop(app_definition.app_id(id_), None)
        await asyncio.to_thread(self._snippets.remove, id_)

    async def source(self, id_: str) -> bytes:
        """The file, byte for byte: from the store, or else out of the app.

        `NotFound` once Marathon has the function no more, whoever removed it.
        """
        app_definition.app_id(id_)
        try:
            stored = (await asyncio.to_thread(self._snippets.get, id_)).content
        except NotFound:
            return app_definition.snippet_of(await self._read(id_, whole=True))
        with contextlib.suppress(MarathonError):  # that it does not answer changes no file
            await self._read(id_)
        return stored

    def logs(self, id_: str, wanted: logs.Wanted) -> logs.LogReader:
        """A reader of what the function's instances print."""
        changed = functools.partial(self._tasks.next_change, app_definition.app_id(id_))
        instances = functools.partial(self._instances, id_, wanted.task)
        return logs.LogReader(self._marathon.read_file, instances, changed, wanted)

    async def _instances(self, id_: str, wanted: str) -> list[TaskInfo]:
        """The instances whose logs matter: the one `wanted`; else those there are, and while none
        answers also the one that failed last."""
        app = await self._read(id_)
        tasks = tasks_of(app)
        failed = _failed(app)
        if wanted:
            return [task for task in [*failed, *tasks] if task.id == wanted]
        return tasks if _ready(tasks) else [*failed, *tasks]

    async def _read(self, id_: str, whole: bool = False) -> dict[str, Any]:
        """Marathon's word on the function's app; raises `NotFound` unless it is one of ours.

        The file, and long values of the user's environment, may be missing unless `whole`.
        """
        app_id = app_definition.app_id(id_)
        try:
            app = await self._marathon.app(app_id, whole)
        except AppNotFound as error:
            self._ours.pop(app_id, None)
            raise _unknown(id_) from error
        if not app_definition.is_function(app):
            raise _unknown(id_)
        self._ours.setdefault(app_id, {})
        self._tasks.note_app(app)
        return app

    async def _status(self, app: dict[str, Any]) -> Status:
        tasks = tasks_of(app)
        unchanging = tasks and not app.get("deployments")
        queue = [] if unchanging else await self._marathon.queue()
        return status(app, len(_ready(tasks)), queue)

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
        """The last failures as far as they are known, oldest first, in Marathon's form."""
        last = app.get("lastTaskFailure")
        return self._tasks.failures(app["id"]) or ([last] if last else [])

    def _last_failure(self, app: dict[str, Any]) -> dict[str, Any]:
        """The newest failure of an app that was read a while ago."""
        failures = self._failures(app)
        return {"lastTaskFailure": failures[-1]} if failures else {}

    async def _failure(self, app: dict[str, Any], failure: dict[str, Any]) -> dict[str, Any]:
        return told(failure) | {"timeline": await self._timeline(_ended(app["id"], failure))}

    async def _timeline(self, task: TaskInfo) -> list[dict[str, Any]]:
        """The marks an instance left in its sandbox; none when that cannot be read."""
        try:
            text, _ = await self._marathon.read_file(task, "timeline", 0, 16 * 1024)
        except FobError:
            return []
        return [mark.json() for mark in timeline.parse(text)]


def address(task: TaskInfo) -> tuple[str, int]:
    """Host and port where the instance answers."""
    if task.ports:
        return task.host, task.ports[0]
    # a container on a network of its own: its address, and the port its command was given
    return task.ip_addresses[0], app_definition.CONTAINER_PORT


def _ready(tasks: Iterable[TaskInfo]) -> list[TaskInfo]:
    return [task for task in tasks if task.ready and (task.ports or task.ip_addresses)]


def _failed(app: dict[str, Any]) -> list[TaskInfo]:
    """The instance that failed last, as far as Marathon remembers it."""
    last = app.get("lastTaskFailure")
    return [_ended(app["id"], last)] if last and last.get("taskId") else []


def _ended(app_id: str, failure: dict[str, Any]) -> TaskInfo:
    """The instance that a failure tells of."""
    return TaskInfo.from_json({**failure, "id": failure.get("taskId") or "", "appId": app_id}, 0)


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
    return NotFound(f"There is no function {id_}; GET /api/functions lists those there are")
