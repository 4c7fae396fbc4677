"""What an app's definition may say of its container and networks, and what is wrong with it."""

from collections.abc import Iterator
from typing import Any

from fob.engine.definitions.containers import (
    BRIDGE,
    CONTAINER,
    DOCKER,
    HOST,
    MESOS,
    OLDER_NETWORKS,
)
from fob.engine.definitions.field_types import (
    ENABLE,
    LABELS,
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

_MAPPINGS = listed(
    made_of(
        {
            "containerPort": PORT,
            "hostPort": PORT,
            "servicePort": PORT,
            "protocol": one_of("tcp", "udp", "udp,tcp", "tcp,udp"),
            "name": PORT_NAME,
            "labels": LABELS,
            "networkNames": listed(text()),
        }
    )
)
_IMAGE = text(1)
_DOCKER = made_of(
    {
        "image": _IMAGE,
        "network": one_of("BRIDGE", "HOST", "NONE", "USER"),
        "forcePullImage": truth,
        "privileged": truth,
        "parameters": listed(made_of({"key": text(1), "value": text()}, ["key", "value"])),
        "portMappings": _MAPPINGS,
        "credential": made_of({}),
        "pullConfig": made_of({}),
    },
    ["image"],
)
_VOLUMES = listed(
    made_of(
        {
            "containerPath": text(1),
            "hostPath": text(1),
            "mode": one_of("RO", "RW"),
            "persistent": made_of({"size": whole()}),
            "external": made_of({}),
            "secret": text(1),
        }
    )
)
READ = made_of(
    {
        "type": one_of(DOCKER, MESOS),
        "docker": _DOCKER,
        "appc": made_of({"image": _IMAGE}, ["image"]),
        "volumes": _VOLUMES,
        "portMappings": _MAPPINGS,
    }
)
READ_NETWORKS = listed(
    made_of({"mode": one_of(CONTAINER, BRIDGE, HOST), "name": text(1), "labels": LABELS})
)


def faults(definition: Json) -> Iterator[Json]:
    """What is wrong with `container` and `networks`, by Marathon's paths."""
    container = definition["container"]
    yield from _network_faults(definition["networks"], container is not None)
    if container is not None:
        yield from _container_faults(container)
        for path, mappings in _mappings_of(container):
            yield from mapping_faults(path, mappings)


def _network_faults(networks: list[Json], contained: bool) -> Iterator[Json]:
    modes = [network.get("mode", CONTAINER) for network in networks]
    if wrong := _mixed(networks, modes):
        yield fault("/networks", wrong)
    elif any(m == CONTAINER and "name" not in n for m, n in zip(modes, networks, strict=True)):
        told = "Network name must be specified when container network is selected."
        yield fault("/networks", told)
    elif CONTAINER in modes:
        yield fault("/networks", f"this engine offers one network, {HOST} or {BRIDGE}")
    elif modes == [BRIDGE] and not contained:
        yield fault("/networks", "only an app with a container has a network of its own")


def _mixed(networks: list[Json], modes: list[str]) -> str:
    """Why these networks do not go together, in Marathon's words."""
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
        yield fault("/container/appc", "this engine runs the images of Docker only")
    elif docker is None and container.get("volumes"):
        yield fault("/container/volumes", "this engine has volumes for images only")
    for index, volume in enumerate(container.get("volumes", [])):
        yield from _volume_faults(f"/container/volumes({index})", volume)
    if docker is not None:
        yield from _docker_faults(docker, kind)
    if len([path for path, mappings in _mappings_of(container) if mappings]) > 1:
        yield fault("/container", "cannot specify both portMappings and docker.portMappings")


def _docker_faults(docker: Json, kind: str) -> Iterator[Json]:
    path = "/container/docker"
    unfit = ["credential"] if kind == DOCKER else ["credential", "network", "portMappings"]
    for key in unfit:
        if docker.get(key) is not None:
            yield fault(f"{path}/{key}", "must be empty")
    if "pullConfig" in docker and kind == DOCKER:
        yield fault(f"{path}/pullConfig", "pullConfig is not supported with Docker containerizer")
    elif "pullConfig" in docker:
        yield fault(f"{path}/pullConfig", "must be empty", ENABLE.format("secrets"))
    network = docker.get("network")
    if network and network not in OLDER_NETWORKS:
        offered = " and ".join(OLDER_NETWORKS)
        yield fault(f"{path}/network", f"this engine offers {offered}, not {network}")


def _mappings_of(container: Json) -> Iterator[tuple[str, list[Json]]]:
    """The port mappings where they are now, and where they were before Marathon 1.5."""
    yield "/container/portMappings", container.get("portMappings", [])
    docker = container.get("docker", {})
    yield "/container/docker/portMappings", docker.get("portMappings", [])


def mapping_faults(path: str, mappings: list[Json]) -> Iterator[Json]:
    """What is wrong with port mappings, or port definitions, side by side."""
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
        yield fault(path, "this engine has no volumes of its own; give a hostPath")
        return
    for key in ("hostPath", "containerPath"):
        if key not in volume:
            yield fault(f"{path}/{key}", "error.path.missing")
        elif not volume[key].startswith("/"):
            yield fault(f"{path}/{key}", "must be an absolute path")
