"""Responses of several versions of Marathon, built from the parts in which they differ."""

from typing import Any

APP_ID = "/fob-aviary/0e38b688-86e3-4966-9060-cf01eef59426"
FLAT_ID = "fob-aviary_0e38b688-86e3-4966-9060-cf01eef59426"
INSTANCE = "5aa4a1c4-7c3a-11e6-8b77-86f30ca893d3"
VERSIONS = ("0.15.3", "1.1.1", "1.3.0", "1.4.0", "1.5.8", "1.8.222", "1.11.24")


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def task_id(version: str) -> str:
    if number(version) >= (1, 9):
        return f"{FLAT_ID}.instance-{INSTANCE}._app.1"
    return f"{FLAT_ID}.{INSTANCE}"


def instance_id(version: str) -> str:
    kind = "instance" if number(version) >= (1, 9) else "marathon"
    return f"{FLAT_ID}.{kind}-{INSTANCE}"


def task(version: str, running: bool = True, alive: bool | None = True) -> dict[str, Any]:
    """A task in the form of `tasks[]`; `alive` None: no health check was performed yet."""
    answer: dict[str, Any] = {
        "id": task_id(version),
        "appId": APP_ID,
        "host": "10.0.6.172",
        "ports": [25974],
        "servicePorts": [10000],
        "slaveId": "7df50a5b-7c36-4a5a-a2d7-7c2cc2bd1d3a-S1",
        "stagedAt": "2016-04-02T23:09:47.123Z",
        "startedAt": "2016-04-02T23:09:48.456Z" if running else None,
        "version": "2016-04-02T23:09:46.999Z",
    }
    if alive is not None:
        answer["healthCheckResults"] = [
            {"taskId": answer["id"], "alive": alive, "consecutiveFailures": 0 if alive else 2}
        ]
    if number(version) >= (1, 1):
        answer["ipAddresses"] = [{"ipAddress": "10.0.6.172", "protocol": "IPv4"}]
    if number(version) >= (1, 3):
        answer["state"] = "TASK_RUNNING" if running else "TASK_STAGING"
        answer["localVolumes"] = []
    return answer


def app(version: str, tasks: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """An app as a Marathon of that version returns it."""
    tasks = [] if tasks is None else tasks
    answer: dict[str, Any] = {
        "id": APP_ID,
        "cmd": "exec python3",
        "args": None,
        "container": None,
        "cpus": 0.1,
        "mem": 64,
        "disk": 0,
        "instances": 1,
        "env": {},
        "labels": {"FOB": "function"},
        "constraints": [],
        "healthChecks": [{"protocol": "TCP", "portIndex": 0, "gracePeriodSeconds": 30}],
        "deployments": [],
        "tasksStaged": 0,
        "tasksRunning": len(tasks),
        "tasksHealthy": len(tasks),
        "tasksUnhealthy": 0,
        "version": "2016-04-02T23:09:46.999Z",
        "tasks": tasks,
    }
    if number(version) < (1, 5):
        answer |= {"ports": [10000], "uris": [], "storeUrls": []}
    if number(version) >= (1, 5):
        answer |= {"networks": [{"mode": "host"}], "unreachableStrategy": "disabled"}
    return answer | more


def created(version: str, definition: dict[str, Any]) -> dict[str, Any]:
    """The body of the 201 response."""
    return app(version, deployments=[{"id": "d-1"}]) | definition


def failure(message: str, at: str = "2016-04-02T23:10:00.000Z") -> dict[str, Any]:
    return {
        "appId": APP_ID,
        "host": "10.0.6.172",
        "message": message,
        "state": "TASK_FAILED",
        "taskId": task_id("1.5.8"),
        "timestamp": at,
        "version": "2016-04-02T23:09:46.999Z",
        "slaveId": "S1",
    }


def status_update(state: str, version: str = "1.5.8", **more: Any) -> dict[str, Any]:
    """The data of a `status_update_event`."""
    answer: dict[str, Any] = {
        "eventType": "status_update_event",
        "timestamp": "2016-04-02T23:09:48.500Z",
        "slaveId": "S1",
        "taskId": task_id(version),
        "taskStatus": state,
        "message": "",
        "appId": APP_ID,
        "host": "10.0.6.172",
        "ports": [25974],
        "version": "2016-04-02T23:09:46.999Z",
    }
    if number(version) >= (1, 1):
        answer["ipAddresses"] = [{"ipAddress": "10.0.6.172", "protocol": "IPv4"}]
    return answer | more


# error bodies, in the shapes of the versions

INVALID_JSON = {"message": "Invalid JSON", "details": "Unexpected character at 1:7"}
TYPE_ERROR = {
    "message": "Invalid JSON",
    "details": [{"path": "/cpus", "errors": ["error.expected.jsnumber"]}],
}
NOT_VALID = {
    "message": "Object is not valid",
    "details": [{"path": "/id", "errors": ["must fully match regular expression"]}],
}
NOT_VALID_013 = {
    "message": "Bean is not valid",
    "errors": [{"attribute": "upgradeStrategy", "error": "is greater than 1"}],
}
MISSING = {"message": f"App '{APP_ID}' does not exist"}
EXISTS = {"message": f"An app with id [{APP_ID}] already exists."}
LOCKED = {
    "message": "App is locked by one or more deployments. Override with the option '?force=true'.",
    "deployments": [{"id": "97c136bf-5a28-4821-9d94-480d9fbb01c8"}],
}
TOO_MANY = {"message": "Max number (100) of running deployments is achieved. Wait for existing."}
HTML_401 = """<html>
<head><title>401 Authorization Required</title><style>b { color: red }</style></head>
<body><center><h1>401 Authorization Required</h1></center><hr><center>openresty</center></body>
</html>"""
HTML_502 = "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body></body></html>"
