"""Calls of warm functions, in rounds over all targets whose order changes."""

import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import machine
from bench.generators import Generators, LoadFailed, Target
from bench.load import Connection
from bench.machine import Cores

CONNECTIONS = (1, 16, 64)
WARM_UP_SECONDS = 0.3

Say = Callable[[str], None]
LeaveOut = Callable[[str, object], None]  # whom, and why
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Plan:
    """How many rounds, how long each load lasts in seconds, and what draws the orders."""

    rounds: int
    seconds: float
    draw: random.Random


def in_rounds(
    targets: list[Target],
    generators: Generators,
    cores: Cores,
    plan: Plan,
    say: Say,
    leave_out: LeaveOut,
) -> Samples:
    """One value a round of each figure, named "<target>/c<connections>/<figure>".

    Figures: rate (1/s), p50 and p99 (us) and cpu (us of all the target's processes for a call);
    "open" instead of a number of connections is the open loop. A target that fails is said to, and
    is left out from then on.
    """
    samples: Samples = {}
    order = [target for target in targets if _warmed_up(target, leave_out)]
    for number in range(plan.rounds):
        plan.draw.shuffle(order)
        for target in list(order):
            cores.keep(target.pids())
            try:
                found = _one_round(target, generators, plan)
            except LoadFailed as error:
                leave_out(target.name, error)
                order.remove(target)
                continue
            for name, value in found.items():
                samples.setdefault(f"{target.name}/{name}", []).append(value)
        say(f"calls: round {number + 1} of {plan.rounds}")
    for target in targets:
        cores.free(target.pids())
    return samples


def _one_round(target: Target, generators: Generators, plan: Plan) -> dict[str, float]:
    found: dict[str, float] = {}
    for connections in plan.draw.sample(CONNECTIONS, len(CONNECTIONS)):
        before = machine.cpu_seconds(target.pids())
        measured = generators.closed(target, connections, plan.seconds)
        used = machine.cpu_seconds(target.pids()) - before
        measured["cpu"] = used / measured.pop("answers") * 1e6
        found |= {f"c{connections}/{name}": value for name, value in measured.items()}
    measured = generators.open(target, plan.seconds, plan.draw.getrandbits(32))
    return found | {f"open/{name}": measured[name] for name in ("p50", "p99")}


def _warmed_up(target: Target, leave_out: LeaveOut) -> bool:
    """Call it for a while; False, and left out, when it does not answer."""
    end = time.monotonic() + WARM_UP_SECONDS
    try:
        with contextlib.closing(Connection(target.host, target.port)) as connection:
            while time.monotonic() < end:
                connection.ask("GET", target.path)
    except (OSError, ValueError) as error:
        leave_out(target.name, error)
        return False
    return True
