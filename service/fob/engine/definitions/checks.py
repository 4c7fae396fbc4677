"""Health and readiness checks as apps define them: Marathon's defaults, what is refused, and what
is then to be done."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.containers import ports_of
from fob.engine.definitions.field_types import (
    PORT,
    PORT_NAME,
    fault,
    listed,
    made_of,
    one_of,
    text,
    truth,
    whole,
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
READ_HEALTH = listed(
    made_of(
        dict.fromkeys((*_SECONDS, "maxConsecutiveFailures"), whole())
        | {
            "protocol": one_of(*HEALTH_PROTOCOLS),
            "command": made_of({"value": text(1)}, ["value"]),
            "path": text(),
            "port": PORT,
            "portIndex": PORT,
            "ignoreHttp1xx": truth,
        }
    )
)
READ_READINESS = listed(
    made_of(
        {
            "name": text(1),
            "protocol": one_of(HTTP, HTTPS),
            "path": text(1, 1024),
            "portName": PORT_NAME,
            "intervalSeconds": whole(),
            "timeoutSeconds": whole(1),
            "httpStatusCodesForReady": listed(whole(100, 999)),
            "preserveLastResponse": truth,
        }
    )
)
_NO_PORT = (
    "Health check port indices must address an element of the ports array or container port "
    "mappings."
)


@dataclass(frozen=True)
class HealthCheck:
    """What to do, and how often; `definition` is what Marathon's clients know of it.

    `protocol` is HTTP, HTTPS, TCP or COMMAND; `port` is a number, or the `index` of one of the
    task's.
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
    most_failures: int  # in a row; 0: as many as there are
    ignores_1xx: bool


@dataclass(frozen=True)
class ReadinessCheck:
    """A page that answers with one of `statuses` once the task is ready, on its port `index`."""

    name: str
    protocol: str
    path: str
    index: int
    interval_seconds: float
    timeout_seconds: float
    statuses: tuple[int, ...]
    keeps_answer: bool


def health_checks(definition: Json) -> list[HealthCheck]:
    """The health checks of an app's tasks, in order."""
    return [_health_check(given) for given in definition["healthChecks"]]


def readiness_checks(definition: Json) -> list[ReadinessCheck]:
    """The readiness checks of an app's tasks, in order."""
    checks = definition.get("readinessChecks", [])  # which older apps do not have
    names = [port.name for port in ports_of(definition)] if checks else []
    return [_readiness_check(given, names) for given in checks]


def start_seconds(definition: Json) -> float:
    """How long a task may take that says itself when it has started."""
    first = [*definition["healthChecks"], {}][0]
    return float(first.get("gracePeriodSeconds", _HEALTH["gracePeriodSeconds"]))


def settle(definition: Json) -> None:
    """Fill in what checks do not say. The definition has no `faults`."""
    health, readiness = definition["healthChecks"], definition["readinessChecks"]
    definition["healthChecks"] = [_settled_health(check) for check in health]
    definition["readinessChecks"] = [_READINESS | check for check in readiness]


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with the checks, by Marathon's paths."""
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
        most_failures=check["maxConsecutiveFailures"],
        ignores_1xx=bool(check.get("ignoreHttp1xx")),
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
        keeps_answer=check["preserveLastResponse"],
    )


def _settled_health(check: Json) -> Json:
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
            told = f"No port definition reference for portName {check['portName']}"
            yield fault(f"{path}/portName", told)
        interval, timeout = check["intervalSeconds"], check["timeoutSeconds"]
        if timeout >= interval:
            yield fault(f"{path}/timeoutSeconds", f"got {timeout}, expected less than {interval}")
        if not check["httpStatusCodesForReady"]:
            yield fault(f"{path}/httpStatusCodesForReady", "error.minLength", "must not be empty")
