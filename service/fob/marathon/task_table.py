"""The table of tasks: what runs where, kept up to date by Marathon's events.

Events can get lost or arrive out of order. So the table is rebuilt, with one GET of all tasks,
whenever the event stream is opened. Between two rebuilds an event that is older than the known
state changes nothing, and an ended task stays ended.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from fob.contract import GROUP
from fob.errors import FobError
from fob.marathon.app_cache import AppCache
from fob.marathon.client import Marathon
from fob.marathon.event_stream import Follower, MarathonEvent, backoff
from fob.marathon.task_info import (
    END_STATES,
    TaskInfo,
    checks_of,
    parsed,
    tasks_of,
)

__all__ = ["TaskInfo", "TaskTable", "tasks_of"]

log = logging.getLogger(__name__)

# Marathon subscribes a client shortly after it has sent the response head. Until then events are
# missed, so the tasks are requested after the first event, or after this many seconds.
ATTACH_GRACE = 0.2
MAX_ENDED = 1000
MAX_FAILURES = 10  # of each app


@dataclass
class _App:
    # until the app is described, the number that every function has
    checks: int = 1
    tasks: dict[str, TaskInfo] = field(default_factory=dict)
    failures: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MAX_FAILURES))

    def note_failure(self, failure: dict[str, Any]) -> None:
        """Note a failure once, although an event and a response may both report it."""
        if failure.get("taskId") not in {known.get("taskId") for known in self.failures}:
            self.failures.append(failure)


class TaskTable:
    """The tasks of all apps in `group`, and the cache of these apps.

    All methods run on the loop. The cost of an event does not depend on the number of apps.
    """

    def __init__(self, marathon: Marathon, group: str = GROUP) -> None:
        self._marathon = marathon
        self._group = group
        self.app_cache = AppCache(marathon, group)
        self._apps: dict[str, _App] = {}
        self._ended: dict[str, None] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        # events since the stream was opened, to be applied again to the rebuilt table
        self._replayed: list[MarathonEvent] | None = None
        self._follower: Follower | None = None
        self._grace_timer: asyncio.TimerHandle | None = None
        self._rebuilding: asyncio.Task[None] | None = None
        self._fresh = False
        self._was_fresh = False

    @property
    def fresh(self) -> bool:
        """True when the table can be used instead of a request to Marathon.

        Also when it no longer follows Marathon's events because Marathon is away: a request would
        not return anything newer.
        """
        return self._fresh or (self._was_fresh and self._marathon.away)

    def start(self) -> None:
        """Start to follow Marathon's events, on the running loop."""
        self._follower = self._marathon.follow(self)

    async def stop(self) -> None:
        """Stop following; the table stays as it is."""
        if self._follower:
            await self._follower.stop()
        self.on_lost()

    def of(self, app_id: str) -> list[TaskInfo]:
        """Return the tasks of the app; none when the table does not have the app."""
        app = self._apps.get(app_id)
        return list(app.tasks.values()) if app else []

    async def all(self) -> dict[str, list[TaskInfo]]:
        """Return the tasks by app: from the table while it follows events, else from Marathon."""
        if self._fresh:
            return {app_id: list(app.tasks.values()) for app_id, app in self._apps.items()}
        found = self._by_app(await self._marathon.tasks())
        return {app_id: list(tasks.values()) for app_id, tasks in found.items()}

    def failures(self, app_id: str) -> list[dict[str, Any]]:
        """Return the app's last failures, oldest first, in the form of `lastTaskFailure`."""
        app = self._apps.get(app_id)
        return list(app.failures) if app else []

    def note_app(self, app: dict[str, Any]) -> None:
        """Note an app as Marathon returned it: its health checks and its last failure."""
        self.app_cache.update(app)
        known = self._apps.setdefault(app["id"], _App())
        if known.checks != checks_of(app):
            known.checks = checks_of(app)
            known.tasks = {id_: task.with_checks(known.checks) for id_, task in known.tasks.items()}
            self._wake(app["id"])
        if app.get("lastTaskFailure"):
            known.note_failure(app["lastTaskFailure"])

    def next_change(self, app_id: str, timeout: float) -> asyncio.Future[None]:
        """Return a future for the app's next change, a rebuilt table, or `timeout` seconds.

        It sees changes from the call on, not from the await: nothing in between is missed.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.setdefault(app_id, set()).add(waiter)
        timer = loop.call_later(timeout, _finish, waiter)
        waiter.add_done_callback(lambda _: self._remove_waiter(app_id, waiter, timer))
        return waiter

    def _remove_waiter(
        self, app_id: str, waiter: asyncio.Future[None], timer: asyncio.TimerHandle
    ) -> None:
        timer.cancel()
        waiters = self._waiters[app_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[app_id]

    # the methods of EventListener

    def on_attached(self) -> None:
        self._replayed = []
        self._grace_timer = asyncio.get_running_loop().call_later(ATTACH_GRACE, self._start_rebuild)

    def on_events(self, events: list[MarathonEvent]) -> None:
        if self._replayed is not None:
            self._replayed += events
        for event in events:
            self._apply(event)
            self.app_cache.on_event(event)
        if self._grace_timer:
            self._start_rebuild()

    def on_lost(self) -> None:
        self._fresh = False
        self.app_cache.on_lost()
        self._replayed = None
        if self._grace_timer:
            self._grace_timer.cancel()
            self._grace_timer = None
        if self._rebuilding:
            self._rebuilding.cancel()
            self._rebuilding = None

    def _start_rebuild(self) -> None:
        if self._grace_timer:
            self._grace_timer.cancel()
            self._grace_timer = None
        self.app_cache.on_attached()
        self._rebuilding = asyncio.create_task(self._rebuild())

    async def _rebuild(self) -> None:
        """Fill the table from Marathon's list, then apply the events since it was requested."""
        found = self._by_app(await self._fetch())
        self._apps = {app_id: app for app_id, app in self._apps.items() if app.failures}
        for app in self._apps.values():
            app.tasks = {}
        for app_id, tasks in found.items():
            self._apps.setdefault(app_id, _App()).tasks = tasks
            for id_ in tasks:
                # Mesos may find a lost task again; an event follows for one that ended meanwhile
                self._ended.pop(id_, None)
        events, self._replayed = self._replayed or [], None
        for event in events:
            self._apply(event)
        self._fresh = self._was_fresh = True
        log.debug("Marathon has tasks of %d functions", len(found))
        for app_id in list(self._waiters):
            self._wake(app_id)

    async def _fetch(self) -> list[dict[str, Any]]:
        """Request all tasks until Marathon returns them."""
        failures = 0
        while True:
            try:
                return await self._marathon.tasks()
            except FobError as error:
                failures += 1
                log.warning("The table of tasks is out of date: %s", error.message)
                await asyncio.sleep(backoff(failures + 2))
                self._replayed = []  # the next list includes them

    def _by_app(self, tasks: list[dict[str, Any]]) -> dict[str, dict[str, TaskInfo]]:
        """Parse the tasks of our group; return them by app and by id."""
        ours = [task for task in tasks if task["appId"].startswith(self._group + "/")]
        found: dict[str, dict[str, TaskInfo]] = {}
        for task in parsed(ours, self._checks):
            found.setdefault(task.app_id, {})[task.id] = task
        return found

    def _checks(self, app_id: str) -> int:
        return self._apps[app_id].checks if app_id in self._apps else _App.checks

    def _apply(self, event: MarathonEvent) -> None:
        app_id = event.data.get("appId") or event.data.get("runSpecId")
        change = _CHANGES.get(event.name)
        if change and isinstance(app_id, str) and app_id.startswith(self._group + "/"):
            try:
                changed = change(self, app_id, event.data)
            except (KeyError, TypeError, AttributeError) as error:
                log.warning("Ignored a malformed %s from Marathon (%r)", event.name, error)
                return
            if changed:
                self._wake(app_id)

    def _status_update(self, app_id: str, update: dict[str, Any]) -> bool:
        state, id_ = update["taskStatus"], update["taskId"]
        if state in END_STATES:
            return self._end(app_id, id_, state, update)
        if id_ in self._ended:
            return False
        app = self._apps.setdefault(app_id, _App())
        before = app.tasks.get(id_)
        after = before.updated(update) if before else TaskInfo.from_event(update, app.checks)
        app.tasks[id_] = after
        return after != before

    def _end(self, app_id: str, id_: str, state: str, update: dict[str, Any]) -> bool:
        again = id_ in self._ended
        self._ended[id_] = None
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        if state == "TASK_KILLED" and app_id not in self._apps:
            return False
        app = self._apps.setdefault(app_id, _App())
        app.tasks.pop(id_, None)
        if state != "TASK_KILLED":  # a task that was stopped on request has not failed
            app.note_failure(_failure(update))
        return not again

    def _instance_health(self, app_id: str, event: dict[str, Any]) -> bool:
        return self._health(app_id, event["instanceId"], event.get("healthy"))

    def _check_health(self, app_id: str, event: dict[str, Any]) -> bool:
        app, alive = self._apps.get(app_id), event.get("alive")
        # one of several checks shows that the instance is unhealthy, never that it is healthy
        if alive is True and app and app.checks > 1:
            return False
        return self._health(app_id, event.get("taskId") or event["instanceId"], alive)

    def _health(self, app_id: str, id_: str, healthy: bool | None) -> bool:
        app = self._apps.get(app_id)
        if app is None or healthy is None:
            return False
        changed = [t for t in app.tasks.values() if t.known_as(id_) and t.healthy != healthy]
        app.tasks |= {task.id: replace(task, healthy=healthy) for task in changed}
        return bool(changed)

    def _unhealthy_kill(self, app_id: str, event: dict[str, Any]) -> bool:
        app = self._apps.setdefault(app_id, _App())
        # Marathon's own words in lastTaskFailure
        text = f"Task was killed since health check failed. Reason: {event.get('reason')}"
        app.note_failure(_failure({**event, "taskStatus": "TASK_KILLED", "message": text}))
        return True

    def _terminated(self, app_id: str, event: dict[str, Any]) -> bool:
        return self._apps.pop(app_id, None) is not None

    def _wake(self, app_id: str) -> None:
        for waiter in self._waiters.get(app_id, ()):
            _finish(waiter)


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _failure(update: dict[str, Any]) -> dict[str, Any]:
    """Return a `status_update_event` in the form of `lastTaskFailure`."""
    kept = ("appId", "host", "message", "taskId", "timestamp", "version", "slaveId")
    return {"state": update.get("taskStatus")} | {key: update.get(key) for key in kept}


_CHANGES: dict[str, Callable[[TaskTable, str, dict[str, Any]], bool]] = {
    "status_update_event": TaskTable._status_update,
    "instance_health_changed_event": TaskTable._instance_health,
    "health_status_changed_event": TaskTable._check_health,
    "unhealthy_task_kill_event": TaskTable._unhealthy_kill,
    "unhealthy_instance_kill_event": TaskTable._unhealthy_kill,
    "app_terminated_event": TaskTable._terminated,
}
