"""What a task finds in its environment: Marathon's variables, and nothing of the engine's own."""

import os
import sys
from pathlib import Path

from fob.engine.definitions import Definition
from fob.engine.store import TaskRecord

LANG = "C.UTF-8"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LABELS_LIMIT = 512  # characters of a label's value that Marathon puts into the environment


def for_task(
    record: TaskRecord, definition: Definition, host: str, sandbox: Path
) -> dict[str, str]:
    """The whole environment of a task; the app's `env` wins over all of it."""
    own: dict[str, str] = definition["env"]
    return (
        _machine(sandbox)
        | _ports(record, definition)
        | _app(record, definition)
        | {"HOST": host, "MESOS_TASK_ID": record.id, "MESOS_SANDBOX": str(sandbox)}
        | own
    )


def python() -> str:
    """The interpreter that runs the engine, and its tasks."""
    # not the virtual environment's link, and no version manager's shim, which costs 40-100 ms
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def python_path() -> str:
    """A PATH on which `python3` is the interpreter that runs the engine, then the system's."""
    return f"{os.path.dirname(python())}:{SYSTEM_PATH}"


def _machine(sandbox: Path) -> dict[str, str]:
    folder = str(sandbox)  # its temporary files go when it goes
    return {"PATH": python_path(), "LANG": LANG, "HOME": folder, "TMPDIR": folder}


def _ports(record: TaskRecord, definition: Definition) -> dict[str, str]:
    ports = [str(port) for port in record.ports]
    variables = {f"PORT{index}": port for index, port in enumerate(ports)}
    if ports:
        variables |= {"PORT": ports[0], "PORTS": ",".join(ports)}
    for port, asked in zip(ports, definition["portDefinitions"], strict=True):
        if asked.get("port"):
            variables[f"PORT_{asked['port']}"] = port
        if asked.get("name"):
            variables[f"PORT_{_shouted(asked['name'])}"] = port
    return variables


def _app(record: TaskRecord, definition: Definition) -> dict[str, str]:
    labels = {k: v for k, v in definition["labels"].items() if len(v) <= LABELS_LIMIT}
    variables = {
        "MARATHON_APP_ID": record.app_id,
        "MARATHON_APP_VERSION": record.version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(definition["cpus"])),
        "MARATHON_APP_RESOURCE_MEM": str(float(definition["mem"])),
        "MARATHON_APP_RESOURCE_DISK": str(float(definition["disk"])),
        "MARATHON_APP_LABELS": " ".join(_shouted(key) for key in labels),
    }
    return variables | {f"MARATHON_APP_LABEL_{_shouted(k)}": v for k, v in labels.items()}


def _shouted(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper())
