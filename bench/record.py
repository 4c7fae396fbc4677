"""What a measurement is worth, and the file that it is kept in."""

import datetime
import json
import math
import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import fob

ROOT = Path(__file__).parents[1]
CONFIDENCE = 0.95


def summary(samples: Sequence[float], unit: str) -> dict[str, Any]:
    """`n`, and median and p95 with their 95 % intervals; null where the samples cannot tell."""
    return {
        "unit": unit,
        "n": len(samples),
        "median": quantile(samples, 0.5),
        "p95": quantile(samples, 0.95),
        "samples": list(samples),
    }


def quantile(samples: Sequence[float], q: float) -> dict[str, float] | None:
    """The q-quantile as {"value", "low", "high"}, the interval from exact order statistics.

    None when no two-sided interval exists: below n = 6 for the median, below n = 72 for p95.
    """
    ordered, n = sorted(samples), len(samples)
    ranks = interval_ranks(n, q)
    if ranks is None:
        return None
    value = ordered[max(1, math.ceil(q * n)) - 1]
    return {"value": value, "low": ordered[ranks[0] - 1], "high": ordered[ranks[1] - 1]}


def interval_ranks(n: int, q: float) -> tuple[int, int] | None:
    """The ranks (from 1) of the samples that enclose the q-quantile with 95 % confidence.

    The number of samples below the quantile is binomial(n, q): the low rank is the largest l with
    P(B < l) <= 2.5 %, the high one the smallest u with P(B >= u) <= 2.5 %. None when either is
    outside 1..n. (David and Nagaraja, Order Statistics, 7.1.)
    """
    tail, below = (1 - CONFIDENCE) / 2, 0.0
    low, high = 0, 0
    for k in range(n + 1):  # `below` is P(B < k)
        if below <= tail:
            low = k
        if not high and 1 - below <= tail:
            high = k
        below += binomial(n, k, q)
    return (low, high) if low >= 1 and 1 <= high <= n else None


def binomial(n: int, k: int, q: float) -> float:
    """P(B = k); by logarithms, for the coefficients soon exceed a float."""
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(q) + (n - k) * math.log(1 - q))


def circumstances() -> dict[str, Any]:
    """Where and of what the numbers are: machine, load, versions, commit."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(git("status", "--porcelain")),
        "machine": {
            "cpu": cpu_model(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
            "kernel": platform.release(),
            "load": os.getloadavg(),
        },
        "versions": {
            "fob": fob.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("tornado", "requests")},
        },
    }


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def git(*arguments: str) -> str:
    """What git prints; nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def write(result: dict[str, Any]) -> Path:
    """Write `bench/results/<date>-<commit>.json`; with `local-` in front for a changed tree."""
    folder = ROOT / "bench" / "results"
    folder.mkdir(exist_ok=True)
    name = f"{result['at'][:10]}-{result['commit'][:10]}.json"
    path = folder / (f"local-{name}" if result["dirty"] else name)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def table(results: dict[str, dict[str, Any]]) -> str:
    """The summaries, a line each."""
    lines = [f"{'':34}{'n':>6}{'median':>12}  {'95 % interval':<22}{'p95':>12}"]
    for name, result in results.items():
        median, p95 = result["median"], result["p95"]
        interval = f"{median['low']:.4g} to {median['high']:.4g}" if median else "n < 6"
        tail = f"{p95['value']:.4g}" if p95 else "n < 72"
        middle = f"{median['value']:.4g}" if median else "-"
        label = f"{name}, {result['unit']}"
        lines.append(f"{label:34}{result['n']:>6}{middle:>12}  {interval:<22}{tail:>12}")
    return "\n".join(lines)
