"""The table of tasks: what runs where, kept from Marathon's events instead of asked for.

Events get lost and change places. So the table is taken anew, with one GET of the tasks alone,
whenever the event stream is opened; between two such lists an event older than what is known
changes nothing, and an ended task stays ended.
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
from fob.marathon.event_stream import Follower, MarathonEvent, pause
from fob.marathon.task_info import (
    ENDS,
    TaskInfo,
    checks_of,
    tasks_of,
    understood,
)

__all__ = ["TaskInfo", "TaskTable", "tasks_of"]

log = logging.getLogger(__name__)

# Marathon adds a listener a moment after it has answered; its first event proves that it did
ATTACH_GRACE = 0.2
ENDED_KEPT = 1000
FAILURES_KEPT = 10  # of each app


@dataclass
class _App:
    # of an app not described yet we assume what every function has: one health check
    checks: int = 1
    tasks: dict[str, TaskInfo] = field(default_factory=dict)
    failures: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=FAILURES_KEPT))

    def failed(self, failure: dict[str, Any]) -> None:
        """Note a failure, once: an event and a list may both tell of it."""
        if failure.get("taskId") not in {known.get("taskId") for known in self.failures}:
            self.failures.append(failure)


class TaskTable:
    """The tasks of all apps in `group`, and those `apps` themselves.

    Everything here runs on the loop; an event costs the same however many apps there are.
    """

    def __init__(self, marathon: Marathon, group: str = GROUP) -> None:
        self._marathon = marathon
        self._group = group
        self.apps = AppCache(marathon, group)
        self._apps: dict[str, _App] = {}
        self._ended: dict[str, None] = {}
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}
        self._since: list[MarathonEvent] | None = None
        self._follower: Follower | None = None
        self._grace: asyncio.TimerHandle | None = None
        self._resync: asyncio.Task[None] | None = None
        self._fresh = False
        self._followed = False  # it was fresh once

    @property
    def fresh(self) -> bool:
        """True while the table follows Marathon; when it does not, ask Marathon itself.

        While that is away nobody knows better than the table, so it is good enough too.
        """
        return self._fresh or (self._followed and self._marathon.away)

    def start(self) -> None:
        """Follow Marathon's events from the running loop."""
        self._follower = self._marathon.follow(self)

    async def stop(self) -> None:
        """Stop following; the table stays as it is."""
        if self._follower:
            await self._follower.stop()
        self.lost()

    def of(self, app_id: str) -> list[TaskInfo]:
        """The tasks of the app; none when the table does not know it."""
        app = self._apps.get(app_id)
        return list(app.tasks.values()) if app else []

    async def all(self) -> dict[str, list[TaskInfo]]:
        """The tasks of every app that has some, out of the table, or while that is not `fresh` from
        Marathon."""
        if self._fresh:
            return {app_id: list(app.tasks.values()) for app_id, app in self._apps.items()}
        found = self._by_app(await self._marathon.tasks())
        return {app_id: list(tasks.values()) for app_id, tasks in found.items()}

    def failures(self, app_id: str) -> list[dict[str, Any]]:
        """The app's last failures seen, oldest first, in the form of Marathon's
        `lastTaskFailure`."""
        app = self._apps.get(app_id)
        return list(app.failures) if app else []

    def know(self, app: dict[str, Any]) -> None:
        """Take note of an app as Marathon answered it: its health checks, and its last failure."""
        self.apps.take(app)
        known = self._apps.setdefault(app["id"], _App())
        if known.checks != checks_of(app):
            known.checks = checks_of(app)
            known.tasks = {id_: task.checked(known.checks) for id_, task in known.tasks.items()}
            self._wake(app["id"])
        if app.get("lastTaskFailure"):
            known.failed(app["lastTaskFailure"])

    def changed(self, app_id: str, timeout: float) -> asyncio.Future[None]:
        """Await it: done at the app's next change, at a resynchronisation, or after `timeout` s.

        It counts from the call, not from the await: nothing that happens in between is missed.
        """
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.setdefault(app_id, set()).add(waiter)
        timer = loop.call_later(timeout, _finish, waiter)
        waiter.add_done_callback(lambda _: self._forget(app_id, waiter, timer))
        return waiter

    def _forget(
        self, app_id: str, waiter: asyncio.Future[None], timer: asyncio.TimerHandle
    ) -> None:
        timer.cancel()
        waiters = self._waiters[app_id]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[app_id]

    # the stream's side: fob.marathon.event_stream.Listener

    def attached(self) -> None:
        self._since = []
        self._grace = asyncio.get_running_loop().call_later(ATTACH_GRACE, self._synchronise)

    def heard(self, events: list[MarathonEvent]) -> None:
        if self._since is not None:
            self._since += events
        for event in events:
            self._apply(event)
            self.apps.heard(event)
        if self._grace:
            self._synchronise()

    def lost(self) -> None:
        self._fresh = False
        self.apps.lost()
        self._since = None
        if self._grace:
            self._grace.cancel()
            self._grace = None
        if self._resync:
            self._resync.cancel()
            self._resync = None

    def _synchronise(self) -> None:
        if self._grace:
            self._grace.cancel()
            self._grace = None
        self.apps.attached()
        self._resync = asyncio.create_task(self._take_anew())

    async def _take_anew(self) -> None:
        """Replace the table by Marathon's, then apply what happened while Marathon was asked."""
        found = self._by_app(await self._ask())
        self._apps = {app_id: app for app_id, app in self._apps.items() if app.failures}
        for app in self._apps.values():
            app.tasks = {}
        for app_id, tasks in found.items():
            self._apps.setdefault(app_id, _App()).tasks = tasks
            for id_ in tasks:
                # Mesos may find a lost task again; one that ended since will end by its event
                self._ended.pop(id_, None)
        since, self._since = self._since or [], None
        for event in since:
            self._apply(event)
        self._fresh = self._followed = True
        log.debug("Marathon has tasks of %d functions", len(found))
        for app_id in list(self._waiters):
            self._wake(app_id)

    async def _ask(self) -> list[dict[str, Any]]:
        failures = 0
        while True:
            try:
                return await self._marathon.tasks()
            except FobError as error:
                failures += 1
                log.warning("The table of tasks is out of date: %s", error.message)
                await asyncio.sleep(pause(failures + 2))
                self._since = []  # the next list will know

    def _by_app(self, tasks: list[dict[str, Any]]) -> dict[str, dict[str, TaskInfo]]:
        """Those of our group, in Marathon's JSON, by app and id."""
        ours = [task for task in tasks if task["appId"].startswith(self._group + "/")]
        found: dict[str, dict[str, TaskInfo]] = {}
        for task in understood(ours, self._checks):
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
                log.warning("Marathon sent an odd %s (%r); passed over", event.name, error)
                return
            if changed:
                self._wake(app_id)

    def _status_update(self, app_id: str, update: dict[str, Any]) -> bool:
        state, id_ = update["taskStatus"], update["taskId"]
        if state in ENDS:
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
        if len(self._ended) > ENDED_KEPT:
            del self._ended[next(iter(self._ended))]
        if state == "TASK_KILLED" and app_id not in self._apps:
            return False
        app = self._apps.setdefault(app_id, _App())
        app.tasks.pop(id_, None)
        if state != "TASK_KILLED":  # who was asked to stop has not failed
            app.failed(_failure(update))
        return not again

    def _instance_health(self, app_id: str, event: dict[str, Any]) -> bool:
        return self._health(app_id, event["instanceId"], event.get("healthy"))

    def _check_health(self, app_id: str, event: dict[str, Any]) -> bool:
        app, alive = self._apps.get(app_id), event.get("alive")
        # one check of several says when the instance is ill, not when it is well
        if alive is True and app and app.checks > 1:
            return False
        return self._health(app_id, event.get("taskId") or event["instanceId"], alive)

    def _health(self, app_id: str, id_: str, healthy: bool | None) -> bool:
        app = self._apps.get(app_id)
        if app is None or healthy is None:
            return False
        ill_or_well = [t for t in app.tasks.values() if t.known_as(id_) and t.healthy != healthy]
        app.tasks |= {task.id: replace(task, healthy=healthy) for task in ill_or_well}
        return bool(ill_or_well)

    def _unhealthy_kill(self, app_id: str, event: dict[str, Any]) -> bool:
        app = self._apps.setdefault(app_id, _App())
        # Marathon's own words for it in lastTaskFailure
        said = f"Task was killed since health check failed. Reason: {event.get('reason')}"
        app.failed(_failure({**event, "taskStatus": "TASK_KILLED", "message": said}))
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
    """A `status_update_event` in the form of `lastTaskFailure`."""
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
