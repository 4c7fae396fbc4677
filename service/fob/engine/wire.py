"""Apps, tasks and events in Marathon's JSON; no key that Marathon does not document."""

import math
from collections.abc import Iterator
from typing import Any

from fob.engine.app import App
from fob.engine.states import TaskState
from fob.engine.task import Task
from fob.timeline import utc_now

Json = dict[str, Any]


def app(app_: App, deployment_ids: list[str]) -> Json:
    """An app with its counts, without its tasks."""
    running = app_.running()
    healthy = len(running) if app_.definition["healthChecks"] else 0
    return app_.definition | {
        "tasksStaged": app_.staged(),
        "tasksRunning": len(running),
        "tasksHealthy": healthy,
        "tasksUnhealthy": 0,
        "deployments": [{"id": id_} for id_ in deployment_ids],
    }


def app_with_tasks(app_: App, deployment_ids: list[str], host: str, agent_id: str) -> Json:
    """An app as `GET /v2/apps/<id>` gives it: with tasks and the last failure, if there was one."""
    body = app(app_, deployment_ids)
    body["tasks"] = [task(t, host, agent_id) for t in app_.tasks.values()]
    if app_.failures:
        body["lastTaskFailure"] = app_.failures[-1]
    return body


def task(task_: Task, host: str, agent_id: str) -> Json:
    record = task_.record
    body: Json = {
        "id": record.id,
        "appId": record.app_id,
        "host": host,
        "ports": list(record.ports),
        "servicePorts": [],
        "slaveId": agent_id,
        "stagedAt": record.staged_at,
        "startedAt": record.started_at,
        "version": record.version,
        "state": record.state.value,
        "ipAddresses": _ip_addresses(host),
        "localVolumes": [],
    }
    if task_.ready and task_.definition["healthChecks"]:
        body["healthCheckResults"] = [_healthy(task_)]
    return body


def status(task_: Task, message: str, host: str, agent_id: str) -> Json:
    """The payload of a `status_update_event`."""
    record = task_.record
    return {
        "slaveId": agent_id,
        "taskId": record.id,
        "taskStatus": record.state.value,
        "message": message,
        "appId": record.app_id,
        "host": host,
        "ipAddresses": _ip_addresses(host),
        "ports": list(record.ports),
        "version": record.version,
    }


def health_events(task_: Task) -> Iterator[tuple[str, Json]]:
    """What Marathon says when a task with health checks becomes healthy."""
    record = task_.record
    if not task_.definition["healthChecks"]:
        return
    yield (
        "instance_health_changed_event",
        {
            "instanceId": record.id,
            "runSpecId": record.app_id,
            "healthy": True,
            "runSpecVersion": record.version,
        },
    )
    yield (
        "health_status_changed_event",
        {
            "appId": record.app_id,
            "taskId": record.id,
            "instanceId": record.id,
            "version": record.version,
            "alive": True,
        },
    )


def failure(task_: Task, message: str, host: str, agent_id: str) -> Json:
    """A `lastTaskFailure`."""
    record = task_.record
    return {
        "appId": record.app_id,
        "host": host,
        "message": message,
        "state": record.state.value,
        "taskId": record.id,
        "timestamp": utc_now(),
        "version": record.version,
        "slaveId": agent_id,
    }


def queue_item(app_: App, offer: Json) -> Json:
    """Why the app's next task is not there: a delay, or what `offer` (see below) was lacking."""
    assert app_.waiting is not None
    left = app_.backoff.left_seconds()
    rejected = app_.waiting.reason
    summary = [{"reason": rejected, "declined": 1, "processed": 1}] if rejected else []
    return {
        "app": app_.definition,
        "count": app_.missing(),
        "delay": {"timeLeftSeconds": math.ceil(left), "overdue": left <= 0},
        "since": app_.waiting.since,
        "processedOffersSummary": {
            "processedOffersCount": len(summary),
            "unusedOffersCount": len(summary),
            "rejectSummaryLastOffers": summary,
            "rejectSummaryLaunchAttempt": summary,
        },
        "lastUnusedOffers": [
            {"offer": offer, "reason": [rejected], "timestamp": utc_now()} for _ in summary
        ],
    }


def offer(cpus: float, mem: float, host: str, agent_id: str) -> Json:
    """What this machine has left, as Mesos would offer it."""
    return {
        "id": f"{agent_id}-O1",
        "agentId": agent_id,
        "hostname": host,
        "resources": [
            {"name": "cpus", "role": "*", "scalar": cpus, "ranges": [], "set": []},
            {"name": "mem", "role": "*", "scalar": mem, "ranges": [], "set": []},
        ],
        "attributes": [],
    }


def _ip_addresses(host: str) -> list[Json]:
    return [{"ipAddress": host, "protocol": "IPv4"}]


def _healthy(task_: Task) -> Json:
    since = task_.record.started_at
    return {
        "alive": task_.state is TaskState.RUNNING,
        "consecutiveFailures": 0,
        "firstSuccess": since,
        "lastFailure": None,
        "lastSuccess": since,
        "lastFailureCause": None,
        "taskId": task_.record.id,
        "instanceId": task_.record.id,
    }
