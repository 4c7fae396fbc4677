"""Where and of what the numbers are, and whether the machine was quiet."""

import datetime
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import fob
from bench import stats
from bench.record import ROOT

# A run is noisy when any of these is exceeded.
BUSY_SHARE = 0.1  # of all cores, in the second before the start
STEAL_SHARE = 0.01  # of all cores, from start to end
APART = 0.05  # the ratio of the medians of two servers that are the same, less 1
SPREAD = 0.15  # the middle half of the rounds of one server over their median


def circumstances() -> dict[str, Any]:
    """Where and of what the numbers are: machine, load, versions, commit."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD") or "unknown",
        # results of this very commit, which are not committed yet, change nothing
        "dirty": bool(_git("status", "--porcelain", "--", ".", ":!bench/results")),
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
            "kernel": platform.release(),
            "load": os.getloadavg(),
        },
        "versions": {
            "fob": fob.__version__,
            "python": platform.python_version(),
            "python_build": f"{platform.python_compiler()}, {platform.python_build()[1]}",
            **{name: metadata.version(name) for name in ("tornado", "requests")},
        },
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    """What git prints; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


class Watch:
    """How busy the machine was before a run, and how much of it was stolen until its end."""

    def __init__(self) -> None:
        before = _ticks()
        time.sleep(1)
        self._start = _ticks()
        total, idle, _ = (b - a for a, b in zip(before, self._start, strict=True))
        self._busy = 1 - idle / max(1, total)

    def noise(
        self, values: dict[str, stats.Figure], twins: list[tuple[str, str]]
    ) -> dict[str, Any]:
        """The noise of a run, with a line in `noisy` for each part of the rule that is broken.

        `values` are the run's figures; `twins` names pairs of them that measure the same thing, one
        value a round.
        """
        total, _, stolen = (b - a for a, b in zip(self._start, _ticks(), strict=True))
        steal = stolen / max(1, total)
        there = [(a, b) for a, b in twins if a in values and b in values]
        pairs = [(values[a]["samples"], values[b]["samples"]) for a, b in there]
        apart = max((_apart(*pair) for pair in pairs), default=0.0)
        widest = max((stats.spread(x) for pair in pairs for x in pair), default=0.0)
        return {
            "busy_before": self._busy,
            "steal": steal,
            "twins_apart": apart,
            "spread": widest,
            "noisy": _broken(self._busy, steal, apart, widest),
        }


def _broken(busy: float, steal: float, apart: float, widest: float) -> list[str]:
    """The parts of the rule that a run broke, in words."""
    checks = [
        (busy, BUSY_SHARE, "of the machine was busy before the start"),
        (steal, STEAL_SHARE, "of the machine was stolen by its host"),
        (apart, APART, "between two servers that are the same"),
        (widest, SPREAD, "is the spread of the rounds of one server"),
    ]
    return [
        f"{value:.0%} {what}, and {limit:.0%} is the most"
        for value, limit, what in checks
        if value > limit
    ]


def _apart(one: list[float], other: list[float]) -> float:
    low, high = sorted((stats.middle(one), stats.middle(other)))
    return high / low - 1


def _ticks() -> tuple[int, int, int]:
    """All, idle and stolen ticks of all cores since boot (proc(5), /proc/stat)."""
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    return sum(fields[:8]), fields[3] + fields[4], fields[7]
