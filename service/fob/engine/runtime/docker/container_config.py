"""The configuration of a task's container, in the form of Docker's API."""

from pathlib import Path
from typing import Any

from fob.contract import NOTIFY_FD
from fob.engine.definitions.containers import SANDBOX, Container
from fob.engine.runtime.docker import parameters
from fob.engine.runtime.launcher import Launch

MARKS = "/mnt/mesos/marks"  # the pipe for marks, inside the container
MARKS_FD = 9  # the highest that every shell can open by number
TASK_LABEL, ENGINE_LABEL = "fob.task", "fob.engine"
PERIOD_MICROSECONDS = 100_000
# small, since Docker only keeps output until it has been copied (see output.py)
LOG = {"Type": "json-file", "Config": {"max-size": "8m", "max-file": "2"}}


def container_name(task_id: str) -> str:
    """The name of a task's container."""
    return f"fob-{task_id.rpartition('.')[2]}"


def container_config(
    launch: Launch, container: Container, address: str, owner: str
) -> dict[str, Any]:
    """The body of `POST /containers/create`; ports are published at `address` on the host.

    https://docs.docker.com/engine/api: Config and HostConfig.
    """
    config: dict[str, Any] = {"Image": container.image} | _command(launch, container)
    config["Env"] = [f"{name}={value}" for name, value in launch.environment.items()]
    host: dict[str, Any] = {
        "NetworkMode": "bridge" if container.bridge else "host",
        "Privileged": container.privileged,
        "LogConfig": LOG,
    }
    if not container.bridge and not container.privileged:
        # on the host's network a raw socket receives all traffic, and with it the engine's token
        host["CapDrop"] = ["NET_RAW"]
    parameters.add(container.parameters, config, host)
    host |= _limits(container)
    host["Mounts"] = _mounts(launch.sandbox, container)
    host["PortBindings"] = {
        f"{inside}/{protocol}": [{"HostIp": address, "HostPort": str(port)}]
        for port, inside, protocol in container.ports
    }
    config["ExposedPorts"] = {name: {} for name in host["PortBindings"]}
    ours = {TASK_LABEL: launch.task_id, ENGINE_LABEL: owner}
    config["Labels"] = config.get("Labels", {}) | ours
    return config | {"HostConfig": host}


def _command(launch: Launch, container: Container) -> dict[str, Any]:
    """As in Mesos: a command line is run by a shell, arguments go to the image's own program."""
    if not container.shell:
        return {"Cmd": launch.command} if launch.command else {}
    shell, option, line = launch.command
    if container.notifies:
        # for reading and writing, so that opening never blocks, and nothing is lost while no engine
        # reads (see task_folders.py)
        line = f"exec {MARKS_FD}<>{MARKS}; export {NOTIFY_FD}={MARKS_FD}; {line}"
    return {"Entrypoint": [shell], "Cmd": [option, line]}


def _limits(container: Container) -> dict[str, Any]:
    limits: dict[str, Any] = {}
    if container.mem:
        # MemorySwap is memory and swap together: no swap
        limits |= dict.fromkeys(("Memory", "MemorySwap"), int(container.mem * 2**20))
    if container.cpus:
        limits["CpuShares"] = max(2, int(container.cpus * 1024))
        limits["CpuPeriod"] = PERIOD_MICROSECONDS
        limits["CpuQuota"] = max(1000, int(container.cpus * PERIOD_MICROSECONDS))
    return limits


def _mounts(sandbox: Path, container: Container) -> list[dict[str, Any]]:
    mounts = [_bind(str(sandbox), SANDBOX)]
    if container.notifies:
        mounts.append(_bind(str(sandbox.parent / "pipes" / "marks"), MARKS))
    return mounts + [_bind(source, path, mode == "RO") for source, path, mode in container.volumes]


def _bind(source: str, target: str, read_only: bool = False) -> dict[str, Any]:
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}
