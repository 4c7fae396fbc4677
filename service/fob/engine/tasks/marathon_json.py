"""Apps, tasks and events as Marathon's JSON; every key is one that Marathon documents."""

import math
from collections.abc import Callable, Collection, Iterator
from typing import Any

from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.containers import bridged
from fob.engine.definitions.group_tree import Dependencies, Tree, ancestors, parent
from fob.engine.states import TaskState
from fob.engine.tasks.app import App
from fob.engine.tasks.task import Task
from fob.timeline import utc_now

Json = dict[str, Any]
# why Marathon declines an offer, in the order in which it checks
REASONS = (
    "UnfulfilledRole",
    "UnfulfilledConstraint",
    "NoCorrespondingReservationFound",
    "AgentMaintenance",
    "InsufficientCpus",
    "InsufficientMemory",
    "InsufficientDisk",
    "InsufficientGpus",
    "InsufficientPorts",
)
CONDITIONS = {  # of an instance, where they differ from the names of task states
    TaskState.STAGING: "Provisioned",
    TaskState.LOST: "Unreachable",
}
STAGED = (TaskState.STAGING, TaskState.STARTING)
NEVER = "1970-01-01T00:00:00.000Z"  # the version of a group without apps


def app(app_: App, deployment_ids: list[str]) -> Json:
    """Return an app with the counts of its tasks, without the tasks."""
    counted = {f"tasks{name.capitalize()}": n for name, n in counts(app_.tasks.values()).items()}
    return app_.definition | counted | {"deployments": [{"id": id_} for id_ in deployment_ids]}


def counts(tasks: Collection[Task]) -> dict[str, int]:
    """Count the tasks by the states that Marathon counts."""
    running = [task_ for task_ in tasks if task_.running]
    checked = [task_ for task_ in running if task_.definition["healthChecks"]]
    return {
        "staged": sum(task_.state in STAGED for task_ in tasks),
        "running": len(running),
        "healthy": sum(task_.healthy for task_ in checked),
        "unhealthy": sum(task_.unhealthy for task_ in checked),
    }


def group(group_id: str, tree: Tree, app_json: Callable[[str], Json]) -> Json:
    """Return a group with its apps and groups; `app_json(app_id)` returns an app."""
    bodies = {id_: _group(id_, needs) for id_, needs in sorted(tree.groups.items())}
    for app_id, definition in tree.apps.items():
        bodies[parent(app_id)]["apps"].append(app_json(app_id))
        for id_ in ancestors(app_id):
            if id_ in bodies:
                bodies[id_]["version"] = max(bodies[id_]["version"], definition["version"])
    for id_, body in bodies.items():
        if id_ != group_id:
            bodies[parent(id_)]["groups"].append(body)
    return bodies[group_id]


def _group(id_: str, dependencies: Dependencies) -> Json:
    empty: Json = {"apps": [], "groups": [], "pods": []}
    return {"id": id_, "version": NEVER, "dependencies": list(dependencies)} | empty


def task(task_: Task, host: str, agent_id: str) -> Json:
    record = task_.record
    body: Json = {
        "id": record.id,
        "appId": record.app_id,
        "host": host,
        "ports": list(record.ports),
        "servicePorts": [port for port in service_ports(task_.definition) if port],
        "slaveId": agent_id,
        "stagedAt": record.staged_at,
        "startedAt": record.started_at,
        "version": record.version,
        "state": record.state.value,
        "ipAddresses": _ip_addresses(host),
        "localVolumes": [],
    }
    if task_.running and task_.definition["healthChecks"]:
        known = [health.json(record.id) for health in task_.health if health.known]
        body["healthCheckResults"] = known if task_.health else [_healthy(task_)]
    return body


