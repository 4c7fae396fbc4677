"""App definitions: Marathon's defaults, what is refused, and how a change is merged in."""

from typing import Any

from fob import contract
from fob.engine import chunks
from fob.engine.definitions import (
    checks,
    containers,
    field_types,
    fields,
    rules,
    upgrades,
)
from fob.engine.definitions.containers import image_of
from fob.engine.errors import invalid

# Marathon's wire names, complete with defaults; in `env`, long values are in pieces
Definition = dict[str, Any]
Faults = field_types.Faults

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
    "gpus": 0,
    "healthChecks": [],
    "instances": 1,
    "killSelection": "YOUNGEST_FIRST",
    "labels": {},
    "maxLaunchDelaySeconds": 300,
    "mem": 128,
    "networks": containers.HOSTS,
    "portDefinitions": [{"port": 0, "protocol": "tcp", "labels": {}}],
    "readinessChecks": [],
    "requirePorts": False,
    "unreachableStrategy": upgrades.UNREACHABLE,
    "upgradeStrategy": {},
    "user": None,
}
_PORTS = frozenset(("ports", "portDefinitions"))
_OFTEN_EQUAL = ("healthChecks", "portDefinitions", "upgradeStrategy")  # in many apps
ACTIVATION_LABEL = contract.ACTIVATION


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


def complete(body: Any, app_id: str | None = None) -> Definition:
    """The definition that `body` asks for, with every default filled in.

    `null` means absent and unknown keys are ignored, as Marathon has it.
    Raises `Refusal` 422 naming every fault.
    """
    faults: Faults = []
    given: Definition = fields.READ(body, None, faults)
    id_ = fields.read_id(app_id or (body.get("id") if isinstance(body, dict) else None), faults)
    _check(faults)
    definition = DEFAULTS | fields.newer(given) | {"id": id_}
    _check(list(rules.older_faults(given)) or list(rules.faults(definition)))
    if image_of(definition):
        ports = definition["portDefinitions"] if _PORTS & given.keys() else []
        definition |= containers.settled(definition, len(ports))
    _check(list(checks.faults(definition)))  # who speak of the settled ports
    if definition["dependencies"]:
        group_id, needs = id_.rpartition("/")[0], definition["dependencies"]
        definition["dependencies"] = [fields.resolved(each, group_id) for each in needs]
    definition["env"] = chunks.folded(definition["env"])
    rules.settle(definition)
    definition |= {name: chunks.common(definition[name]) for name in _OFTEN_EQUAL}
    return definition


def _check(faults: Faults) -> None:
    if faults:
        raise invalid(faults)


def merge(old: Definition, change: Any, app_id: str) -> Definition:
    """`old` with the keys of `change` put in its place (PUT and PATCH merge at the top level)."""
    if not isinstance(change, dict):
        raise invalid([fault("/", "error.expected.jsobject")])
    change = {key: value for key, value in change.items() if key not in ("id", "version")}
    kept = old | {"env": chunks.unfolded(old["env"])}
    if containers.bridged(old):  # whose ports are its container's
        del kept["portDefinitions"]
    if "networks" not in change and containers.older_network(change.get("container")):
        del kept["networks"]
    for older, newer in (("uris", "fetch"), ("ports", "portDefinitions")):
        if older in change and newer not in change:
            kept.pop(newer, None)
    if "cmd" in change and change["cmd"] is not None:
        kept["args"] = None
    if "args" in change and change["args"] is not None:
        kept["cmd"] = None
    return complete(kept | change, app_id)


fault = field_types.fault
path_error = fields.path_error
resolved = fields.resolved
