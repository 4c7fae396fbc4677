"""The instruments of `make bench`: what a sample can tell, and the load generator."""

import json
import runpy
import subprocess
import sys
from typing import Any

import pytest

import live

BENCH = live.ROOT / "bench"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return runpy.run_path(str(BENCH / "record.py"))


@pytest.mark.parametrize(
    ("n", "q", "ranks"),
    [
        (5, 0.5, None),
        (6, 0.5, (1, 6)),
        (100, 0.5, (40, 61)),
        (71, 0.95, None),
        (72, 0.95, (64, 72)),
        (2000, 0.5, (956, 1045)),
    ],
)
def test_an_interval_is_given_only_where_the_samples_carry_it(
    record: dict[str, Any], n: int, q: float, ranks: tuple[int, int] | None
) -> None:
    assert record["interval_ranks"](n, q) == ranks


def test_a_summary_holds_every_sample_and_no_p95_of_few(record: dict[str, Any]) -> None:
    summary = record["summary"]([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], "ms")
    assert summary["samples"] == [3.0, 1.0, 2.0, 5.0, 4.0, 6.0]
    assert summary["median"] == {"value": 3.0, "low": 1.0, "high": 6.0}
    assert summary["p95"] is None


def test_circumstances_name_machine_versions_and_commit(record: dict[str, Any]) -> None:
    found = record["circumstances"]()
    assert found.keys() == {"at", "commit", "dirty", "machine", "versions"}
    assert found["machine"]["cores"] >= 1
    assert json.dumps(found)


@pytest.mark.parametrize("connections", [1, 4])
def test_the_load_generator_counts_whole_answers(
    dispatcher: live.Dispatcher, connections: int
) -> None:
    host, port = dispatcher.url.removeprefix("http://").split(":")
    command = [sys.executable, str(BENCH / "load.py"), host, port, "/api/stats"]
    done = subprocess.run(
        [*command, str(connections), "0", "50"], stdout=subprocess.PIPE, check=True
    )
    result = json.loads(done.stdout)
    assert result["answers"] >= 50
    assert result["seconds"] > 0
    assert ("latencies_ns" in result) == (connections == 1)


def test_the_load_generator_ends_at_an_answer_that_is_not_200(dispatcher: live.Dispatcher) -> None:
    host, port = dispatcher.url.removeprefix("http://").split(":")
    command = [sys.executable, str(BENCH / "load.py"), host, port, "/nowhere", "1", "0", "50"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "404" in done.stderr