def endpoints(app_: App, host: str) -> str:
    """Return a line for each port of the app: its name, the service port, and the `host:port` of
    each running task."""
    name = app_.id.strip("/").replace("/", "_")
    running = sorted(task_.record.ports for task_ in app_.running())
    ports = service_ports(app_.definition)
    lines = [
        [name, str(port), *(f"{host}:{task_ports[index]}" for task_ports in running)]
        for index, port in enumerate(ports)
    ]
    return "".join(
        "\t".join([*line, "\n"]) for line in lines or [[name, " ", *([host] * len(running))]]
    )


def service_ports(definition: Definition) -> list[int]:
    """Return the service port of each port of the app, for load balancers; 0: none was chosen."""
    if bridged(definition):
        return [mapping["servicePort"] for mapping in definition["container"]["portMappings"]]
    return [port.get("port", 0) for port in definition["portDefinitions"]]


def status(task_: Task, message: str, host: str, agent_id: str) -> Json:
    """Return the payload of a `status_update_event`."""
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


def condition(task_: Task, host: str, agent_id: str) -> Json:
    """Return the payload of an `instance_changed_event`."""
    record = task_.record
    name = record.state.value.removeprefix("TASK_").capitalize()
    return {
        "instanceId": record.id,
        "condition": CONDITIONS.get(record.state, name),
        "runSpecId": record.app_id,
        "agentId": agent_id,
        "host": host,
        "runSpecVersion": record.version,
    }


def health_events(task_: Task, alive: bool) -> Iterator[tuple[str, Json]]:
    """Yield the events, as types and payloads, of a task that became healthy or unhealthy."""
    record = task_.record
    yield (
        "instance_health_changed_event",
        {
            "instanceId": record.id,
            "runSpecId": record.app_id,
            "healthy": alive,
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
            "alive": alive,
        },
    )


def failed_check(task_: Task, check: Json) -> Json:
    """Return the payload of a `failed_health_check_event`."""
    record = task_.record
    ids = {"appId": record.app_id, "taskId": record.id, "instanceId": record.id}
    return ids | {"healthCheck": check}


def unhealthy(task_: Task, reason: str | None, host: str, agent_id: str) -> Json:
    """Return the payload of an `unhealthy_task_kill_event`."""
    record = task_.record
    return {
        "appId": record.app_id,
        "taskId": record.id,
        "instanceId": record.id,
        "version": record.version,
        "reason": reason or "unknown",
        "host": host,
        "slaveId": agent_id,
    }


def failure(task_: Task, message: str, host: str, agent_id: str) -> Json:
    """Return a `lastTaskFailure`."""
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
    """Return an entry of `/v2/queue`: why the app's next task has not been started. It is a delay,
    or something that `offer` (see below) lacks."""
    assert app_.waiting is not None
    left = app_.backoff.left_seconds()
    rejected = app_.waiting.reason
    summary = list(_funnel(rejected)) if rejected else []
    offers = int(bool(rejected))  # only this machine makes offers
    # Marathon has no field for a message here; an attribute of the offer can carry one
    message = {"name": "lacking", "text": app_.waiting.message}
    offer = offer | {"attributes": [*offer["attributes"], message]}
    return {
        "app": app_.definition,
        "count": app_.missing(),
        "delay": {"timeLeftSeconds": math.ceil(left), "overdue": left <= 0},
        "since": app_.waiting.since,
        "processedOffersSummary": {
            "processedOffersCount": offers,
            "unusedOffersCount": offers,
            "rejectSummaryLastOffers": summary,
            "rejectSummaryLaunchAttempt": summary,
        },
        "lastUnusedOffers": [{"offer": offer, "reason": [rejected], "timestamp": utc_now()}][
            :offers
        ],
    }


def _funnel(rejected: str) -> Iterator[Json]:
    """Yield for each reason whether the offer was declined for it, as Marathon counts offers."""
    processed = 1
    for reason in REASONS:
        declined = int(reason == rejected)
        yield {"reason": reason, "declined": declined, "processed": processed}
        processed -= declined


def offer(cpus: float, mem: float, host: str, agent_id: str) -> Json:
    """Return the free resources of this machine as Mesos would offer them."""
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
