"""App definitions: Marathon's defaults, validation, and how a change is merged in."""

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

# Marathon's JSON with all defaults filled in, except that long values of `env` are `ChunkedText`
Definition = dict[str, Any]
Faults = field_types.Faults

# Marathon 1.5's defaults; a field without a default here is absent from responses unless set
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
_SHARED = ("healthChecks", "portDefinitions", "upgradeStrategy")  # equal in most apps
ACTIVATION_LABEL = contract.ACTIVATION


def activated(definition: Definition) -> bool:
    """Whether the app's tasks inherit their listening socket and report when they are ready."""
    return ACTIVATION_LABEL in definition["labels"]


def on_demand(definition: Definition) -> bool:
    """Whether the app's tasks have a process only while they are called, and else just a socket."""
    labelled = definition["labels"].get(ACTIVATION_LABEL) == "on-demand"
    return labelled and bool(definition["portDefinitions"]) and not image_of(definition)


def command_of(definition: Definition) -> list[str]:
    """Return the command line of the app's tasks."""
    if definition["cmd"] is not None:
        return ["/bin/sh", "-c", definition["cmd"]]
    arguments: list[str] = definition["args"] or []
    return arguments


def absolute(app_id: str) -> str:
    """Return `app_id` with one leading slash, none doubled, none trailing."""
    return "/" + "/".join(part for part in app_id.split("/") if part)


def complete(body: Any, app_id: str | None = None) -> Definition:
    """Return the definition that `body` asks for, with every default filled in.

    As in Marathon, null means absent, and unknown keys are ignored. `app_id` overrides the id in
    the body. Raises `ApiError` 422 naming every fault.
    """
    faults: Faults = []
    given: Definition = fields.parse(body, None, faults)
    id_ = fields.parse_id({"id": app_id} if app_id else body, faults)
    _check(faults)
    definition = DEFAULTS | fields.modernized(given) | {"id": id_}
    _check(list(rules.legacy_faults(given)) or list(rules.faults(definition)))
    if image_of(definition):
        ports = definition["portDefinitions"] if _PORTS & given.keys() else []
        definition |= containers.normalized(definition, len(ports))
    _check(list(checks.faults(definition)))  # checks refer to the normalized ports
    if definition["dependencies"]:
        group_id, needs = id_.rpartition("/")[0], definition["dependencies"]
        definition["dependencies"] = [fields.resolve(each, group_id) for each in needs]
    definition["env"] = chunks.chunk_values(definition["env"])
    rules.fill_defaults(definition)
    definition |= {name: chunks.shared(definition[name]) for name in _SHARED}
    return definition


def _check(faults: Faults) -> None:
    if faults:
        raise invalid(faults)


def merge(old: Definition, change: Any, app_id: str) -> Definition:
    """Return `old` with the top-level fields of `change` replaced, as PUT and PATCH merge."""
    if not isinstance(change, dict):
        raise invalid([fault("/", "error.expected.jsobject")])
    change = {key: value for key, value in change.items() if key not in ("id", "version")}
    kept = old | {"env": chunks.join_values(old["env"])}
    if containers.bridged(old):  # then `container.portMappings` has the ports
        del kept["portDefinitions"]
    if "networks" not in change and containers.has_legacy_network(change.get("container")):
        del kept["networks"]
    for legacy, modern in (("uris", "fetch"), ("ports", "portDefinitions")):
        if legacy in change and modern not in change:
            kept.pop(modern, None)
    if "cmd" in change and change["cmd"] is not None:
        kept["args"] = None
    if "args" in change and change["args"] is not None:
        kept["cmd"] = None
    return complete(kept | change, app_id)


fault = field_types.fault
path_error = fields.path_error
resolve = fields.resolve
