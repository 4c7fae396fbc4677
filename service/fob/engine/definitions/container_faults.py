"""Parsers and validation of the fields `container` and `networks`."""

from collections.abc import Iterator
from typing import Any

from fob.engine.definitions.containers import (
    BRIDGE,
    CONTAINER,
    DOCKER,
    HOST,
    LEGACY_NETWORKS,
    MESOS,
)
from fob.engine.definitions.field_types import (
    ENABLE,
    LABELS,
    PORT,
    PORT_NAME,
    boolean,
    fault,
    integer,
    list_of,
    object_of,
    one_of,
    text,
    undefined,
)

Json = dict[str, Any]

_mappings = list_of(
    object_of(
        {
            "containerPort": PORT,
            "hostPort": PORT,
            "servicePort": PORT,
            "protocol": one_of("tcp", "udp", "udp,tcp", "tcp,udp"),
            "name": PORT_NAME,
            "labels": LABELS,
            "networkNames": list_of(text()),
        }
    )
)
_image = text(1)
_docker = object_of(
    {
        "image": _image,
        "network": one_of("BRIDGE", "HOST", "NONE", "USER"),
        "forcePullImage": boolean,
        "privileged": boolean,
        "parameters": list_of(object_of({"key": text(1), "value": text()}, ["key", "value"])),
        "portMappings": _mappings,
        "credential": object_of({}),
        "pullConfig": object_of({}),
    },
    ["image"],
)
_volumes = list_of(
    object_of(
        {
            "containerPath": text(1),
            "hostPath": text(1),
            "mode": one_of("RO", "RW"),
            "persistent": object_of({"size": integer()}),
            "external": object_of({}),
            "secret": text(1),
        }
    )
)
parse = object_of(
    {
        "type": one_of(DOCKER, MESOS),
        "docker": _docker,
        "appc": object_of({"image": _image}, ["image"]),
        "volumes": _volumes,
        "portMappings": _mappings,
    }
)
parse_networks = list_of(
    object_of({"mode": one_of(CONTAINER, BRIDGE, HOST), "name": text(1), "labels": LABELS})
)


def faults(definition: Json) -> Iterator[Json]:
    """Faults of `container` and `networks`, with Marathon's paths."""
    container = definition["container"]
    yield from _network_faults(definition["networks"], container is not None)
    if container is not None:
        yield from _container_faults(container)
        for path, mappings in _mappings_of(container):
            yield from mapping_faults(path, mappings)


def _network_faults(networks: list[Json], contained: bool) -> Iterator[Json]:
    modes = [network.get("mode", CONTAINER) for network in networks]
    if error := _combination_error(networks, modes):
        yield fault("/networks", error)
    elif any(m == CONTAINER and "name" not in n for m, n in zip(modes, networks, strict=True)):
        message = "Network name must be specified when container network is selected."
        yield fault("/networks", message)
    elif CONTAINER in modes:
        yield fault("/networks", f"this engine supports only the networks {HOST} and {BRIDGE}")
    elif modes == [BRIDGE] and not contained:
        yield fault("/networks", "only an app with a container may have a bridge network")


def _combination_error(networks: list[Json], modes: list[str]) -> str:
    """Return why these networks cannot be combined, in Marathon's words; empty if they can."""
    named = [network.get("name") for network in networks]
    if any(
        m == HOST and (n.get("name") or n.get("labels"))
        for m, n in zip(modes, networks, strict=True)
    ):
        return "Host networks may not have names or labels"
    if any(mode == BRIDGE and name for mode, name in zip(modes, named, strict=True)):
        return "Bridge networks may not have names"
    if modes.count(CONTAINER) == len(modes) > len(set(named)):
        return "Duplicate networks are not allowed"
    if len(modes) > 1 and modes.count(CONTAINER) < len(modes):
        return (
            "May specify a single host network, single bridge network, or else 1-to-n container "
            "networks"
        )
    return ""


def _container_faults(container: Json) -> Iterator[Json]:
    docker, kind = container.get("docker"), container.get("type", DOCKER)
    if kind == DOCKER and docker is None:
        yield fault("/container/docker", "not defined")
    elif docker is not None and "appc" in container:
        yield fault("/container", "mesos containers should specify, at most, a single image type")
    elif "appc" in container:
        yield fault("/container/appc", "this engine runs Docker images only")
    elif docker is None and container.get("volumes"):
        yield fault("/container/volumes", "this engine supports volumes only with a Docker image")
    for index, volume in enumerate(container.get("volumes", [])):
        yield from _volume_faults(f"/container/volumes({index})", volume)
    if docker is not None:
        yield from _docker_faults(docker, kind)
    if len([path for path, mappings in _mappings_of(container) if mappings]) > 1:
        yield fault("/container", "cannot specify both portMappings and docker.portMappings")


def _docker_faults(docker: Json, kind: str) -> Iterator[Json]:
    path = "/container/docker"
    unsupported = ["credential"] if kind == DOCKER else ["credential", "network", "portMappings"]
    for key in unsupported:
        if docker.get(key) is not None:
            yield fault(f"{path}/{key}", "must be empty")
    if "pullConfig" in docker and kind == DOCKER:
        yield fault(f"{path}/pullConfig", "pullConfig is not supported with Docker containerizer")
    elif "pullConfig" in docker:
        yield fault(f"{path}/pullConfig", "must be empty", ENABLE.format("secrets"))
    network = docker.get("network")
    if network and network not in LEGACY_NETWORKS:
        supported = " and ".join(LEGACY_NETWORKS)
        yield fault(f"{path}/network", f"this engine supports {supported}, not {network}")


def _mappings_of(container: Json) -> Iterator[tuple[str, list[Json]]]:
    """The port mappings in their places since and before Marathon 1.5, with their paths."""
    yield "/container/portMappings", container.get("portMappings", [])
    docker = container.get("docker", {})
    yield "/container/docker/portMappings", docker.get("portMappings", [])


def mapping_faults(path: str, mappings: list[Json]) -> Iterator[Json]:
    """Faults among port mappings or port definitions."""
    names = [mapping["name"] for mapping in mappings if "name" in mapping]
    if len(set(names)) < len(names):
        yield fault(path, "Port names must be unique.")
    for index, mapping in enumerate(mappings):
        if mapping.get("networkNames"):
            yield fault(f"{path}({index})/networkNames(0)", "is not one of ()")


def _volume_faults(path: str, volume: Json) -> Iterator[Json]:
    if "secret" in volume:
        yield fault("/container/volumes", "must be empty", ENABLE.format("secrets"))
        return
    if "persistent" in volume or "external" in volume:
        yield fault(path, "this engine creates no volumes; set hostPath")
        return
    for key in ("hostPath", "containerPath"):
        if key not in volume:
            yield fault(f"{path}/{key}", undefined(key, volume))
        elif not volume[key].startswith("/"):
            yield fault(f"{path}/{key}", "must be an absolute path")
