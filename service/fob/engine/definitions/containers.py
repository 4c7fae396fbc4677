"""What an app's definition says of its container: checked, and put into Marathon's newer words.

Marathon had the network and the port mappings in `container.docker` before 1.5, and in `networks`
and `container.portMappings` since. The engine takes both and keeps the newer ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
Faults = list[Json]

BRIDGE, HOST = "container/bridge", "host"
SANDBOX = "/mnt/mesos/sandbox"  # Mesos's, inside a container
_OLDER_NETWORKS = {"BRIDGE": BRIDGE, "HOST": HOST}
_TYPES = ("DOCKER", "MESOS")
_PROTOCOLS = ("tcp", "udp", "tcp,udp", "udp,tcp")

_EXPECTED: dict[type, str] = {
    str: "error.expected.jsstring",
    bool: "error.expected.jsboolean",
    int: "error.expected.jsnumber",
    list: "error.expected.jsarray",
    dict: "error.expected.jsobject",
}
_CONTAINER: dict[str, type] = {"type": str, "docker": dict, "volumes": list, "portMappings": list}
_DOCKER: dict[str, type] = {
    "image": str,
    "network": str,
    "forcePullImage": bool,
    "privileged": bool,
    "parameters": list,
    "portMappings": list,
}
_MAPPING: dict[str, type] = {"containerPort": int, "hostPort": int, "protocol": str, "name": str}
_VOLUME: dict[str, type] = {"containerPath": str, "hostPath": str, "mode": str}
_PARAMETER: dict[str, type] = {"key": str, "value": str}


@dataclass(frozen=True)
class Port:
    """A port that an app asks for: the number it must have on the host (0: any), the number that
    its `PORT_<number>` has (0: none), and its name, or none."""

    fixed: int
    known_as: int
    name: str


@dataclass(frozen=True)
class Container:
    """A container to be: `ports` are (host, inside, protocol), empty on the host's own network;
    `volumes` are (host path, path inside, mode), `mem` is MiB (0: no limit)."""

    image: str
    force_pull: bool
    bridge: bool
    ports: tuple[tuple[int, int, str], ...]
    volumes: tuple[tuple[str, str, str], ...]
    parameters: tuple[tuple[str, str], ...]
    privileged: bool
    cpus: float
    mem: float
    shell: bool  # the command is for /bin/sh; else it is the arguments of the image's own
    notifies: bool  # it says when it is ready


def image_of(definition: Mapping[str, Any]) -> str:
    """The image of the app's tasks; empty for an app of processes."""
    container = definition.get("container") or {}
    return str((container.get("docker") or {}).get("image") or "")


def bridged(definition: Mapping[str, Any]) -> bool:
    """True for an app whose containers have a network of their own, behind published ports."""
    networks = definition.get("networks") or [{}]
    return bool(image_of(definition)) and networks[0].get("mode") == BRIDGE


def ports_of(definition: Mapping[str, Any]) -> list[Port]:
    """The host's ports that each task of the app needs, in order."""
    if bridged(definition):
        mappings = definition["container"]["portMappings"]
        return [Port(m["hostPort"], m["containerPort"], m.get("name") or "") for m in mappings]
    fixed = definition["requirePorts"]
    asked = [(port.get("port", 0), port.get("name")) for port in definition["portDefinitions"]]
    return [Port(number if fixed else 0, number, name or "") for number, name in asked]


def container_of(definition: Mapping[str, Any], host_ports: tuple[int, ...]) -> Container | None:
    """The container of one task with these ports; None for a process."""
    if not image_of(definition):
        return None
    container = definition["container"]
    docker = container["docker"]
    bridge = bridged(definition)
    mappings = container["portMappings"] if bridge else []
    return Container(
        image=docker["image"],
        force_pull=docker["forcePullImage"],
        bridge=bridge,
        ports=tuple(
            (port, mapping["containerPort"] or port, protocol)
            for port, mapping in zip(host_ports, mappings, strict=bridge)
            for protocol in mapping["protocol"].split(",")
        ),
        volumes=tuple(
            (v["hostPath"], v["containerPath"], v.get("mode") or "RW") for v in container["volumes"]
        ),
        parameters=tuple((p["key"], p["value"]) for p in docker["parameters"]),
        privileged=docker["privileged"],
        cpus=definition["cpus"],
        mem=definition["mem"],
        shell=definition["cmd"] is not None,
        notifies="FOB_ACTIVATION" in definition["labels"] and definition["cmd"] is not None,
    )


def settled(definition: Json) -> Json:
    """The keys `container`, `networks` and `portDefinitions` in the newer words, with defaults.

    The definition has no `faults`.
    """
    if not image_of(definition):
        return {}
    given = definition["container"]
    docker = {key: value for key, value in given["docker"].items() if value is not None}
    older, mappings = docker.pop("network", None), docker.pop("portMappings", None)
    mode = _OLDER_NETWORKS[older] if older else definition["networks"][0].get("mode", HOST)
    mappings = given.get("portMappings") if mappings is None else mappings
    plain = {"forcePullImage": False, "privileged": False, "parameters": []}
    container = {
        "type": given.get("type") or "DOCKER",
        "docker": plain | docker,
        "volumes": given.get("volumes") or [],
    }
    if mode != BRIDGE:
        return {"container": container, "networks": [{"mode": mode}]}
    container["portMappings"] = [_settled_mapping(m) for m in _or_one(mappings)]
    return {"container": container, "networks": [{"mode": BRIDGE}], "portDefinitions": []}


