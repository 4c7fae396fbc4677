"""Containers and ports in app definitions, normalized to the fields of Marathon 1.5.

Before 1.5, Marathon had the network and port mappings in `container.docker`; since then they are in
`networks` and `container.portMappings`. The engine accepts both forms and stores the newer one.
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
SANDBOX = "/mnt/mesos/sandbox"  # as Mesos mounts it in containers
LEGACY_NETWORKS = {"BRIDGE": BRIDGE, "HOST": HOST}


@dataclass(frozen=True)
class Port:
    """A port that an app asks for: the required `host_port` (0: any free one), the `number` in the
    variable `PORT_<number>` (0: no such variable), and its name (empty: none)."""

    host_port: int
    number: int
    name: str


@dataclass(frozen=True)
class Container:
    """A container to start: `ports` are (host port, container port, protocol), empty on the host's
    network; `volumes` are (host path, container path, mode); `mem` is in MiB (0: no limit)."""

    image: str
    force_pull: bool
    bridge: bool
    ports: tuple[tuple[int, int, str], ...]
    volumes: tuple[tuple[str, str, str], ...]
    parameters: tuple[tuple[str, str], ...]
    privileged: bool
    cpus: float
    mem: float
    shell: bool  # run the command by /bin/sh; else pass it as arguments to the image's entrypoint
    notifies: bool  # reports when it is ready


def image_of(definition: Mapping[str, Any]) -> str:
    """Return the image of the app's tasks; empty if they are processes."""
    container = definition.get("container") or {}
    return str((container.get("docker") or {}).get("image") or "")


def bridged(definition: Mapping[str, Any]) -> bool:
    """Whether the app's containers are on a bridge network, with published ports."""
    networks = definition.get("networks") or [{}]
    return bool(image_of(definition)) and networks[0].get("mode") == BRIDGE


def has_legacy_network(container: Any) -> bool:
    """Whether the container names its network as before Marathon 1.5."""
    docker = container.get("docker") if isinstance(container, dict) else None
    return isinstance(docker, dict) and docker.get("network") is not None


def ports_of(definition: Mapping[str, Any]) -> list[Port]:
    """Return the host ports that each task of the app needs, in order."""
    if bridged(definition):
        mappings = definition["container"]["portMappings"]
        return [Port(m["hostPort"], m["containerPort"], m.get("name") or "") for m in mappings]
    required = definition["requirePorts"]
    asked = [(port.get("port", 0), port.get("name")) for port in definition["portDefinitions"]]
    return [Port(number if required else 0, number, name or "") for number, name in asked]


def container_of(definition: Mapping[str, Any], host_ports: tuple[int, ...]) -> Container | None:
    """Return the container for a task that got `host_ports`; None if it is a process."""
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


def normalized(definition: Json, ports: int) -> Json:
    """Return `container`, `networks` and perhaps `portDefinitions` in the form of Marathon 1.5.

    Defaults are filled in. The definition must have an image and no faults; `ports` is the number
    of ports that it defines outside the container.
    """
    given = definition["container"]
    docker = dict(given["docker"])
    legacy, mappings = docker.pop("network", None), docker.pop("portMappings", None)
    networks = [{"mode": LEGACY_NETWORKS[legacy]}] if legacy else definition["networks"]
    defaults = {"forcePullImage": False, "privileged": False, "parameters": []}
    container = {
        "type": given.get("type", DOCKER),
        "docker": defaults | docker,
        "volumes": given.get("volumes", []),
    }
    if networks[0]["mode"] != BRIDGE:
        return {"container": container, "networks": networks}
    mappings = mappings or given.get("portMappings", mappings)
    container["portMappings"] = _complete_mappings(mappings, ports)
    return {"container": container, "networks": networks, "portDefinitions": []}


def _complete_mappings(mappings: list[Json] | None, ports: int) -> list[Json]:
    """Return at least as many mappings as `ports`; one if the app has no key `portMappings`."""
    found = [{"name": "default"}] if mappings is None else mappings
    found = [*found, *({} for _ in range(ports - len(found)))]
    defaults = {
        "containerPort": 0,
        "hostPort": 0,
        "protocol": "tcp",
        "servicePort": 0,
        "labels": {},
    }
    return [defaults | mapping for mapping in found]
