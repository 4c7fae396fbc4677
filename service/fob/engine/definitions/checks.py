"""Health and readiness checks as apps define them: Marathon's defaults, what is refused, and what
is then to be done."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fob.engine.definitions.containers import ports_of

Json = dict[str, Any]
Faults = list[Json]

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
_WHOLE = ("gracePeriodSeconds", "intervalSeconds", "timeoutSeconds", "maxConsecutiveFailures",
          "delaySeconds", "portIndex", "port")  # fmt: skip
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


def settled(definition: Json) -> Json:
    """The keys of checks, with defaults. The definition has no `faults`."""
    return {
        "healthChecks": [_settled_health(check) for check in definition["healthChecks"]],
        "readinessChecks": [_READINESS | _given(c) for c in definition["readinessChecks"]],
    }


def faults(definition: Json) -> Faults:
    """What is wrong with the checks, by Marathon's paths."""
    return [*_health_faults(definition), *_readiness_faults(definition)]


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
    full = _HEALTH | _given(check)
    if full["protocol"].endswith((HTTP, HTTPS)):
        full = {"path": "/", "ignoreHttp1xx": False} | full
    if full["protocol"] != COMMAND and "port" not in full:
        full = {"portIndex": 0} | full
    return full


def _given(check: Json) -> Json:
    return {key: value for key, value in check.items() if value is not None}


def _health_faults(definition: Json) -> Iterator[Json]:
    ports = len(ports_of(definition)) if definition["healthChecks"] else 0
    for number, given in enumerate(definition["healthChecks"]):
        path, check = f"/healthChecks({number})", _HEALTH | _given(given)
        if check["protocol"] not in HEALTH_PROTOCOLS:
            yield _fault(f"{path}/protocol", f"must be one of {', '.join(HEALTH_PROTOCOLS)}")
            continue
        yield from (wrong := list(_number_faults(path, check)))
        if wrong:
            continue
        if check["protocol"] == COMMAND:
            if not isinstance((check.get("command") or {}).get("value"), str):
                yield _fault(f"{path}/command/value", "error.path.missing")
        elif "port" not in check and not 0 <= check.get("portIndex", 0) < ports:
            yield _fault(path, _NO_PORT)


def _readiness_faults(definition: Json) -> Iterator[Json]:
    checks = definition["readinessChecks"]
    names = [port.name for port in ports_of(definition)] if checks else []
    if len(checks) > 1:
        yield _fault("/readinessChecks", f"size is {len(checks)}, expected 1 or less")
    for number, given in enumerate(checks):
        path, check = f"/readinessChecks({number})", _READINESS | _given(given)
        if check["protocol"] not in (HTTP, HTTPS):
            yield _fault(f"{path}/protocol", f"must be one of {HTTP}, {HTTPS}")
        if check["portName"] not in names:
            yield _fault(f"{path}/portName", f"is not one of the app's ports: {', '.join(names)}")
        yield from (wrong := list(_number_faults(path, check)))
        if not wrong and check["timeoutSeconds"] >= check["intervalSeconds"]:
            yield _fault(f"{path}/timeoutSeconds", "must be less than intervalSeconds")
        statuses = check["httpStatusCodesForReady"]
        if not isinstance(statuses, list) or not all(isinstance(each, int) for each in statuses):
            yield _fault(f"{path}/httpStatusCodesForReady", "error.expected.jsarray of numbers")


def _number_faults(path: str, check: Json) -> Iterator[Json]:
    for key in _WHOLE:
        value = check.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int):
            yield _fault(f"{path}/{key}", "error.expected.jsnumber")
        elif value < 0:
            yield _fault(f"{path}/{key}", f"got {value}, expected 0 or more")


def _fault(path: str, error: str) -> Json:
    return {"path": path, "errors": [error]}
