"""Faults of definitions whose fields are valid each by itself: contradictions, in Marathon's words,
and features of a cluster that this engine does not have."""

import functools
import os
import pwd
from collections.abc import Iterator
from typing import Any

from fob.engine.definitions import (
    checks,
    constraints,
    container_faults,
    containers,
    fetches,
    upgrades,
)
from fob.engine.definitions.containers import LEGACY_NETWORKS, image_of
from fob.engine.definitions.field_types import ENABLE, fault
from fob.engine.definitions.fields import path_error, resolve

Json = dict[str, Any]

_MIGRATION = "DCOS_MIGRATION_API_VERSION"
_MIGRATES = ("DCOS_PACKAGE_FRAMEWORK_NAME", "DCOS_MIGRATION_API_PATH")


def legacy_faults(given: Json) -> Iterator[Json]:
    """Faults of a parsed body: legacy fields that contradict newer ones, or that need a cluster."""
    docker = (given.get("container") or {}).get("docker", {})
    address = "ipAddress" in given
    if given.get("networks") and (address or "network" in docker):
        other = "networks and ipAddress" if address else "container.docker.network and networks"
        yield fault("/", f"must not specify both {other}")
    elif address and docker.get("network") not in LEGACY_NETWORKS:
        yield fault("/ipAddress", "this engine assigns no IP addresses to tasks")
    yield from _legacy_port_faults(given)
    if given.get("uris") and given.get("fetch"):
        yield fault("/uris", "may not be set in conjunction with fetch")
    if given.get("secrets"):
        yield fault("/secrets", ENABLE.format("secrets"))
    if "residency" in given:
        yield fault("/", "App must contain persistent volumes and define residency")
    if given.get("tty"):
        yield fault("/tty", "this engine provides no terminal to tasks")


def _legacy_port_faults(given: Json) -> Iterator[Json]:
    ports, definitions = given.get("ports"), given.get("portDefinitions")
    if ports is None:
        return
    if _has_duplicates(ports):
        yield fault("/", "ports must be unique")
    if definitions is not None and ports != [each.get("port", 0) for each in definitions]:
        yield fault("/", "cannot specify both ports and port definitions")


def faults(definition: Json) -> Iterator[Json]:
    """Faults of a definition with defaults, except those of its health and readiness checks."""
    yield from _command_faults(definition)
    yield from _variable_faults(definition["env"])
    yield from _role_faults(definition.get("acceptedResourceRoles"))
    if definition["container"] is not None or definition["networks"] != containers.HOSTS:
        yield from container_faults.faults(definition)
    yield from _port_faults(definition["portDefinitions"])
    if definition["gpus"]:
        docker = image_of(definition)
        message = "GPU resources only work with the Mesos containerizer"
        yield fault("/", message if docker else ENABLE.format("gpu_resources"))
    if _MIGRATION in definition["labels"]:
        yield from _label_faults(definition["labels"])
    for each in definition["dependencies"]:
        if error := path_error(resolve(each, definition["id"])):
            yield fault("/dependencies", error)
    yield from constraints.faults(definition)
    yield from fetches.faults(definition)
    yield from upgrades.faults(definition)


def fill_defaults(definition: Json) -> None:
    """Fill in the defaults inside fields, in place. The definition must have no `faults`."""
    if definition["constraints"]:
        definition["constraints"] = constraints.normalized(definition["constraints"])
    if definition["fetch"]:
        definition["fetch"] = fetches.with_defaults(definition["fetch"])
    definition["upgradeStrategy"] = upgrades.with_defaults(definition)
    checks.fill_defaults(definition)


def _command_faults(definition: Json) -> Iterator[Json]:
    cmd, args = definition["cmd"] is not None, definition["args"] is not None
    if (cmd and args) or not (cmd or args or image_of(definition)):
        message = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."
        yield fault("/", message)
    if definition["user"] not in (None, _own_user()):
        yield fault("/user", f"this engine runs tasks as {_own_user()} only")
    if definition["executor"] not in ("", "//cmd"):
        yield fault("/executor", "this engine supports only the executor //cmd")


@functools.cache
def _own_user() -> str:
    """Return the user that runs this engine; in a container it may be a number without a name."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _variable_faults(variables: Json) -> Iterator[Json]:
    secret = False
    for name, value in variables.items():
        if not name:
            yield fault("/env()", "must not be empty")
        elif "\0" in name or "=" in name:
            yield fault(f"/env({name})", "must contain neither '=' nor NUL")
        elif type(value) is dict:
            secret = True
            yield fault(f"/env({name})", "references an undefined secret")
    if secret:
        message = "use of secret-references in the environment requires the secrets feature to be"
        yield fault("/env", f"{message} enabled")


def _role_faults(roles: list[str] | None) -> Iterator[Json]:
    if roles == []:
        yield fault("/acceptedResourceRoles", "must not be empty")
    for role in roles or ():
        if role in ("", ".", ".."):
            yield fault("/acceptedResourceRoles", f'A role name must not be "{role}".')


def _port_faults(ports: list[Json]) -> Iterator[Json]:
    if len(ports) < 2:
        return
    if _has_duplicates([port["port"] for port in ports]):
        yield fault("/portDefinitions", "Ports must be unique.")
    yield from container_faults.mapping_faults("/portDefinitions", ports)


def _has_duplicates(ports: list[int]) -> bool:
    """Whether a port occurs twice; 0, which means any port, does not count."""
    fixed = [port for port in ports if port]
    return len(set(fixed)) < len(fixed)


def _label_faults(labels: Json) -> Iterator[Json]:
    if not labels.get(_MIGRATION):
        return
    if labels[_MIGRATION] != "v1" or not all(labels.get(name) for name in _MIGRATES):
        message = f"{' and '.join(_MIGRATES)} must be defined when using {_MIGRATION}"
        yield fault("/", message)
