"""The report is made from results alone, and the pages hold what it makes."""

import re
from pathlib import Path
from typing import Any

import pytest

import live
from bench import figures, record, report, stats
from bench.peers import DIRECT, FLOOR, ROUTED, TWIN


def result(kind: str, medians: dict[str, float], **changed: Any) -> dict[str, Any]:
    """A result whose values are 8 samples around these medians."""
    samples = {name: [m * (1 + d / 1000) for d in range(-3, 5)] for name, m in medians.items()}
    known = {
        "format": record.FORMAT,
        "kind": kind,
        "command": record.COMMANDS[kind],
        "at": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789abcdef",
        "seconds": 9,
        "seed": 7,
        "sizes": {"functions": [10, 1000]},
        "machine": {
            "cpu": "A CPU",
            "cores": 2,
            "memory_mib": 1000,
            "kernel": "6.1",
            "load": [0.1, 0, 0],
        },
        "versions": {"python": "3.11.7"},
        "generator": {"closed": "wrk 4.1.0", "open": "bench/load.py"},
        "cores": {"servers": [0], "generator": [1]},
        "left_out": {},
        "installed": {"granian": {"click": "1.0", "granian": "2.5.0"}},
        "noise": {"steal": 0.0, "twins_apart": 0.01, "spread": 0.02, "noisy": []},
        "values": {name: stats.summary(taken, "ms") for name, taken in samples.items()},
    }
    return known | changed


def peers(**more: float) -> dict[str, Any]:
    medians = {
        f"{DIRECT}/c16/rate": 60.0,
        f"{FLOOR.name}/c16/rate": 100.0,
        f"{TWIN.name}/c16/rate": 100.0,
        "granian/c16/rate": 20.0,
        "granian/c64/rate": 80.0,
        f"{DIRECT}/c64/rate": 40.0,
        f"{ROUTED}/c1/p50": 250.0,
        "nginx, routing/c1/p50": 200.0,
    }
    return result("peers", medians | more)


def row(table: str, name: str) -> list[str]:
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_figure_is_told_with_its_interval_its_verdict_and_its_command() -> None:
    table = report.targets({"peers": peers()})
    assert row(table, "direct calls, c=16, over the bare epoll loop") == [
        *("direct calls, c=16, over the bare epoll loop", "0.5x", "0.7x", "0.6x (0.6 to 0.6)"),
        *("reached", "`make bench-peers`"),
    ]


@pytest.mark.parametrize(
    ("rate", "verdict"), [(40.0, "**not reached**"), (80.0, "reached, the goal too")]
)
def test_a_verdict_compares_with_both_limits(rate: float, verdict: str) -> None:
    table = report.targets({"peers": peers(**{f"{DIRECT}/c16/rate": rate})})
    assert row(table, "direct calls, c=16, over the bare epoll loop")[4] == verdict


def test_a_goal_may_be_another_server() -> None:
    for nginx, verdict in ((200.0, "reached"), (300.0, "reached, the goal too")):
        table = report.targets({"peers": peers(**{"nginx, routing/c1/p50": nginx})})
        assert row(table, "routed call, c=1, p50")[4] == verdict


def test_what_was_not_measured_is_said_and_not_judged() -> None:
    table = report.targets({"peers": peers()})
    assert row(table, "POST /api/gen")[3:5] == ["not measured yet", ""]
    assert row(table, "direct calls, c=16, over uvicorn")[3:5] == [
        "uvicorn + uvloop/c16/rate was not measured",
        "",
    ]


def test_the_fastest_python_peer_is_the_one_to_beat() -> None:
    measured = {f"{DIRECT}/c1/p50": 90.0, "granian/c1/p50": 100.0, "func-python/c1/p50": 300.0}
    reading = figures.against_the_best("c1/p50", figures.PYTHON_PEERS)(peers(**measured))
    assert reading["value"] == pytest.approx(0.9)


def test_what_peers_do_better_is_named() -> None:
    said = report.limits({"peers": peers()}).splitlines()
    assert said[0] == "- granian: serves more calls at c=64, by 2x (2 to 2)."


def test_servers_are_listed_fastest_first() -> None:
    lines = report.calls({"peers": peers()}).splitlines()
    rows = [re.split(r"[:,]", line)[0] for line in lines if line.startswith("| ")][1:]
    assert rows == ["| bare epoll loop", "| bare epoll loop", "| fob", "| granian"]


def test_a_server_is_listed_with_its_version() -> None:
    cell = row(report.calls({"peers": peers()}), "granian")[0]
    assert cell == "granian: the same ASGI application, uvloop, granian 2.5.0"


def test_a_noisy_run_is_called_noisy_and_what_is_left_out_is_named() -> None:
    noise = {"steal": 0.1, "twins_apart": 0, "spread": 0, "noisy": ["10% was stolen"]}
    told = report.runs(
        {"alone": result("alone", {}, noise=noise, left_out={"workerd": "no such package"})}
    )
    assert "**noisy: 10% was stolen**" in told
    assert "left out: workerd (no such package)" in told


def test_tails_are_left_out_where_samples_do_not_carry_them() -> None:
    names = (
        "start",
        "start, called through the service",
        "start, installed dependency",
        "launcher",
    )
    table = report.starts({"alone": result("alone", dict.fromkeys(names, 5.0))})
    assert row(table, "launcher") == ["launcher", "8", "5 (4.99 to 5.02)", "", ""]


def test_growth_is_told_by_size() -> None:
    measured = {f"{n}/{what}": 2.5 for n in (10, 1000) for what in ("memory", "meta", "idle cpu")}
    table = report.growth({"alone": result("alone", measured)})
    assert row(table, "1,000") == ["1,000", "2.5", "2.5", "", "", "", "2.5"]


def test_a_page_is_filled_between_its_marks_and_nowhere_else() -> None:
    page = "a\n<!-- brief: made by make bench-report -->\nold\n<!-- end -->\nz\n"
    once = report.filled(page, {})
    assert once == page.replace("old", "Not measured yet.")
    assert report.filled(once, {}) == once


@pytest.mark.parametrize("name", report.PAGES)
def test_the_pages_hold_what_the_newest_results_render(name: str) -> None:
    page = (live.ROOT / name).read_text()
    assert report.MARK.search(page)
    assert report.filled(page, record.newest()) == page, "make bench-report makes it"


def test_the_readme_shows_five_figures() -> None:
    assert sum(row.brief for row in figures.ROWS) == 5


def test_the_performance_page_has_every_section_once() -> None:
    marks = [found[2] for found in report.MARK.finditer(performance())]
    assert sorted(marks) == sorted(report.SECTIONS.keys() - {"brief"})


def test_no_measured_number_is_typed_by_hand() -> None:
    """Beyond the marks there are the sizes of the method, and no milliseconds or megabytes."""
    prose = report.MARK.sub("", performance())
    assert re.findall(r"\d[\d.,]* ?(?:ms|us|MB|KB|1/s)\b", prose) == []


def performance() -> str:
    return Path(live.ROOT, "docs", "performance.md").read_text()
