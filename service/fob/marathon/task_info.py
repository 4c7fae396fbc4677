"""A task as any version of Marathon describes it, in responses and in events."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

log = logging.getLogger(__name__)

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

# the order of states; a late event never moves a task back
PROGRESS = {"TASK_STAGING": 1, "TASK_STARTING": 2, "TASK_RUNNING": 3}
END_STATES = {
    "TASK_FINISHED",
    "TASK_FAILED",
    "TASK_KILLED",
    "TASK_LOST",
    "TASK_ERROR",
    "TASK_DROPPED",
    "TASK_GONE",
    "TASK_GONE_BY_OPERATOR",
    "TASK_UNKNOWN",
}


@dataclass(frozen=True)
class TaskInfo:
    """One instance of an app.

    `state` is None with Marathon 1.2 and older, which does not send it. `healthy` is None when the
    app has no health checks; otherwise it is True if every check so far has succeeded. Times are
    Marathon's strings, "" when not reached yet. On a container network without host ports, `ports`
    is empty and `ip_addresses` is not.
    """

    id: str
    app_id: str
    host: str
    ports: tuple[int, ...]
    state: str | None
    started_at: str
    staged_at: str
    slave_id: str
    version: str
    healthy: bool | None
    ip_addresses: tuple[str, ...]

    @classmethod
    def from_json(cls, task: dict[str, Any], checks: int) -> "TaskInfo":
        """Return the task in Marathon's JSON; `checks` is its app's number of health checks."""
        return cls(
            id=task["id"],
            app_id=task["appId"],
            host=task.get("host") or "",
            ports=tuple(task.get("ports") or ()),
            state=task.get("state"),
            started_at=task.get("startedAt") or "",
            staged_at=task.get("stagedAt") or "",
            slave_id=task.get("slaveId") or "",
            version=task.get("version") or "",
            healthy=_healthy(task.get("healthCheckResults") or [], checks),
            ip_addresses=_addresses(task),
        )

    @classmethod
    def from_event(cls, update: dict[str, Any], checks: int) -> "TaskInfo":
        """Return the task in the first `status_update_event` about it."""
        task = cls.from_json({"id": update["taskId"], "appId": update["appId"]}, checks)
        return task.updated(update)

    @property
    def running(self) -> bool:
        return bool(self.started_at) if self.state is None else self.state == "TASK_RUNNING"

    @property
    def ready(self) -> bool:
        """True when it can be called: running, and healthy if it has health checks."""
        return self.running and self.healthy is not False

    def updated(self, update: dict[str, Any]) -> "TaskInfo":
        """Return the task after a `status_update_event`; `self` if the event is an old one."""
        state = str(update.get("taskStatus"))
        reached = PROGRESS["TASK_RUNNING"] if self.running else PROGRESS.get(self.state or "", 0)
        if PROGRESS.get(state, reached) < reached:
            return self
        at = update.get("timestamp") or ""
        return replace(
            self,
            state=state,
            host=update.get("host") or self.host,
            ports=tuple(update.get("ports") or self.ports),
            slave_id=update.get("slaveId") or self.slave_id,
            version=update.get("version") or self.version,
            staged_at=self.staged_at or (at if state == "TASK_STAGING" else ""),
            started_at=self.started_at or (at if state == "TASK_RUNNING" else ""),
            ip_addresses=_addresses(update) or self.ip_addresses,
        )

    def with_checks(self, checks: int) -> "TaskInfo":
        """Return the task, given its app's number of health checks."""
        return replace(self, healthy=self.healthy is True if checks else None)

    def known_as(self, id_: str) -> bool:
        """Return whether `id_` is the id of this task or of its instance.

        Task `app.<uuid>` belongs to instance `app.marathon-<uuid>`, task
        `app.instance-<uuid>._app.1` to `app.instance-<uuid>`.
        """
        return self.id == id_ or (_last_uuid(id_) != "" and _last_uuid(id_) == _last_uuid(self.id))


def checks_of(app: dict[str, Any]) -> int:
    """Return the app's number of health checks."""
    return len(app.get("healthChecks") or [])


def tasks_of(app: dict[str, Any]) -> list[TaskInfo]:
    """Return the tasks in Marathon's JSON of an app."""
    checks = checks_of(app)
    return list(parsed(app.get("tasks") or [], lambda _: checks))


def parsed(tasks: list[dict[str, Any]], checks: Callable[[str], int]) -> Iterator[TaskInfo]:
    """Yield the tasks in a list; a malformed one is logged and skipped, the others are not lost.

    `checks` returns the number of health checks of the app with this id.
    """
    for task in tasks:
        try:
            yield TaskInfo.from_json(task, checks(task["appId"]))
        except (KeyError, TypeError, AttributeError) as error:
            log.warning("Skipped a malformed task from Marathon (%r)", error)


def _healthy(results: list[dict[str, Any] | None], checks: int) -> bool | None:
    if checks == 0:
        return None
    return bool(results) and all(r is not None and r.get("alive") is True for r in results)


def _addresses(task: dict[str, Any]) -> tuple[str, ...]:
    found = task.get("ipAddresses") or []
    return tuple(a["ipAddress"] for a in found if a and a.get("ipAddress"))


def _last_uuid(text: str) -> str:
    # the last one: the app's id may contain a UUID too
    return found[-1] if (found := UUID.findall(text)) else ""
