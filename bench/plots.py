"""Plots from the newest result files, and nothing else: `make bench-report` puts them into
docs/plots/. This is the one module that wants matplotlib."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from bench import record, stats
from bench.peers import DIRECT, FLOOR, PEERS, ROUTED
from bench.record import Result

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "fob", "font.size": 9, "figure.constrained_layout.use": True}

from matplotlib import pyplot  # noqa: E402 - it takes the settings above when it is imported

FOLDER = record.ROOT / "docs" / "plots"
SERVERS = (FLOOR.name, DIRECT, ROUTED, *(peer.name for peer in PEERS))

Axes = Any


def throughput(axes: Axes, result: Result) -> None:
    """Calls a second of each server, medians of the rounds with their intervals."""
    there = [name for name in SERVERS if f"{name}/c16/rate" in result["values"]]
    there.sort(key=lambda name: stats.middle(_samples(result, f"{name}/c16/rate")))
    for offset, connections in ((-0.2, 16), (0.2, 64)):
        samples = [_samples(result, f"{name}/c{connections}/rate") for name in there]
        medians = [stats.middle(values) for values in samples]
        places = [place + offset for place in range(len(there))]
        errors = list(zip(*map(_error, samples), strict=True))
        axes.barh(places, medians, 0.38, xerr=errors, label=f"c={connections}")
    axes.set_yticks(range(len(there)), there)
    axes.set_xlabel("calls a second, one core")
    axes.legend()


def latency(axes: Axes, result: Result) -> None:
    """p50 and p99 of each server under an open loop, from the moment a request was due."""
    there = [name for name in SERVERS if f"{name}/open/p99" in result["values"]]
    there.sort(key=lambda name: -stats.middle(_samples(result, f"{name}/open/p99")))
    for quantile, mark in (("p50", "o"), ("p99", "x")):
        samples = [_samples(result, f"{name}/open/{quantile}") for name in there]
        medians = [stats.middle(values) / 1e3 for values in samples]
        errors = [
            [error / 1e3 for error in side] for side in zip(*map(_error, samples), strict=True)
        ]
        axes.errorbar(medians, there, xerr=errors, fmt=mark, capsize=2, label=quantile)
    axes.set_xscale("log")
    axes.set_xlabel("ms from the moment a request was due, 1,000 requests a second")
    axes.legend()


def starts(axes: Axes, result: Result) -> None:
    """The share of starts that took no longer."""
    for name in (
        "launcher",
        "start",
        "start, called through the service",
        "start, installed dependency",
    ):
        ordered = sorted(_samples(result, name))
        shares = [rank / len(ordered) for rank in range(1, len(ordered) + 1)]
        axes.step(ordered, shares, where="post", label=f"{name}, n={len(ordered)}")
    axes.set_xscale("log")
    axes.set_xlabel("ms to the first answer")
    axes.set_ylabel("share of starts")
    axes.legend()


def growth(axes: Axes, result: Result) -> None:
    """What the control plane takes, by how many functions there are."""
    sizes = result["sizes"]["functions"]
    for name in ("meta", "list", "gen"):
        samples = [_samples(result, f"{size}/{name}") for size in sizes]
        errors = list(zip(*map(_error, samples), strict=True))
        medians = [stats.middle(values) for values in samples]
        axes.errorbar(sizes, medians, yerr=errors, marker="o", capsize=2, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("functions")
    axes.set_ylabel("ms")
    axes.legend()


def _samples(result: Result, name: str) -> list[float]:
    samples: list[float] = result["values"][name]["samples"]
    return samples


def _error(samples: list[float]) -> tuple[float, float]:
    """How far the interval of the median goes down and up; nothing where there is none."""
    median = stats.quantile(samples, 0.5)
    if median is None:
        return 0, 0
    return median["value"] - median["low"], median["high"] - median["value"]


PLOTS: dict[str, tuple[str, Callable[[Axes, Result], None]]] = {
    "throughput": ("peers", throughput),
    "latency": ("peers", latency),
    "starts": ("alone", starts),
    "growth": ("alone", growth),
}


def draw(results: dict[str, Result], folder: Path) -> None:
    """Each plot whose result is there, with the noise of its run in the title."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (kind, plot) in PLOTS.items():
        if kind not in results:
            continue
        result = results[kind]
        figure, axes = pyplot.subplots(figsize=(7.5, 4.5))
        plot(axes, result)
        apart = f", equals {result['noise']['twins_apart']:.1%} apart"
        noisy = ", NOISY" if result["noise"]["noisy"] else ""
        axes.set_title(f"{result['command']}, {result['at'][:10]}{apart}{noisy}", fontsize=9)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        pyplot.close(figure)


if __name__ == "__main__":
    draw(record.newest(), FOLDER)
