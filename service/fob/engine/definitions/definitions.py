"""App definitions: Marathon's defaults, what is refused, and how a change is merged in."""

import getpass
import re
from collections.abc import Callable
from typing import Any

from fob.engine import pieces
from fob.engine.definitions import checks, constraints, fetches, upgrades
from fob.engine.definitions.containers import faults as container_faults
from fob.engine.definitions.containers import image_of
from fob.engine.definitions.containers import settled as settled_container
from fob.engine.refusals import invalid

# Marathon's wire names, complete with defaults; in `env`, long values are in pieces
Definition = dict[str, Any]
Faults = list[dict[str, Any]]

# Marathon 1.5's own defaults; what is absent here is absent from the answers
DEFAULTS: Definition = {
    "args": None,
    "backoffFactor": 1.15,
    "backoffSeconds": 1,
    "cmd": None,
    "constraints": [],
    "container": None,
    "cpus": 1,
    "dependencies": [],
    "disk": 0,
    "env": {},
    "executor": "",
    "fetch": [],
    "healthChecks": [],
    "instances": 1,
    "labels": {},
    "maxLaunchDelaySeconds": 300,
    "mem": 128,
    "networks": [{"mode": "host"}],
    "portDefinitions": [{"port": 0, "protocol": "tcp", "labels": {}}],
    "readinessChecks": [],
    "requirePorts": False,
    "upgradeStrategy": {"minimumHealthCapacity": 1, "maximumOverCapacity": 1},
    "user": None,
}
OPTIONAL = ("acceptedResourceRoles", "taskKillGracePeriodSeconds", "killSelection", "gpus")

_SEGMENT = re.compile(r"(?:[a-z0-9]|[a-z0-9][a-z0-9-]*[a-z0-9])(?:\.(?:[a-z0-9-]*[a-z0-9]))*")
_RESERVED_SEGMENTS = ("restart", "tasks", "versions")
_PORT_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
ACTIVATION_LABEL = "FOB_ACTIVATION"


def activated(definition: Definition) -> bool:
    """True for an app that takes its listening socket from its parent and says when it is ready."""
    return ACTIVATION_LABEL in definition["labels"]


def on_demand(definition: Definition) -> bool:
    """True for an app whose tasks run while they are called, and else are their socket only."""
    wanted = definition["labels"].get(ACTIVATION_LABEL) == "on-demand"
    return wanted and bool(definition["portDefinitions"]) and not image_of(definition)


def command_of(definition: Definition) -> list[str]:
    """The command line of each of the app's tasks."""
    if definition["cmd"] is not None:
        return ["/bin/sh", "-c", definition["cmd"]]
    arguments: list[str] = definition["args"] or []
    return arguments


def absolute(app_id: str) -> str:
    """`app_id` with one leading slash, none doubled, none trailing."""
    return "/" + "/".join(part for part in app_id.split("/") if part)


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


def complete(body: Any, app_id: str | None = None) -> Definition:
    """The definition that `body` asks for, with every default filled in.

    `null` means absent and unknown keys are ignored, as Marathon has it.
    Raises `Refusal` 422 naming every fault.
    """
    if not isinstance(body, dict):
        raise invalid([fault("/", "error.expected.jsobject")])
    given = {key: value for key, value in body.items() if value is not None}
    definition: Definition = {key: given.get(key, default) for key, default in DEFAULTS.items()}
    definition |= {key: given[key] for key in OPTIONAL if key in given}
    if "ports" in given and "portDefinitions" not in given:
        definition["portDefinitions"] = _from_ports(given["ports"])
    if "uris" in given and "fetch" not in given:
        definition["fetch"] = fetches.from_uris(given["uris"])
    definition["id"] = app_id or given.get("id")
    faults = _faults(definition)
    if faults:
        raise invalid(faults)
    definition["id"] = absolute(str(definition["id"]))
    group_id = definition["id"].rpartition("/")[0]
    definition["dependencies"] = [resolved(id_, group_id) for id_ in definition["dependencies"]]
    definition["env"] = pieces.folded(definition["env"])
    definition |= settled_container(definition)
    definition |= checks.settled(definition) | fetches.settled(definition)
    return definition | upgrades.settled(definition)


def merge(old: Definition, change: Any, app_id: str) -> Definition:
    """`old` with the keys of `change` put in its place (PUT and PATCH merge at the top level)."""
    if not isinstance(change, dict):
        raise invalid([fault("/", "error.expected.jsobject")])
    change = {key: value for key, value in change.items() if key not in ("id", "version")}
    kept = old | {"env": pieces.unfolded(old["env"])}
    for older, newer in (("uris", "fetch"), ("ports", "portDefinitions")):
        if older in change and newer not in change:
            del kept[newer]
    if "cmd" in change and change["cmd"] is not None:
        kept["args"] = None
    if "args" in change and change["args"] is not None:
        kept["cmd"] = None
    return complete(kept | change, app_id)


def fault(path: str, *errors: str) -> dict[str, Any]:
    return {"path": path, "errors": list(errors)}


