"""Many functions: registering them, their memory, and what the control plane costs then."""

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

from bench import machine, starts
from bench.load import Connection
from bench.service import HELLO, Service

METAS = 20  # for each list and registration
WARM_UPS = 10
PAUSE_SECONDS = 0.1
AT_REST = "?activation=on-demand"
SETTLE_SECONDS = 3  # after the last registration, before what is idle is measured

Samples = dict[str, list[float]]
Say = Callable[[str], None]


def grow(
    running: Service, sizes: tuple[int, ...], probes: int, idle_seconds: float, say: Say
) -> Samples:
    """Register functions up to each of `sizes`; at each, memory, latency (so many lists and
    registrations, and METAS times as many metas) and idle CPU.

    "registration" has milliseconds of every POST; "<size>/..." what was measured with so many
    alive: memory (MB of each, after a call), meta, list, apps (the engine's list), gen (ms), idle
    cpu (% of a core).
    """
    _warm_up(running)
    ids: list[str] = []
    samples: Samples = {"registration": []}
    for size in sizes:
        for number in range(len(ids), size):
            id_, taken = _registered(running, number)
            ids.append(id_)
            samples["registration"].append(taken)
        for id_ in ids:
            running.call(id_)
        say(f"{size} functions: registered and called")
        functions = running.functions()
        if len(functions) != size:
            raise SystemExit(f"{len(functions)} processes of {size} functions were found")
        samples[f"{size}/memory"] = [machine.pss_bytes(pid) / 1e6 for pid in functions]
        samples |= {
            f"{size}/{name}": taken for name, taken in _latencies(running, ids, probes).items()
        }
        for name, taken in _idle(running, idle_seconds).items():
            samples[f"{size}/{name}"] = taken
    return samples


def _warm_up(running: Service) -> None:
    """The engine's first functions find it not ready to fork."""
    for number in range(WARM_UPS):
        id_, _ = _registered(running, -number)
        running.call(id_)
        running.remove(id_)
        time.sleep(PAUSE_SECONDS)


def _registered(running: Service, number: int) -> tuple[str, float]:
    """A new function's id, and the milliseconds of its POST."""
    started_ns = time.monotonic_ns()
    id_ = running.gen(HELLO + f"\n# {number}\n".encode())
    return id_, (time.monotonic_ns() - started_ns) / 1e6


def _latencies(running: Service, ids: list[str], probes: int) -> Samples:
    draw = random.Random(len(ids))
    chosen = [draw.choice(ids) for _ in range(probes * METAS)]
    gens: list[float] = []
    for number in range(probes):
        id_, taken = _registered(running, -number)
        gens.append(taken)
        running.call(id_)
        running.remove(id_)
    return {
        "meta": [timed(running.ask, "GET", f"/api/meta/{id_}") for id_ in chosen],
        "list": [timed(running.ask, "GET", "/api/functions") for _ in range(probes)],
        "apps": [timed(running.apps) for _ in range(probes)],
        "gen": gens,
    }


def timed(work: Callable[..., Any], *arguments: Any) -> float:
    """Milliseconds that it takes."""
    started_ns = time.monotonic_ns()
    work(*arguments)
    return (time.monotonic_ns() - started_ns) / 1e6


def _idle(running: Service, seconds: float) -> Samples:
    """Percent of a core that engine and dispatcher use when nothing is asked; six readings."""
    time.sleep(min(seconds, SETTLE_SECONDS))
    pids = running.control().values()
    readings = []
    for _ in range(6):
        before = machine.running_seconds(pids)
        time.sleep(seconds / 6)
        readings.append((machine.running_seconds(pids) - before) / (seconds / 6) * 100)
    return {"idle cpu": readings}


def at_rest(running: Service, count: int, calls: int, say: Say) -> Samples:
    """Functions that are only their socket until they are called: KB each of the processes of fob
    and the kernel's own objects together, and milliseconds of so many first calls to one, that
    come one at a time, and in a row, each as soon as the one before is answered."""
    _warm_up(running)
    before = _held_kb(running)
    ids: list[str] = []
    for number in range(count):
        ids.append(running.gen(HELLO + f"\n# {number}\n".encode(), AT_REST))
        if (number + 1) % 1000 == 0:
            say(f"{number + 1} functions at rest")
    time.sleep(SETTLE_SECONDS)
    held = _held_kb(running) - before
    where = [running.meta(id_) for id_ in random.Random(count).sample(ids, 2 * calls)]
    return {
        "at rest/held": [held / count],
        "first call at rest": _first_calls(where[:calls], starts.PAUSE_SECONDS),
        "first call at rest, in a row": _first_calls(where[calls:], 0),
    }


def _first_calls(where: list[tuple[str, int]], pause_seconds: float) -> list[float]:
    """Milliseconds of a connection and an answer at each address, with a pause before each."""
    taken = []
    for address in where:
        time.sleep(pause_seconds)
        taken.append(timed(_first_call, *address))
    return taken


def _first_call(host: str, port: int) -> None:
    with contextlib.closing(Connection(host, port)) as function:
        function.ask("GET", "/")


def _held_kb(running: Service) -> float:
    return (sum(map(machine.pss_bytes, running.pids())) + machine.kernel_bytes()) / 1000
