"""The fields of an app definition, and how those of older Marathons become those of 1.5."""

import re
from typing import Any

from fob.engine.definitions import (
    checks,
    constraints,
    container_faults,
    fetches,
    upgrades,
)
from fob.engine.definitions.field_types import (
    LABELS,
    PORT,
    PORT_NAME,
    Faults,
    Parser,
    Path,
    boolean,
    fault,
    integer,
    list_of,
    map_of,
    number,
    object_of,
    one_of,
    text,
    undefined,
)

Json = dict[str, Any]

MAX_ID_CHARS = 200  # an id names a folder, and file names have at most 255 bytes
_SEGMENT = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ID = re.compile(f"(?:/{_SEGMENT.pattern})+")
_RESERVED = ("/restart", "/tasks", "/versions")
_NOT_A_PATH = (
    "must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*"
    "([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$'"
)
_EXECUTOR = re.compile("(//cmd)|(/?[^/]+(/[^/]+)*)|")
_PORT_DEFINITION: Json = {"port": 0, "protocol": "tcp", "labels": {}}
_text, _secret = text(), object_of({"secret": text(1)}, ["secret"])


def _variable(value: Any, path: Path, faults: Faults) -> Any:
    return (_secret if type(value) is dict else _text)(value, path, faults)


_FIELDS: dict[str, Parser] = {
    "acceptedResourceRoles": list_of(_text),
    "args": list_of(_text),
    "backoffFactor": number(1),
    "backoffSeconds": number(0),
    "cmd": text(1),
    "constraints": constraints.parse,
    "container": container_faults.parse,
    "cpus": number(0),
    "dependencies": list_of(text(1)),
    "disk": number(0),
    "env": map_of(_variable),
    "executor": text(pattern=_EXECUTOR),
    "fetch": fetches.parse,
    "gpus": integer(),
    "healthChecks": checks.parse_health_checks,
    "instances": integer(),
    "ipAddress": object_of({}),
    "killSelection": one_of("YOUNGEST_FIRST", "OLDEST_FIRST"),
    "labels": LABELS,
    "maxLaunchDelaySeconds": number(0),
    "mem": number(0),
    "networks": container_faults.parse_networks,
    "portDefinitions": list_of(
        object_of(
            {
                "port": PORT,
                "protocol": one_of("tcp", "udp", "udp,tcp"),
                "name": PORT_NAME,
                "labels": LABELS,
            }
        )
    ),
    "ports": list_of(PORT),
    "readinessChecks": checks.parse_readiness_checks,
    "requirePorts": boolean,
    "residency": object_of({}),
    "secrets": map_of(object_of({"source": text(1)}, ["source"])),
    "taskKillGracePeriodSeconds": number(0),
    "tty": boolean,
    "unreachableStrategy": upgrades.parse_unreachable,
    "upgradeStrategy": upgrades.parse,
    "uris": fetches.parse_uris,
    "user": _text,
}
KEYS = frozenset(_FIELDS)
parse = object_of(_FIELDS)
_LEGACY = frozenset(("ports", "uris", "ipAddress", "residency", "secrets", "tty"))
_ABSENT_IF_EMPTY = ("args", "networks")


def modernized(given: Json) -> Json:
    """Replace the fields of older Marathons by those that Marathon 1.5 has in their place."""
    found = {key: value for key, value in given.items() if key not in _LEGACY}
    if "ports" in given and "portDefinitions" not in given:
        found["portDefinitions"] = [{"port": port} for port in given["ports"]]
    if given.get("uris") and not given.get("fetch"):
        found["fetch"] = fetches.from_uris(given["uris"])
    if ports := found.get("portDefinitions"):
        found["portDefinitions"] = [_PORT_DEFINITION | port for port in ports]
    for key in _ABSENT_IF_EMPTY:
        if given.get(key) == []:
            del found[key]
    return found


def parse_id(body: Any, faults: Faults) -> str:
    """Return the absolute id of the app in `body`; a relative id is relative to the root group."""
    if not isinstance(body, dict):
        return "/"  # which is a fault already
    value = body.get("id")
    if not isinstance(value, str) or not value:
        wrong = "error.expected.jsstring" if "id" in body else undefined("id", body)
        faults.append(fault("/id", "error.minLength" if value == "" else wrong))
        return "/"
    id_ = value if len(value) <= MAX_ID_CHARS and _ID.fullmatch(value) else resolve(value, "/")
    if id_ == "/":
        faults.append(fault("/id", "Path must contain at least one path element"))
    elif error := path_error(id_):
        faults.append(fault("/id", error))
    return id_


def resolve(path: str, group_id: str) -> str:
    """Return `path` as an absolute id: without a leading slash it is relative to the group, and
    `..` is the parent group."""
    parts: list[str] = []
    for part in [*([] if path.startswith("/") else group_id.split("/")), *path.split("/")]:
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def path_error(path: str) -> str | None:
    """Return what is wrong with the id of an app or group; None if it is valid."""
    if len(path) > MAX_ID_CHARS:
        return f"has {len(path)} characters, expected {MAX_ID_CHARS} or fewer"
    if not _ID.fullmatch(path) or path.endswith(_RESERVED):
        return _NOT_A_PATH
    return None