def _from_ports(ports: Any) -> Any:
    if not isinstance(ports, list):
        return ports
    return [{"port": port, "protocol": "tcp", "labels": {}} for port in ports]


def _faults(definition: Definition) -> Faults:
    faults: Faults = []
    for key, check in _CHECKS.items():
        if key in definition and (error := check(definition[key])):
            faults.append(fault(f"/{key}", error))
    if not faults:
        faults = _faults_between(definition)
    return faults


def _faults_between(definition: Definition) -> Faults:
    """Faults of keys that are fine alone: one way to run, and nothing we cannot honour."""
    faults: Faults = []
    ways = [key for key in ("cmd", "args") if definition[key] is not None]
    if len(ways) == 2 or (not ways and not definition["container"]):
        faults.append(fault("/", "AppDefinition must either contain one of 'cmd' or 'args', "
                                  "and/or a 'container'."))  # fmt: skip
    user = definition["user"]
    if user is not None and user != getpass.getuser():
        faults.append(fault("/user", f"this engine runs tasks as {getpass.getuser()} only"))
    faults += container_faults(definition)
    if not faults:  # whose ports they speak of
        faults += checks.faults(definition)
    faults += [*constraints.faults(definition), *fetches.faults(definition)]
    return [*faults, *upgrades.faults(definition)]


def _number(minimum: float) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "error.expected.jsnumber"
        if not minimum <= value < float("inf"):
            return f"got {float(value)}, expected {float(minimum)} or more"
        return None

    return check


def _whole(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return "error.expected.jsnumber"
    return None if value >= 0 else f"got {value}, expected 0 or more"


def _string(value: Any) -> str | None:
    return None if value is None or isinstance(value, str) else "error.expected.jsstring"


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else "error.expected.jsboolean"


def _list(value: Any) -> str | None:
    return None if value is None or isinstance(value, list) else "error.expected.jsarray"


def _object(value: Any) -> str | None:
    return None if value is None or isinstance(value, dict) else "error.expected.jsobject"


def _strings(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "error.expected.jsobject"
    wrong = [key for key, text in value.items() if not isinstance(text, str)]
    if wrong:
        return f"error.expected.jsstring at {', '.join(sorted(wrong))}"
    if any("\0" in key or "=" in key or not key or "\0" in text for key, text in value.items()):
        return "a name may hold neither '=' nor NUL, and a value no NUL"
    return None


def _roles(value: Any) -> str | None:
    if not isinstance(value, list) or not value or not all(isinstance(r, str) for r in value):
        return "must not be empty" if value == [] else "error.expected.jsarray of strings"
    return None


def _app_id(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip("/"):
        return "error.path.missing" if value is None else "must be a path of names"
    return path_error(value)


def path_error(path: str) -> str | None:
    """What is wrong with the id of an app or a group; None when nothing is."""
    parts = [part for part in path.split("/") if part]
    if not all(_SEGMENT.fullmatch(part) for part in parts) or parts[-1] in _RESERVED_SEGMENTS:
        return (
            "must fully match regular expression "
            "'^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*"
            "([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])|(\\.|\\.\\.)$'"
        )
    return None


def _arguments(value: Any) -> str | None:
    if value is None or (isinstance(value, list) and all(isinstance(a, str) for a in value)):
        return None
    return "error.expected.jsarray of strings"


def _port_definitions(value: Any) -> str | None:
    if not isinstance(value, list):
        return "error.expected.jsarray"
    for port in value:
        number = port.get("port", 0) if isinstance(port, dict) else None
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65535:
            return f"got {number}, expected between 0 and 65535"
        name = port.get("name")
        if name is not None and not (isinstance(name, str) and _PORT_NAME.fullmatch(name)):
            return "port name must match ^[a-z][-a-z0-9]*[a-z0-9]$"
    numbers = [port.get("port", 0) for port in value if port.get("port", 0)]
    return "Ports must be unique." if len(set(numbers)) < len(numbers) else None


def _dictionaries(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return None
    return "error.expected.jsarray of objects"


_CHECKS: dict[str, Callable[[Any], str | None]] = {
    "id": _app_id,
    "args": _arguments,
    "backoffFactor": _number(1),
    "backoffSeconds": _number(0),
    "cmd": _string,
    "constraints": _list,
    "container": _object,
    "cpus": _number(0),
    "dependencies": _arguments,
    "disk": _number(0),
    "env": _strings,
    "executor": _string,
    "fetch": _list,
    "healthChecks": _dictionaries,
    "instances": _whole,
    "labels": _strings,
    "maxLaunchDelaySeconds": _number(0),
    "mem": _number(0),
    "networks": _list,
    "portDefinitions": _port_definitions,
    "readinessChecks": _dictionaries,
    "requirePorts": _truth,
    "upgradeStrategy": _object,
    "user": _string,
    "acceptedResourceRoles": _roles,
    "taskKillGracePeriodSeconds": _number(0),
    "killSelection": _string,
    "gpus": _whole,
}
