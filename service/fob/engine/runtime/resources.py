"""The resources of the machine, CPUs, memory and ports, and how much of them tasks take."""

import itertools
import os
import random
import socket
from collections.abc import Iterable, Mapping

from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.constraints import unmet

CPUS_PER_CORE = 32  # an idle function uses none, so each core is offered many times over
PORTS = range(20000, 32768)  # below those that Linux picks for outgoing connections
ROLES = frozenset({"*", "slave_public"})  # the machine is a private and a public agent
BACKLOG = 1024


def promised_cpus(cpus: float) -> float:
    """The setting, or if it is 0 `CPUS_PER_CORE` for each core that this process may use."""
    return cpus or float(CPUS_PER_CORE * len(os.sched_getaffinity(0)))


def promised_mem(mem: float) -> float:
    """The setting, or if it is 0 the machine's memory, in MiB."""
    return mem or float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)


class NoRoom(Exception):
    """A task does not fit now; `reason` is Marathon's word for why, `message` has the numbers."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Resources:
    """An account of `cpus` and `mem` (MiB): the totals, and the share of each running task."""

    def __init__(self, cpus: float, mem: float) -> None:
        self.cpus = cpus
        self.mem = mem
        self._shares: dict[str, tuple[float, float]] = {}
        self._used_cpus = 0.0
        self._used_mem = 0.0

    def take(self, task_id: str, definition: Definition) -> None:
        """Give `task_id` its share. Raises `NoRoom` when not enough is free."""
        _check("InsufficientCpus", "cpus", definition["cpus"], self.cpus, self._used_cpus)
        _check("InsufficientMemory", "MiB", definition["mem"], self.mem, self._used_mem)
        self.adopt(task_id, definition["cpus"], definition["mem"])

    def adopt(self, task_id: str, cpus: float, mem: float) -> None:
        """Account for a task that already runs, whether its share fits or not."""
        self._shares[task_id] = (cpus, mem)
        self._used_cpus += cpus
        self._used_mem += mem

    def free(self) -> tuple[float, float]:
        """CPUs and MiB that are free."""
        return max(self.cpus - self._used_cpus, 0.0), max(self.mem - self._used_mem, 0.0)

    def give_back(self, task_id: str) -> None:
        cpus, mem = self._shares.pop(task_id, (0.0, 0.0))
        self._used_cpus -= cpus
        self._used_mem -= mem


def _check(reason: str, unit: str, needed: float, total: float, used: float) -> None:
    if used + needed > total + 1e-6:  # sums of tenths are not exact
        free = max(total - used, 0)
        raise NoRoom(reason, f"needs {needed:g} {unit}; {free:.4g} of {total:g} {unit} are free")


def check_placement(definition: Definition, machine: Mapping[str, str], placed: int) -> None:
    """Raise `NoRoom` unless `machine` (its hostname and attributes) meets the app's constraints
    and roles, with `placed` tasks of the app already on it."""
    roles = definition.get("acceptedResourceRoles")
    if roles and not ROLES.intersection(roles):
        accepted, offered = ", ".join(roles), ", ".join(sorted(ROLES))
        raise NoRoom("UnfulfilledRole", f"accepts only the roles {accepted}; there are {offered}")
    for constraint in definition["constraints"]:
        if why := unmet(constraint, machine, placed):
            raise NoRoom("UnfulfilledConstraint", why)


def bind(host: str, port: int, preferred: Iterable[int] = ()) -> socket.socket:
    """A listening socket on `host` and `port`; 0 is any free port, the `preferred` ones first.

    Raises `NoRoom` when the port is in use, or every port is.
    """
    start = random.randrange(len(PORTS))
    any_port = itertools.chain(preferred, PORTS[start:], PORTS[:start])
    for number in [port] if port else any_port:
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, number))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
        else:
            return sock
    if port:
        raise NoRoom("InsufficientPorts", f"port {port} is already in use")
    raise NoRoom("InsufficientPorts", f"no port from {PORTS[0]} to {PORTS[-1]} is free")
