"""Tables from result files, and nothing else: `python -m bench.report [FILE ...]`.

Without files, the newest results of each kind are written into docs/performance.md and README.md,
between the marks that are there for it. With files, the same goes to standard output.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from bench import record, stats
from bench.figures import ROWS, Reading, Unmeasured, better_peers
from bench.peers import DIRECT, FLOOR, PEERS, ROUTED, TWIN
from bench.record import Result

PAGES = ("docs/performance.md", "README.md")
MARK = re.compile(r"(<!-- (\w+): made by make bench-report -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SAID = {
    DIRECT: "a function, called directly",
    ROUTED: "the same function, through /api/call/<id>",
    **{peer.name: peer.said for peer in (FLOOR, TWIN, *PEERS)},
}

Results = dict[str, Result]


def targets(results: Results) -> str:
    """Every figure to reach, what was measured, and whether it was reached."""
    lines = ["| figure | at least | go for | measured | | repeat it |", "|---|---|---|---|---|---|"]
    for row in ROWS:
        at_least, goal = row.limits()
        try:
            measured, verdict = interval(row.reading(results), row.unit), row.verdict(results)
        except Unmeasured as reason:
            measured, verdict = str(reason), ""
        command = record.COMMANDS[row.kind]
        lines.append(f"| {row.name} | {at_least} | {goal} | {measured} | {verdict} | `{command}` |")
    return "\n".join(lines)


def brief(results: Results) -> str:
    """Five of the figures to reach as measured, for the README."""
    lines = ["| figure | measured | repeat it |", "|---|---|---|"]
    for row in (row for row in ROWS if row.brief):
        try:
            measured = interval(row.reading(results), row.unit)
        except Unmeasured:
            continue
        lines.append(f"| {row.name} | {measured} | `{record.COMMANDS[row.kind]}` |")
    return "\n".join(lines) if len(lines) > 2 else "Not measured yet."


def runs(results: Results) -> str:
    """When, where and how each command was run, and whether the machine was quiet."""
    if not results:
        return "Not measured yet."
    return "\n".join(_run(result) for _, result in sorted(results.items()))


def _run(result: Result) -> str:
    machine, noise = result["machine"], result["noise"]
    quiet = f"**noisy: {'; '.join(noise['noisy'])}**" if noise["noisy"] else "quiet"
    cores = result["cores"]
    apart = cores["servers"] != cores["generator"]
    parts = [
        f"`{result['command']}`, {result['at'][:16].replace('T', ' ')} UTC, commit"
        f" {result['commit'][:10]}, in {result['seconds']} s",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mib']} MiB, Linux"
        f" {machine['kernel']}, Python {result['versions']['python']}{_build(result)}",
        f"load from {result['generator']['closed']} (closed loop) and"
        f" {result['generator']['open']} (open loop),"
        f" {'on a core of its own' if apart else 'on any core'}; seed {result['seed']}",
        f"load average at the start {machine['load'][0]:.2f}, stolen {noise['steal']:.1%},"
        f" equals {noise['twins_apart']:.1%} apart, spread {noise['spread']:.1%}: {quiet}",
        *(f"left out: {name} ({why})" for name, why in result["left_out"].items()),
    ]
    return "- " + ";\n  ".join(parts) + "."


def _build(result: Result) -> str:
    build = result["versions"].get("python_build")
    return f" ({build})" if build else ""


def calls(results: Results) -> str:
    """A line for each server: throughput, latency, CPU, start and memory."""
    if "peers" not in results:
        return "Not measured yet."
    result = results["peers"]
    columns: list[tuple[str, str, float]] = [
        ("c=1 p50, us", "c1/p50", 1),
        ("c=16, 1/s", "c16/rate", 1),
        ("c=64, 1/s", "c64/rate", 1),
        ("c=16 p99, ms", "c16/p99", 1e-3),
        ("open loop p50, ms", "open/p50", 1e-3),
        ("open loop p99, ms", "open/p99", 1e-3),
        ("CPU a call, us", "c16/cpu", 1),
        ("start, ms", "start", 1),
        ("PSS, MB", "memory", 1),
    ]
    lines = [
        f"| server | {' | '.join(title for title, _, _ in columns)} |",
        "|---|" + "---:|" * len(columns),
    ]
    for name in _fastest_first(result):
        cells = [_cell(result, f"{name}/{figure}", scale) for _, figure, scale in columns]
        lines.append(f"| {name}: {SAID[name]}{_version(result, name)} | {' | '.join(cells)} |")
    return "\n".join([*lines, _plot("throughput"), _plot("latency")])


def _version(result: Result, name: str) -> str:
    """`, uvicorn 0.54.0`: the version of the first package of a peer that was installed."""
    for environment in (peer.environment for peer in PEERS if peer.name == name):
        versions = result["installed"].get(environment.name, {})
        package = "".join(environment.packages[:1]).partition("[")[0]
        for installed, version in versions.items():
            if installed.lower() == package:
                return f", {package} {version}"
    return ""


def _plot(name: str) -> str:
    return f"\n![{name}](plots/{name}.svg)"


def _fastest_first(result: Result) -> list[str]:
    values = result["values"]
    there = [name for name in SAID if f"{name}/c16/rate" in values]
    return sorted(there, key=lambda n: -stats.middle(values[f"{n}/c16/rate"]["samples"]))


def _cell(result: Result, name: str, scale: float = 1) -> str:
    value = result["values"].get(name)
    return number(stats.middle(value["samples"]) * scale) if value else ""


def starts(results: Results) -> str:
    """How long starts take, with their tails."""
    if "alone" not in results:
        return "Not measured yet."
    values = results["alone"]["values"] | results.get("peers", {"values": {}})["values"]
    lines = ["| ms | n | median | p95 | p99 |", "|---|---:|---:|---:|---:|"]
    for name in (
        "start",
        "start, called through the service",
        "start, installed dependency",
        "launcher",
        "first call at rest",
        "first call at rest, in a row",
    ):
        if name not in values:
            continue
        value = values[name]
        cells = [interval(value[q]) if value[q] else "" for q in ("median", "p95", "p99")]
        lines.append(f"| {name} | {value['n']} | {' | '.join(cells)} |")
    return "\n".join([*lines, _plot("starts")])


def growth(results: Results) -> str:
    """What a function holds and what the control plane takes, by how many functions there are."""
    if "alone" not in results:
        return "Not measured yet."
    result = results["alone"]
    figures = {
        "memory": "PSS each, MB",
        "meta": "meta, ms",
        "list": "list, ms",
        "apps": "/v2/apps, ms",
        "gen": "gen, ms",
        "idle cpu": "idle CPU, % of a core",
    }
    lines = [f"| functions | {' | '.join(figures.values())} |", "|---:|" + "---:|" * len(figures)]
    for size in result["sizes"]["functions"]:
        cells = [_cell(result, f"{size}/{figure}") for figure in figures]
        lines.append(f"| {size:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, _plot("growth")])


def limits(results: Results) -> str:
    """What others do better, as far as the intervals tell."""
    if "peers" not in results:
        return "Not measured yet."
    found = better_peers(results["peers"])
    if not found:
        return "Nothing that the intervals of this run resolve."
    return "\n".join(
        f"- {name}: {BETTER[figure]}, by {interval(reading, 'x')}."
        for name, figure, reading in found
    )


BETTER = {
    "c1/p50": "responds faster to a single caller (p50)",
    "c16/rate": "serves more calls at c=16",
    "c64/rate": "serves more calls at c=64",
    "c16/p99": "has a shorter tail at c=16 (p99)",
    "c64/p99": "has a shorter tail at c=64 (p99)",
    "open/p99": "has a shorter tail under an open loop (p99)",
    "c16/cpu": "takes less CPU per call at c=16",
}


def interval(reading: Reading, unit: str = "") -> str:
    """`4.3 (4.1 to 4.6) ms`; without the interval where there is none."""
    if "low" not in reading:
        return f"{number(reading['value'])}{unit}"
    between = f"({number(reading['low'])} to {number(reading['high'])})"
    return f"{number(reading['value'])}{unit} {between}"


def number(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{float(f'{value:.3g}'):g}"


SECTIONS: dict[str, Callable[[Results], str]] = {
    "runs": runs,
    "targets": targets,
    "brief": brief,
    "calls": calls,
    "starts": starts,
    "growth": growth,
    "limits": limits,
}


def filled(page: str, results: Results) -> str:
    """The page with what is between its marks made anew."""
    return MARK.sub(lambda m: f"{m[1]}{SECTIONS[m[2]](results)}\n{m[4]}", page)


def overview(result: Result) -> str:
    """Every value of a run, a line each, and what to think of the run."""
    lines = [f"{'':46}{'n':>6}{'median':>10}  95 % interval"]
    for name, value in result["values"].items():
        median = value["median"]
        middle = number(stats.middle(value["samples"]))
        between = f"{number(median['low'])} to {number(median['high'])}" if median else "n < 6"
        lines.append(
            f"{name}, {value['unit']}".ljust(46) + f"{value['n']:>6}{middle:>10}  {between}"
        )
    return "\n".join([*lines, "", _run(result)])


def main() -> None:
    files = [json.loads(Path(name).read_text()) for name in sys.argv[1:]]
    if files:
        results = {result["kind"]: result for result in files}
        print("\n\n".join(section(results) for section in SECTIONS.values()))
        return
    results = record.newest()
    for name in PAGES:
        page = record.ROOT / name
        page.write_text(filled(page.read_text(), results))


if __name__ == "__main__":
    main()
