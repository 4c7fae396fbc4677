"""What is wrong with a definition whose keys are all fine alone, in Marathon's words; and what
this engine, which is one machine, does not do."""

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
from fob.engine.definitions.containers import OLDER_NETWORKS, image_of
from fob.engine.definitions.field_types import ENABLE, fault
from fob.engine.definitions.fields import path_error, resolved

Json = dict[str, Any]

_MIGRATION = "DCOS_MIGRATION_API_VERSION"
_MIGRATES = ("DCOS_PACKAGE_FRAMEWORK_NAME", "DCOS_MIGRATION_API_PATH")


def older_faults(given: Json) -> Iterator[Json]:
    """Of keys as they were read: older ones that contradict newer ones, and those that only a
    cluster can honour."""
    docker = (given.get("container") or {}).get("docker", {})
    address = "ipAddress" in given
    if given.get("networks") and (address or "network" in docker):
        other = "networks and ipAddress" if address else "container.docker.network and networks"
        yield fault("/", f"must not specify both {other}")
    elif address and docker.get("network") not in OLDER_NETWORKS:
        yield fault("/ipAddress", "this engine gives no task an address of its own")
    yield from _older_port_faults(given)
    if given.get("uris") and given.get("fetch"):
        yield fault("/uris", "may not be set in conjunction with fetch")
    if given.get("secrets"):
        yield fault("/secrets", ENABLE.format("secrets"))
    if "residency" in given:
        yield fault("/", "App must contain persistent volumes and define residency")
    if given.get("tty"):
        yield fault("/tty", "this engine gives no task a terminal")


def _older_port_faults(given: Json) -> Iterator[Json]:
    ports, definitions = given.get("ports"), given.get("portDefinitions")
    if ports is None:
        return
    if _twice(ports):
        yield fault("/", "ports must be unique")
    if definitions is not None and ports != [each.get("port", 0) for each in definitions]:
        yield fault("/", "cannot specify both ports and port definitions")


def faults(definition: Json) -> Iterator[Json]:
    """Of a definition with its defaults, but for what its checks say of ports."""
    yield from _way_faults(definition)
    yield from _variable_faults(definition["env"])
    yield from _role_faults(definition.get("acceptedResourceRoles"))
    if definition["container"] is not None or definition["networks"] != containers.HOSTS:
        yield from container_faults.faults(definition)
    yield from _port_faults(definition["portDefinitions"])
    if definition["gpus"]:
        docker = image_of(definition)
        told = "GPU resources only work with the Mesos containerizer"
        yield fault("/", told if docker else ENABLE.format("gpu_resources"))
    if _MIGRATION in definition["labels"]:
        yield from _label_faults(definition["labels"])
    for each in definition["dependencies"]:
        if error := path_error(resolved(each, definition["id"])):
            yield fault("/dependencies", error)
    yield from constraints.faults(definition)
    yield from fetches.faults(definition)
    yield from upgrades.faults(definition)


def settle(definition: Json) -> None:
    """Fill in what has defaults of its own. The definition has no `faults`."""
    if definition["constraints"]:
        definition["constraints"] = constraints.settled(definition["constraints"])
    if definition["fetch"]:
        definition["fetch"] = fetches.settled(definition["fetch"])
    definition["upgradeStrategy"] = upgrades.settled(definition)
    checks.settle(definition)


def _way_faults(definition: Json) -> Iterator[Json]:
    cmd, args = definition["cmd"] is not None, definition["args"] is not None
    if (cmd and args) or not (cmd or args or image_of(definition)):
        told = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."
        yield fault("/", told)
    if definition["user"] not in (None, _own_user()):
        yield fault("/user", f"this engine runs tasks as {_own_user()} only")
    if definition["executor"] not in ("", "//cmd"):
        yield fault("/executor", "this engine has no executor but //cmd")


@functools.cache
def _own_user() -> str:
    """Who runs this engine; in a container that may be a number without a name."""
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
            yield fault(f"/env({name})", "must have neither '=' nor NUL in it")
        elif type(value) is dict:
            secret = True
            yield fault(f"/env({name})", "references an undefined secret")
    if secret:
        told = "use of secret-references in the environment requires the secrets feature to be"
        yield fault("/env", f"{told} enabled")


def _role_faults(roles: list[str] | None) -> Iterator[Json]:
    if roles == []:
        yield fault("/acceptedResourceRoles", "must not be empty")
    for role in roles or ():
        if role in ("", ".", ".."):
            yield fault("/acceptedResourceRoles", f'A role name must not be "{role}".')


def _port_faults(ports: list[Json]) -> Iterator[Json]:
    if len(ports) < 2:
        return
    if _twice([port["port"] for port in ports]):
        yield fault("/portDefinitions", "Ports must be unique.")
    yield from container_faults.mapping_faults("/portDefinitions", ports)


def _twice(ports: list[int]) -> bool:
    """True when one is there twice that is not just any port."""
    fixed = [port for port in ports if port]
    return len(set(fixed)) < len(fixed)


def _label_faults(labels: Json) -> Iterator[Json]:
    if not labels.get(_MIGRATION):
        return
    if labels[_MIGRATION] != "v1" or not all(labels.get(name) for name in _MIGRATES):
        told = f"{' and '.join(_MIGRATES)} must be defined when using {_MIGRATION}"
        yield fault("/", told)
