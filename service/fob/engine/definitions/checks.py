"""Health and readiness checks in app definitions: defaults, validation, and the checks to run."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.containers import ports_of
from fob.engine.definitions.field_types import (
    PORT,
    PORT_NAME,
    boolean,
    fault,
    integer,
    list_of,
    object_of,
    one_of,
    text,
)

Json = dict[str, Any]

HTTP, HTTPS, TCP, COMMAND = "HTTP", "HTTPS", "TCP", "COMMAND"
HEALTH_PROTOCOLS = (HTTP, HTTPS, TCP, COMMAND, "MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP")
_HEALTH: Json = {
    "protocol": HTTP,
    "gracePeriodSeconds": 300,
    "intervalSeconds": 60,
    "timeoutSeconds": 20,
    "maxConsecutiveFailures": 3,
    "delaySeconds": 15,
}
_READINESS: Json = {
    "name": "readinessCheck",
    "protocol": HTTP,
    "path": "/",
    "portName": "http-api",
    "intervalSeconds": 30,
    "timeoutSeconds": 10,
    "httpStatusCodesForReady": [200],
    "preserveLastResponse": False,
}
_SECONDS = ("gracePeriodSeconds", "intervalSeconds", "timeoutSeconds", "delaySeconds")
parse_health_checks = list_of(
    object_of(
        dict.fromkeys((*_SECONDS, "maxConsecutiveFailures"), integer())
        | {
            "protocol": one_of(*HEALTH_PROTOCOLS),
            "command": object_of({"value": text(1)}, ["value"]),
            "path": text(),
            "port": PORT,
            "portIndex": PORT,
            "ignoreHttp1xx": boolean,
        }
    )
)
parse_readiness_checks = list_of(
    object_of(
        {
            "name": text(1),
            "protocol": one_of(HTTP, HTTPS),
            "path": text(1, 1024),
            "portName": PORT_NAME,
            "intervalSeconds": integer(),
            "timeoutSeconds": integer(1),
            "httpStatusCodesForReady": list_of(integer(100, 999)),
            "preserveLastResponse": boolean,
        }
    )
)
_NO_PORT = (
    "Health check port indices must address an element of the ports array or container port "
    "mappings."
)


@dataclass(frozen=True)
class HealthCheck:
    """A health check to run; `definition` is its JSON in the app.

    `protocol` is HTTP, HTTPS, TCP or COMMAND. The port to check is `port`, or if that is None the
    task's port number `index`.
    """

    definition: Json
    protocol: str
    path: str
    index: int
    port: int | None
    command: str
    grace_seconds: float
    interval_seconds: float
    timeout_seconds: float
    delay_seconds: float
    max_failures: int  # consecutive; 0: no maximum
    ignore_1xx: bool


@dataclass(frozen=True)
class ReadinessCheck:
    """A GET of `path` on the task's port number `index`; it is ready at one of `statuses`."""

    name: str
    protocol: str
    path: str
    index: int
    interval_seconds: float
    timeout_seconds: float
    statuses: tuple[int, ...]
    keeps_response: bool


def health_checks(definition: Json) -> list[HealthCheck]:
    """Return the health checks of an app's tasks, in order."""
    return [_health_check(given) for given in definition["healthChecks"]]


def readiness_checks(definition: Json) -> list[ReadinessCheck]:
    """Return the readiness checks of an app's tasks, in order."""
    checks = definition.get("readinessChecks", [])  # absent in apps stored by old engines
    names = [port.name for port in ports_of(definition)] if checks else []
    return [_readiness_check(given, names) for given in checks]


def start_timeout(definition: Json) -> float:
    """Return the seconds within which a task that reports its own start must have started."""
    first = [*definition["healthChecks"], {}][0]
    return float(first.get("gracePeriodSeconds", _HEALTH["gracePeriodSeconds"]))


def fill_defaults(definition: Json) -> None:
    """Fill in the defaults of checks, in place. The definition must have no `faults`."""
    health, readiness = definition["healthChecks"], definition["readinessChecks"]
    definition["healthChecks"] = [_complete_health(check) for check in health]
    definition["readinessChecks"] = [_READINESS | check for check in readiness]


def faults(definition: Json) -> Iterator[Json]:
    """Faults of the checks, with Marathon's paths."""
    if definition["healthChecks"]:
        yield from _health_faults(definition)
    if definition["readinessChecks"]:
        yield from _readiness_faults(definition)


def _health_check(given: Json) -> HealthCheck:
    check = _HEALTH | given
    protocol = check["protocol"]
    from_mesos = protocol == COMMAND or protocol.startswith("MESOS_")
    return HealthCheck(
        definition=given,
        protocol=protocol.removeprefix("MESOS_"),
        path=check.get("path") or "/",
        index=check.get("portIndex") or 0,
        port=check.get("port"),
        command=(check.get("command") or {}).get("value", ""),
        grace_seconds=check["gracePeriodSeconds"],
        interval_seconds=check["intervalSeconds"],
        timeout_seconds=check["timeoutSeconds"],
        delay_seconds=check["delaySeconds"] if from_mesos else 0,
        max_failures=check["maxConsecutiveFailures"],
        ignore_1xx=bool(check.get("ignoreHttp1xx")),
    )


def _readiness_check(given: Json, port_names: list[str]) -> ReadinessCheck:
    check = _READINESS | given
    return ReadinessCheck(
        name=check["name"],
        protocol=check["protocol"],
        path=check["path"],
        index=port_names.index(check["portName"]),
        interval_seconds=check["intervalSeconds"],
        timeout_seconds=check["timeoutSeconds"],
        statuses=tuple(check["httpStatusCodesForReady"]),
        keeps_response=check["preserveLastResponse"],
    )


def _complete_health(check: Json) -> Json:
    full = _HEALTH | check
    if full["protocol"].endswith((HTTP, HTTPS)):
        full = {"path": "/", "ignoreHttp1xx": False} | full
    if full["protocol"] != COMMAND and "port" not in full:
        full = {"portIndex": 0} | full
    return full


def _health_faults(definition: Json) -> Iterator[Json]:
    checks = definition["healthChecks"]
    ports = len(ports_of(definition))
    for number, check in enumerate(checks):
        path, protocol = f"/healthChecks({number})", check.get("protocol", HTTP)
        if protocol == COMMAND:
            if "command" not in check:
                yield fault(f"{path}/command", "error.path.missing")
        elif "port" not in check and not check.get("portIndex", 0) < ports:
            yield fault(path, _NO_PORT)
    if len(checks) > 1 and sum(c.get("protocol", HTTP).startswith("MESOS_") for c in checks) > 1:
        yield fault("/", "AppDefinition can contain at most one Mesos health check")


def _readiness_faults(definition: Json) -> Iterator[Json]:
    checks = definition["readinessChecks"]
    names = [port.name for port in ports_of(definition)]
    if len(checks) > 1:
        yield fault("/readinessChecks", f"got {len(checks)}, expected 1 or less")
    for number, given in enumerate(checks):
        path, check = f"/readinessChecks({number})", _READINESS | given
        if check["portName"] not in names:
            message = f"No port definition reference for portName {check['portName']}"
            yield fault(f"{path}/portName", message)
        interval, timeout = check["intervalSeconds"], check["timeoutSeconds"]
        if timeout >= interval:
            yield fault(f"{path}/timeoutSeconds", f"got {timeout}, expected less than {interval}")
        if not check["httpStatusCodesForReady"]:
            yield fault(f"{path}/httpStatusCodesForReady", "error.minLength", "must not be empty")
