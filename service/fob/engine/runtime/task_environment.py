"""The environment of a task: Marathon's variables, and none of the engine's own."""

import functools
import os
import sys
from pathlib import Path

from fob.contract import KEEP_ALIVE
from fob.engine import chunks
from fob.engine.definitions.app_definitions import Definition, on_demand
from fob.engine.definitions.containers import SANDBOX, image_of, ports_of
from fob.engine.store.records import TaskRecord

LANG = "C.UTF-8"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MAX_LABEL_CHARACTERS = 512  # as in Marathon: labels with a longer value have no variable


def for_task(
    record: TaskRecord, definition: Definition, host: str, sandbox: Path
) -> dict[str, str]:
    """The whole environment of a task; the app's `env` takes precedence over the rest.

    A container also has the variables of its image.
    """
    env = chunks.join_values(definition["env"])
    image = image_of(definition)
    system = {"MARATHON_APP_DOCKER_IMAGE": image} if image else _system(sandbox)
    working_folder = SANDBOX if image else str(sandbox)
    return (
        system
        | _ports(record, definition)
        | _app(record, definition)
        | {"HOST": host, "MESOS_TASK_ID": record.id, "MESOS_SANDBOX": working_folder}
        | _keep_alive(definition)
        | env
    )


@functools.cache
def python() -> str:
    """The interpreter that runs the engine and its tasks."""
    # the file itself: neither a virtual environment's link nor a version manager's shim, which
    # takes 40 to 100 ms
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def python_path() -> str:
    """A PATH on which `python3` is the engine's interpreter, followed by the system's folders."""
    return f"{os.path.dirname(python())}:{SYSTEM_PATH}"


def _system(sandbox: Path) -> dict[str, str]:
    folder = str(sandbox)  # for temporary files too, which are removed with it
    return {"PATH": python_path(), "LANG": LANG, "HOME": folder, "TMPDIR": folder}


def _ports(record: TaskRecord, definition: Definition) -> dict[str, str]:
    ports = [str(port) for port in record.ports]
    variables = {f"PORT{index}": port for index, port in enumerate(ports)}
    if ports:
        variables |= {"PORT": ports[0], "PORTS": ",".join(ports)}
    for port, asked in zip(ports, ports_of(definition), strict=True):
        if asked.number:
            variables[f"PORT_{asked.number}"] = port
        if asked.name:
            variables[f"PORT_{_variable_name(asked.name)}"] = port
    return variables


def _keep_alive(definition: Definition) -> dict[str, str]:
    """For a task on demand, the seconds after which it goes idle."""
    seconds = definition["labels"].get(KEEP_ALIVE)
    return {KEEP_ALIVE: seconds} if seconds and on_demand(definition) else {}


def _app(record: TaskRecord, definition: Definition) -> dict[str, str]:
    labels = {k: v for k, v in definition["labels"].items() if len(v) <= MAX_LABEL_CHARACTERS}
    variables = {
        "MARATHON_APP_ID": record.app_id,
        "MARATHON_APP_VERSION": record.version,
        "MARATHON_APP_RESOURCE_CPUS": str(float(definition["cpus"])),
        "MARATHON_APP_RESOURCE_MEM": str(float(definition["mem"])),
        "MARATHON_APP_RESOURCE_DISK": str(float(definition["disk"])),
        "MARATHON_APP_LABELS": " ".join(_variable_name(key) for key in labels),
    }
    return variables | {f"MARATHON_APP_LABEL_{_variable_name(k)}": v for k, v in labels.items()}


def _variable_name(name: str) -> str:
    return "".join(c if c.isalnum() and c.isascii() else "_" for c in name.upper())
