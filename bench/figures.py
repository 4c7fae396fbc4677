"""The figures to reach: each with its limits, and how it is read from the results."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench import stats
from bench.peers import DIRECT, FLOOR, PEERS, ROUTED
from bench.record import Result

Reading = dict[str, float]  # "value", and "low" and "high" where there is an interval


class Unmeasured(Exception):
    """The results do not carry this figure; the message says why."""


@dataclass(frozen=True)
class Row:
    """A figure of one `kind` of result: `at_least` must be reached, `goal` is the ambition.

    `most` says whether these limits are upper or lower ones. A goal that compares with another
    figure has its own `goal_read`. The README shows the rows that are `brief`.
    """

    name: str
    kind: str
    unit: str
    at_least: float
    goal: float | None
    read: Callable[[Result], Reading]
    most: bool = True
    goal_read: Callable[[Result], Reading] | None = None
    goal_said: str = ""
    brief: bool = False

    def reading(self, results: dict[str, Result]) -> Reading:
        """Raises `Unmeasured`."""
        return self.read(_of_kind(self.kind, results))

    def verdict(self, results: dict[str, Result]) -> str:
        value = self.reading(results)["value"]
        if not self._within(value, self.at_least):
            return "**not reached**"
        if self.goal is None:
            return "reached"
        if self.goal_read is not None:
            value = self.goal_read(_of_kind(self.kind, results))["value"]
        return "reached, the goal too" if self._within(value, self.goal) else "reached"

    def limits(self) -> tuple[str, str]:
        """`at_least` and the goal, as text."""
        at_least = f"{self.at_least:g}{self.unit}"
        goal = "" if self.goal is None else f"{self.goal:g}{self.unit}"
        return at_least, self.goal_said or goal

    def _within(self, value: float, limit: float) -> bool:
        return value <= limit if self.most else value >= limit


def _of_kind(kind: str, results: dict[str, Result]) -> Result:
    if kind not in results:
        raise Unmeasured("not measured yet")
    return results[kind]


def samples(result: Result, name: str) -> list[float]:
    """The samples of a value; raises `Unmeasured` when it was left out."""
    if name not in result["values"]:
        raise Unmeasured(f"{name} was not measured")
    found: list[float] = result["values"][name]["samples"]
    return found


def quantile(name: str, q: float = 0.5, scale: float = 1.0) -> Callable[[Result], Reading]:
    """A value's quantile, with an interval if there are enough samples."""

    def read(result: Result) -> Reading:
        values = [value * scale for value in samples(result, name)]
        return stats.quantile(values, q) or {"value": stats.point(values, q)}

    return read


def total(name: str, scale: float) -> Callable[[Result], Reading]:
    return lambda result: {"value": sum(samples(result, name)) * scale}


def ratio(over: str, under: str) -> Callable[[Result], Reading]:
    """The ratio of two medians, with an interval if there are enough samples."""

    def read(result: Result) -> Reading:
        upper, lower = samples(result, over), samples(result, under)
        found = stats.ratio(upper, lower, seed=result["seed"])
        return found or {"value": stats.middle(upper) / stats.middle(lower)}

    return read


def against_the_best(figure: str, names: list[str]) -> Callable[[Result], Reading]:
    """The ratio to the smallest of the others."""

    def read(result: Result) -> Reading:
        there = [n for n in names if f"{n}/{figure}" in result["values"]]
        if not there:
            raise Unmeasured(f"no peer's {figure} was measured")
        best = min(there, key=lambda n: stats.middle(samples(result, f"{n}/{figure}")))
        return ratio(f"{DIRECT}/{figure}", f"{best}/{figure}")(result)

    return read


def _throughput(name: str, peer: str, at_least: float, goal: float | None = None) -> Row:
    read = ratio(f"{DIRECT}/c16/rate", f"{peer}/c16/rate")
    said = f"direct calls, c=16, over {name}"
    brief = peer == "uvicorn + uvloop"
    return Row(said, "peers", "x", at_least, goal, read, most=False, brief=brief)


PYTHON_PEERS = [peer.name for peer in PEERS if peer.python]

