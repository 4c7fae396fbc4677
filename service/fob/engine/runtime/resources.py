"""What the machine has to give, and what of it is given."""

import itertools
import os
import random
import socket
from collections.abc import Iterable, Mapping

from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.constraints import unmet

CPUS_PER_CORE = 32  # a function at rest uses none, so a core is promised many times over
PORTS = range(20000, 32768)  # below the ports that Linux hands to outgoing connections
ROLES = frozenset({"*", "slave_public"})  # one machine is both private and public agent
BACKLOG = 1024


def promised_cpus(cpus: float) -> float:
    """The setting, or `CPUS_PER_CORE` for each core this process may use."""
    return cpus or float(CPUS_PER_CORE * len(os.sched_getaffinity(0)))


def promised_mem(mem: float) -> float:
    """The setting, or the machine's memory, in MiB."""
    return mem or float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)


class NoRoom(Exception):
    """The app does not fit now; `reason` is Marathon's name for why, `message` has the numbers."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Resources:
    """The account: `cpus` and `mem` (MiB) in all, and each task's share while it lives."""

    def __init__(self, cpus: float, mem: float) -> None:
        self.cpus = cpus
        self.mem = mem
        self._shares: dict[str, tuple[float, float]] = {}
        self._used_cpus = 0.0
        self._used_mem = 0.0

    def take(self, task_id: str, definition: Definition) -> None:
        """Give `task_id` its share; raises `NoRoom` when there is not enough left."""
        _fits("InsufficientCpus", "cpus", definition["cpus"], self.cpus, self._used_cpus)
        _fits("InsufficientMemory", "MiB", definition["mem"], self.mem, self._used_mem)
        self.adopt(task_id, definition["cpus"], definition["mem"])

    def adopt(self, task_id: str, cpus: float, mem: float) -> None:
        """Enter the share of a task that already runs, whether it fits or not."""
        self._shares[task_id] = (cpus, mem)
        self._used_cpus += cpus
        self._used_mem += mem

    def free(self) -> tuple[float, float]:
        """CPUs and MiB that are left."""
        return max(self.cpus - self._used_cpus, 0.0), max(self.mem - self._used_mem, 0.0)

    def give_back(self, task_id: str) -> None:
        cpus, mem = self._shares.pop(task_id, (0.0, 0.0))
        self._used_cpus -= cpus
        self._used_mem -= mem


def _fits(reason: str, unit: str, wanted: float, total: float, used: float) -> None:
    if used + wanted > total + 1e-6:  # sums of tenths are not exact
        free = max(total - used, 0)
        raise NoRoom(reason, f"wants {wanted:g} {unit}; {free:.4g} of {total:g} {unit} are free")


def check_placement(definition: Definition, machine: Mapping[str, str], placed: int) -> None:
    """Raise `NoRoom` for what one machine cannot offer, which has this hostname and these
    attributes; `placed` tasks of the app are here."""
    roles = definition.get("acceptedResourceRoles")
    if roles and not ROLES.intersection(roles):
        raise NoRoom("UnfulfilledRole", f"wants a role of {roles}; this machine has {set(ROLES)}")
    for constraint in definition["constraints"]:
        if why := unmet(constraint, machine, placed):
            raise NoRoom("UnfulfilledConstraint", why)


def bind(host: str, wanted: int, preferred: Iterable[int] = ()) -> socket.socket:
    """A listening socket on `host`: on port `wanted`, or if that is 0 on a free one.

    `preferred` ports are tried before others. Raises `NoRoom` when the port, or every one, is
    taken.
    """
    start = random.randrange(len(PORTS))
    anything = itertools.chain(preferred, PORTS[start:], PORTS[:start])
    for port in [wanted] if wanted else anything:
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(BACKLOG)
        except OSError:
            sock.close()
        else:
            return sock
    raise NoRoom("InsufficientPorts", f"port {wanted or PORTS} is taken")