def _or_one(mappings: list[Json] | None) -> list[Json]:
    """Marathon gives one port to an app on a bridge that says nothing of ports."""
    return [{"name": "default"}] if mappings is None else mappings


def _settled_mapping(mapping: Json) -> Json:
    plain = {"containerPort": 0, "hostPort": 0, "protocol": "tcp", "servicePort": 0, "labels": {}}
    return plain | {key: value for key, value in mapping.items() if value is not None}


def faults(definition: Json) -> Faults:
    """What is wrong with `container` and `networks`, by Marathon's paths."""
    container = definition["container"]
    found = list(_network_faults(definition["networks"], bool(container)))
    if container and not found:
        found = list(_shape("/container", container, _CONTAINER))
    if container and not found:
        found = list(_container_faults(container))
    return found


def _network_faults(networks: Any, contained: bool) -> Iterator[Json]:
    modes = [n.get("mode", "container") if isinstance(n, dict) else n for n in networks or []]
    if modes == [BRIDGE] and not contained:
        yield _fault("/networks", "only an app with a container has a network of its own")
    elif len(modes) > 1 or not all(mode in (BRIDGE, HOST) for mode in modes):
        yield _fault("/networks", f"this engine offers one network, {HOST} or {BRIDGE}")


def _container_faults(container: Json) -> Iterator[Json]:
    docker = container.get("docker")
    kind = container.get("type") or "DOCKER"
    if kind not in _TYPES:
        yield _fault("/container/type", f"must be one of {', '.join(_TYPES)}")
    elif docker is None and (kind == "DOCKER" or container.get("volumes")):
        yield _fault("/container/docker", "error.path.missing")
    for index, volume in enumerate(container.get("volumes") or []):
        yield from _volume_faults(f"/container/volumes({index})", volume)
    yield from _mapping_faults("/container/portMappings", container.get("portMappings"))
    if docker is not None:
        yield from _docker_faults(docker)


def _docker_faults(docker: Json) -> Iterator[Json]:
    yield from (wrong := list(_shape("/container/docker", docker, _DOCKER)))
    if wrong:
        return
    if not docker.get("image"):
        missing = "image" not in docker
        yield _fault("/container/docker/image", "error.path.missing" if missing else "is empty")
    network = docker.get("network")
    if network and network not in _OLDER_NETWORKS:
        offered = " and ".join(_OLDER_NETWORKS)
        yield _fault("/container/docker/network", f"this engine offers {offered}, not {network}")
    for index, parameter in enumerate(docker.get("parameters") or []):
        yield from _shape(f"/container/docker/parameters({index})", parameter, _PARAMETER, True)
    yield from _mapping_faults("/container/docker/portMappings", docker.get("portMappings"))


def _mapping_faults(path: str, mappings: list[Any] | None) -> Iterator[Json]:
    for index, mapping in enumerate(mappings or []):
        yield from (wrong := list(_shape(f"{path}({index})", mapping, _MAPPING)))
        if wrong:
            return
        for key in ("containerPort", "hostPort"):
            if not 0 <= (mapping.get(key) or 0) <= 65535:
                yield _fault(f"{path}({index})/{key}", "expected between 0 and 65535")
        if (mapping.get("protocol") or "tcp") not in _PROTOCOLS:
            yield _fault(f"{path}({index})/protocol", f"must be one of {' '.join(_PROTOCOLS)}")


def _volume_faults(path: str, volume: Any) -> Iterator[Json]:
    yield from (wrong := list(_shape(path, volume, _VOLUME)))
    if wrong:
        return
    if volume.get("persistent") or volume.get("external"):
        yield _fault(path, "this engine has no volumes of its own; give a hostPath")
        return
    for key in ("hostPath", "containerPath"):
        if not str(volume.get(key) or "").startswith("/"):
            yield _fault(f"{path}/{key}", "must be an absolute path")
    if (volume.get("mode") or "RW") not in ("RO", "RW"):
        yield _fault(f"{path}/mode", "must be RO or RW")


def _shape(path: str, value: Any, kinds: Mapping[str, type], whole: bool = False) -> Iterator[Json]:
    """Keys of `value` that are of another kind; with `whole`, those that are not there too."""
    if not isinstance(value, dict):
        yield _fault(path, _EXPECTED[dict])
        return
    for key, kind in kinds.items():
        given = value.get(key)
        if given is None and whole:
            yield _fault(f"{path}/{key}", "error.path.missing")
        elif given is not None and (
            not isinstance(given, kind) or (kind is int and isinstance(given, bool))
        ):
            yield _fault(f"{path}/{key}", _EXPECTED[kind])


def _fault(path: str, error: str) -> Json:
    return {"path": path, "errors": [error]}