ROWS = (
    Row(
        "POST /api/gen to the first response from the function, median",
        *("alone", " ms", 10, 5, quantile("start")),
        brief=True,
    ),
    Row("the same, p99", "alone", " ms", 30, None, quantile("start", 0.99)),
    Row(
        "functions-framework's start over that of fob",
        *("peers", "x", 15, None, ratio("functions-framework/start", f"{DIRECT}/start")),
        most=False,
    ),
    Row(
        "the launcher alone, launch to first response, median",
        *("alone", " ms", 2, 1, quantile("launcher")),
    ),
    _throughput("the bare epoll loop", FLOOR.name, 0.5, 0.7),
    _throughput("functions-framework --asgi", "functions-framework --asgi", 8),
    _throughput("uvicorn + uvloop", "uvicorn + uvloop", 1.8),
    _throughput("granian", "granian", 1.8),
    Row(
        "direct call, c=1, p50, over that of the fastest Python peer",
        *("peers", "x", 1, 1.2, against_the_best("c1/p50", PYTHON_PEERS)),
        goal_read=ratio(f"{DIRECT}/c1/p50", f"{FLOOR.name}/c1/p50"),
        goal_said="1.2x the bare epoll loop",
    ),
    Row(
        "routed calls, c=16, over nginx in front of the same function",
        *("peers", "x", 0.5, 0.9, ratio(f"{ROUTED}/c16/rate", "nginx, routing/c16/rate")),
        most=False,
        brief=True,
    ),
    Row(
        "routed call, c=1, p50",
        *("peers", " ms", 0.3, 1, quantile(f"{ROUTED}/c1/p50", scale=1e-3)),
        goal_read=ratio(f"{ROUTED}/c1/p50", "nginx, routing/c1/p50"),
        goal_said="as nginx",
    ),
    Row(
        "memory of an instance that waits for calls, PSS, of 1,000",
        *("alone", " MB", 2.5, 1.6, quantile("1000/memory")),
        brief=True,
    ),
    Row("memory of an idle function, of 10,000", "peers", " KB", 20, 5, quantile("at rest/held")),
    Row(
        "first call to an idle function, which starts it, p50",
        *("peers", " ms", 5, 2.3, quantile("first call at rest")),
        brief=True,
    ),
    Row(
        "registering 1,000 functions one after another",
        *("alone", " s", 60, 10, total("registration", 1e-3)),
    ),
    Row(
        "meta at 1,000 functions, median",
        *("alone", " ms", 1, 1.1, quantile("1000/meta")),
        goal_read=ratio("1000/meta", "10/meta"),
        goal_said="as with ten",
    ),
    Row(
        "list at 1,000 functions, median",
        *("alone", " ms", 250, 1.1, quantile("1000/list")),
        goal_read=ratio("1000/list", "10/list"),
        goal_said="as with ten",
    ),
    Row(
        "the engine's list of 1,000 apps with a task each, median",
        *("alone", " ms", 1000, 250, quantile("1000/apps")),
    ),
    Row(
        "idle CPU at 1,000 functions, engine and dispatcher together",
        *("alone", " % of a core", 2, 0.5, quantile("1000/idle cpu")),
    ),
)


def better_peers(result: Result) -> list[tuple[str, str, Reading]]:
    """(peer, figure, ratio) wherever a peer is better than fob and the interval says so."""
    found: list[tuple[str, str, Reading]] = []
    for name in [peer.name for peer in PEERS]:
        ours = ROUTED if name.endswith("routing") else DIRECT
        for figure, most in FIGURES.items():
            try:
                reading = _advantage(result, f"{name}/{figure}", f"{ours}/{figure}", most)
            except Unmeasured:
                continue
            if reading.get("low", 0) > 1:
                found.append((name, figure, reading))
    return found


FIGURES: dict[str, bool] = {  # and whether less is better
    "c1/p50": True,
    "c16/rate": False,
    "c64/rate": False,
    "c16/p99": True,
    "c64/p99": True,
    "open/p99": True,
    "c16/cpu": True,
}


def _advantage(result: Result, theirs: str, ours: str, most: bool) -> Any:
    return ratio(ours, theirs)(result) if most else ratio(theirs, ours)(result)
