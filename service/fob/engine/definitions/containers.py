"""What an app's definition says of its container, put into Marathon's newer words.

Marathon had the network and the port mappings in `container.docker` before 1.5, and in `networks`
and `container.portMappings` since. The engine takes both and keeps the newer ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fob.contract import ACTIVATION

Json = dict[str, Any]
Faults = list[Json]

CONTAINER, BRIDGE, HOST = "container", "container/bridge", "host"
HOSTS: list[Json] = [{"mode": HOST}]  # networks
DOCKER, MESOS = "DOCKER", "MESOS"
SANDBOX = "/mnt/mesos/sandbox"  # Mesos's, inside a container
OLDER_NETWORKS = {"BRIDGE": BRIDGE, "HOST": HOST}


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


def older_network(container: Any) -> bool:
    """True for a container that names its network as before Marathon 1.5."""
    docker = container.get("docker") if isinstance(container, dict) else None
    return isinstance(docker, dict) and docker.get("network") is not None


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
        notifies=ACTIVATION in definition["labels"] and definition["cmd"] is not None,
    )


def settled(definition: Json, ports: int) -> Json:
    """The keys `container`, `networks` and `portDefinitions` in the newer words, with defaults.

    There is an image, and nothing wrong; `ports` is how many it asks for without a container.
    """
    given = definition["container"]
    docker = dict(given["docker"])
    older, mappings = docker.pop("network", None), docker.pop("portMappings", None)
    networks = [{"mode": OLDER_NETWORKS[older]}] if older else definition["networks"]
    plain = {"forcePullImage": False, "privileged": False, "parameters": []}
    container = {
        "type": given.get("type", DOCKER),
        "docker": plain | docker,
        "volumes": given.get("volumes", []),
    }
    if networks[0]["mode"] != BRIDGE:
        return {"container": container, "networks": networks}
    mappings = mappings or given.get("portMappings", mappings)
    container["portMappings"] = _settled_mappings(mappings, ports)
    return {"container": container, "networks": networks, "portDefinitions": []}


def _settled_mappings(mappings: list[Json] | None, ports: int) -> list[Json]:
    """As many as there are `ports` asked for, at least; of an app that says nothing it is one."""
    found = [{"name": "default"}] if mappings is None else mappings
    found = [*found, *({} for _ in range(ports - len(found)))]
    plain = {"containerPort": 0, "hostPort": 0, "protocol": "tcp", "servicePort": 0, "labels": {}}
    return [plain | mapping for mapping in found]
