"""Rounds of calls: every target in every round, and none that fails stops the others."""

import random
import socket
from collections.abc import Iterator

import pytest

from bench import calls, peers, servers
from bench.generators import Generators, Target
from bench.install import Installed
from bench.machine import Cores


@pytest.fixture
def floor() -> Iterator[Target]:
    with servers.running(peers.FLOOR, Installed.python()) as server:
        yield server.target()


def rounds(targets: list[Target]) -> tuple[calls.Samples, dict[str, str]]:
    """The samples of two short rounds, and who was left out."""
    left_out: dict[str, str] = {}
    cores = Cores()
    samples = calls.in_rounds(
        targets,
        Generators(cores, None),
        cores,
        calls.Plan(2, 0.05, random.Random(1)),
        lambda said: None,
        lambda name, why: left_out.update({name: str(why)}),
    )
    return samples, left_out


def test_every_round_has_a_value_of_each_figure(floor: Target) -> None:
    samples, left_out = rounds([floor])
    figures = [f"c{n}/{figure}" for n in (1, 16, 64) for figure in ("rate", "p50", "p99", "cpu")]
    wanted = {f"{floor.name}/{figure}" for figure in (*figures, "open/p50", "open/p99")}
    assert samples.keys() == wanted
    assert {len(values) for values in samples.values()} == {2}
    assert left_out == {}


def test_a_target_that_does_not_answer_is_left_out_and_named(floor: Target) -> None:
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        dead = Target("dead", "127.0.0.1", bound.getsockname()[1], "/", set)
        samples, left_out = rounds([dead, floor])
    assert left_out.keys() == {"dead"}
    assert "refused" in left_out["dead"]
    assert {name.partition("/")[0] for name in samples} == {floor.name}
