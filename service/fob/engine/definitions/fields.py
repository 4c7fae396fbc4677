"""The keys that an app's definition may have, and the older ones in the words of the newer."""

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
    Path,
    Read,
    fault,
    listed,
    made_of,
    mapped,
    number,
    one_of,
    text,
    truth,
    whole,
)

Json = dict[str, Any]

ID_LONGEST = 200  # characters; a folder has its name
_SEGMENT = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_ID = re.compile(f"(?:/{_SEGMENT.pattern})+")
_RESERVED = ("/restart", "/tasks", "/versions")
_NO_PATH = (
    "must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*"
    "([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$'"
)
_EXECUTOR = re.compile("(//cmd)|(/?[^/]+(/[^/]+)*)|")
_PORT_DEFINITION: Json = {"port": 0, "protocol": "tcp", "labels": {}}
_text, _secret = text(), made_of({"secret": text(1)}, ["secret"])


def _variable(value: Any, path: Path, faults: Faults) -> Any:
    return (_secret if type(value) is dict else _text)(value, path, faults)


_FIELDS: dict[str, Read] = {
    "acceptedResourceRoles": listed(_text),
    "args": listed(_text),
    "backoffFactor": number(1),
    "backoffSeconds": number(0),
    "cmd": text(1),
    "constraints": constraints.READ,
    "container": container_faults.READ,
    "cpus": number(0),
    "dependencies": listed(text(1)),
    "disk": number(0),
    "env": mapped(_variable),
    "executor": text(pattern=_EXECUTOR),
    "fetch": fetches.READ,
    "gpus": whole(),
    "healthChecks": checks.READ_HEALTH,
    "instances": whole(),
    "ipAddress": made_of({}),
    "killSelection": one_of("YOUNGEST_FIRST", "OLDEST_FIRST"),
    "labels": LABELS,
    "maxLaunchDelaySeconds": number(0),
    "mem": number(0),
    "networks": container_faults.READ_NETWORKS,
    "portDefinitions": listed(
        made_of(
            {
                "port": PORT,
                "protocol": one_of("tcp", "udp", "udp,tcp"),
                "name": PORT_NAME,
                "labels": LABELS,
            }
        )
    ),
    "ports": listed(PORT),
    "readinessChecks": checks.READ_READINESS,
    "requirePorts": truth,
    "residency": made_of({}),
    "secrets": mapped(made_of({"source": text(1)}, ["source"])),
    "taskKillGracePeriodSeconds": number(0),
    "tty": truth,
    "unreachableStrategy": upgrades.read_unreachable,
    "upgradeStrategy": upgrades.READ,
    "uris": fetches.READ_URIS,
    "user": _text,
}
KEYS = frozenset(_FIELDS)
READ = made_of(_FIELDS)
_OLDER = frozenset(("ports", "uris", "ipAddress", "residency", "secrets", "tty"))
_AS_IF_ABSENT = ("args", "networks")  # when they are empty


def newer(given: Json) -> Json:
    """What was read, by the keys that Marathon has since 1.5."""
    found = {key: value for key, value in given.items() if key not in _OLDER}
    if "ports" in given and "portDefinitions" not in given:
        found["portDefinitions"] = [{"port": port} for port in given["ports"]]
    if given.get("uris") and not given.get("fetch"):
        found["fetch"] = fetches.from_uris(given["uris"])
    if ports := found.get("portDefinitions"):
        found["portDefinitions"] = [_PORT_DEFINITION | port for port in ports]
    for key in _AS_IF_ABSENT:
        if given.get(key) == []:
            del found[key]
    return found


def read_id(value: Any, faults: Faults) -> str:
    """The absolute id of an app; a relative one is in the root."""
    if value is None or not isinstance(value, str) or not value:
        missing = "error.path.missing" if value is None else "error.expected.jsstring"
        faults.append(fault("/id", "error.minLength" if value == "" else missing))
        return "/"
    id_ = value if len(value) <= ID_LONGEST and _ID.fullmatch(value) else resolved(value, "/")
    if id_ == "/":
        faults.append(fault("/id", "Path must contain at least one path element"))
    elif error := path_error(id_):
        faults.append(fault("/id", error))
    return id_


def resolved(path: str, group_id: str) -> str:
    """`path` as an absolute id: one that does not begin with a slash is relative to the group, and
    `..` is the group above."""
    parts: list[str] = []
    for part in [*([] if path.startswith("/") else group_id.split("/")), *path.split("/")]:
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def path_error(path: str) -> str | None:
    """What is wrong with the id of an app or a group; None when nothing is."""
    if len(path) > ID_LONGEST:
        return f"has {len(path)} characters, expected {ID_LONGEST} or fewer"
    if not _ID.fullmatch(path) or path.endswith(_RESERVED):
        return _NO_PATH
    return None
