"""The `container.docker.parameters` of an app: options of `docker run`, by name."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# values of FOB_DOCKER_ALLOW
PRIVILEGED, VOLUMES = "privileged", "volumes"


@dataclass(frozen=True)
class _Option:
    """Where an option goes: to `key` of Docker's HostConfig, or if not `host` of its container
    configuration. One that may be repeated, `many`, makes a list. `needs` is the value of
    FOB_DOCKER_ALLOW that permits it."""

    key: str
    read: Callable[[str], Any] = str
    host: bool = True
    many: bool = False
    needs: str = ""


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", ""):
        raise ValueError("is neither true nor false")
    return text.lower() != "false"


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("is not a whole number")
    return int(text)


def _ulimit(text: str) -> dict[str, Any]:
    name, found, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    if not found or not soft.isdecimal() or not (hard or soft).isdecimal():
        raise ValueError("is not NAME=SOFT:HARD")
    return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}


def _device(text: str) -> dict[str, str]:
    outside, _, rest = text.partition(":")
    inside, _, rights = rest.partition(":")
    return {
        "PathOnHost": outside,
        "PathInContainer": inside or outside,
        "CgroupPermissions": rights or "rwm",
    }


OPTIONS: dict[str, _Option] = {
    "add-host": _Option("ExtraHosts", many=True),
    "cap-drop": _Option("CapDrop", many=True),
    "dns": _Option("Dns", many=True),
    "dns-search": _Option("DnsSearch", many=True),
    "entrypoint": _Option("Entrypoint", host=False, many=True),
    "env": _Option("Env", host=False, many=True),
    "group-add": _Option("GroupAdd", many=True),
    "hostname": _Option("Hostname", host=False),
    "init": _Option("Init", _truth),
    "label": _Option("Labels", host=False, many=True),
    "pids-limit": _Option("PidsLimit", _whole),
    "read-only": _Option("ReadonlyRootfs", _truth),
    "shm-size": _Option("ShmSize", _whole),
    "stop-signal": _Option("StopSignal", host=False),
    "tmpfs": _Option("Tmpfs", many=True),
    "ulimit": _Option("Ulimits", _ulimit, many=True),
    "user": _Option("User", host=False),
    "workdir": _Option("WorkingDir", host=False),
    "cap-add": _Option("CapAdd", many=True, needs=PRIVILEGED),
    "device": _Option("Devices", _device, many=True, needs=PRIVILEGED),
    "ipc": _Option("IpcMode", needs=PRIVILEGED),
    "pid": _Option("PidMode", needs=PRIVILEGED),
    "privileged": _Option("Privileged", _truth, needs=PRIVILEGED),
    "security-opt": _Option("SecurityOpt", many=True, needs=PRIVILEGED),
    "volume": _Option("Binds", many=True, needs=VOLUMES),
}


def fault(key: str, value: str, allowed: frozenset[str]) -> str:
    """Why the engine refuses the option; empty when it does not."""
    option = OPTIONS.get(key)
    if option is None:
        return f"{key!r} is not supported; supported are {', '.join(OPTIONS)}"
    if option.needs and option.needs not in allowed:
        return f"{key!r} is not allowed here: {not_allowed(option.needs)}"
    try:
        option.read(value)
    except ValueError as error:
        return f"{key}={value!r} {error}"
    return ""


def not_allowed(word: str) -> str:
    """What the operator of the engine would have to do."""
    return f"FOB_DOCKER_ALLOW has to name {word}"


def add(given: Iterable[tuple[str, str]], config: dict[str, Any], host: dict[str, Any]) -> None:
    """Add options without a `fault` to Docker's container configuration and HostConfig."""
    for key, value in given:
        option = OPTIONS[key]
        where = host if option.host else config
        if option.many:
            _append(where, option.key, option.read(value))
        else:
            where[option.key] = option.read(value)


def _append(where: dict[str, Any], key: str, value: Any) -> None:
    """Add a value to a list, or to an object, as Docker has it for some options."""
    if key == "Labels":
        name, _, text = value.partition("=")
        where.setdefault(key, {}).setdefault(name, text)
    elif key == "Tmpfs":
        path, _, options = value.partition(":")
        where.setdefault(key, {})[path] = options
    else:
        where[key] = [*where.get(key, []), value]
