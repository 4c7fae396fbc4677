"""Starts: of functions nobody has seen, and of each peer."""

import random
import time
from collections.abc import Callable, Iterable

from bench import machine
from bench.install import Installed
from bench.peers import DIRECT, Peer
from bench.servers import NotStarted, running
from bench.service import HELLO, PACKAGE, Service

NEEDING = f'# /// script\n# dependencies = ["{PACKAGE}==1.0"]\n# ///\n'.encode() + HELLO
OTHERWISE_EVERY = 4
PAUSE_SECONDS = 0.025  # between starts: functions come one at a time here, not in a burst

Say = Callable[[str], None]
LeaveOut = Callable[[str, object], None]  # whom, and why


def of_functions(fob: Service, count: int) -> dict[str, list[float]]:
    """Milliseconds from POST /api/gen to the first answer; each OTHERWISE_EVERY-th also to that of
    a call by way of the service, and with a dependency that is installed already."""
    kept = fob.gen(NEEDING)  # installs it, and keeps it
    fob.meta(kept)
    of_function(fob, HELLO)
    plain, routed, needing = [], [], []
    for number in range(count):
        mark = f"\n# {number}\n".encode()
        plain.append(of_function(fob, HELLO + mark))
        if number % OTHERWISE_EVERY == 0:
            routed.append(_of_function(fob, HELLO + mark, fob.route)[0])
            needing.append(of_function(fob, NEEDING + mark))
    fob.remove(kept)
    return {
        "start": plain,
        "start, called through the service": routed,
        "start, installed dependency": needing,
    }


def of_function(fob: Service, source: bytes) -> float:
    """POST, meta?wait for where it is, a new connection there, one answer: in milliseconds."""
    taken, _ = _of_function(fob, source, fob.call)
    return taken


def _of_function(fob: Service, source: bytes, call: Callable[[str], bytes]) -> tuple[float, float]:
    """The same with a `call` of the id, and the memory (MB) of all functions after it."""
    time.sleep(PAUSE_SECONDS)
    started_ns = time.monotonic_ns()
    id_ = fob.gen(source)
    call(id_)
    taken_ms = (time.monotonic_ns() - started_ns) / 1e6
    memory = _pss_mb(fob.functions())
    fob.remove(id_)
    return taken_ms, memory


def of_peers(
    peers: dict[Peer, Installed],
    fob: Service,
    rounds: int,
    draw: random.Random,
    say: Say,
    leave_out: LeaveOut,
) -> dict[str, list[float]]:
    """Starts to the first answer (ms) and the memory then (MB) of each peer, and of a function of
    fob's beside each, in rounds of changing order. A peer that does not start is left out."""
    samples: dict[str, list[float]] = {}

    def keep(name: str, taken: float, memory: float) -> None:
        samples.setdefault(f"{name}/start", []).append(taken)
        samples.setdefault(f"{name}/memory", []).append(memory)

    order = list(peers)
    for number in range(rounds):
        draw.shuffle(order)
        for peer in list(order):
            keep(DIRECT, *_of_function(fob, HELLO, fob.call))
            try:
                with running(peer, peers[peer]) as server:
                    keep(peer.name, server.started_ms, _pss_mb(server.pids()))
            except NotStarted as error:
                leave_out(peer.name, error)
                order.remove(peer)
        say(f"starts: round {number + 1} of {rounds}")
    return samples


def _pss_mb(pids: Iterable[int]) -> float:
    return sum(map(machine.pss_bytes, pids)) / 1e6
