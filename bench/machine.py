"""What the machine says of processes: family, CPU time, memory; and their cores."""

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def family(roots: Iterable[int]) -> set[int]:
    """These processes and all their descendants that are alive."""
    children: dict[int, list[int]] = {}
    for pid, fields in _all_stats().items():
        children.setdefault(int(fields[1]), []).append(pid)
    found, waiting = set(), list(roots)
    while waiting:
        pid = waiting.pop()
        found.add(pid)
        waiting += children.get(pid, [])
    return {pid for pid in found if _stat(pid)}


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time of the processes so far, all threads, those that ended too.

    proc(5): fields 14 and 15 of stat; counted in ticks of 10 ms.
    """
    stats = (_stat(pid) for pid in pids)
    return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / _TICK


def running_seconds(pids: Iterable[int]) -> float:
    """The same of the threads that live, to the nanosecond: for those that do next to nothing.

    The first number of schedstat (the kernel's sched-stats documentation).
    """
    threads = [path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(path.read_text().split()[0]) for path in threads) / 1e9


def _all_stats() -> dict[int, list[str]]:
    stats = {int(name): _stat(int(name)) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: fields for pid, fields in stats.items() if fields}


def _stat(pid: int) -> list[str]:
    """The fields of stat from the third on, the state; empty for one that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] == "Z" else fields


def pss_bytes(pid: int) -> int:
    """The process's own memory, and its share of what it has in common with others."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since it was found
        return 0
    return 1024 * sum(int(kib) for kib in re.findall(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE))


def kernel_bytes() -> int:
    """What the kernel keeps for its own objects, sockets among them, and cannot give back."""
    found = re.search(r"^SUnreclaim: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def working_in(folder: str) -> list[int]:
    """The processes whose working directory lies in `folder`."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{name}/cwd").startswith(f"{folder}/"):
                found.append(int(name))
    return found


class Cores:
    """A core for the load generator and one for servers; both have all where there is only one.

    A single caller that waits while the server works has the servers' core: on another one, each
    call would wake an idle core twice, which costs more than the call, and varies more.
    """

    def __init__(self, apart: bool = True) -> None:
        self.all = sorted(os.sched_getaffinity(0))
        self.apart = apart and len(self.all) > 1
        self.servers = {self.all[0]} if self.apart else set(self.all)
        self.generator = {self.all[-1]} if self.apart else set(self.all)

    def of_callers(self, connections: int) -> set[int]:
        """Where the generator of a closed loop runs."""
        return self.servers if connections == 1 else self.generator

    def keep(self, pids: Iterable[int]) -> None:
        """Keep all threads of these processes, and what they start from now on, to the servers'
        core."""
        for pid in pids:
            _keep(pid, self.servers)

    def free(self, pids: Iterable[int]) -> None:
        """Let them use every core again."""
        for pid in pids:
            _keep(pid, set(self.all))


def _keep(pid: int, cores: set[int]) -> None:
    with contextlib.suppress(OSError):  # it, or a thread of it, has just ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), cores)
