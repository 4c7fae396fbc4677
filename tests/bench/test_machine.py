"""What the machine says of processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import machine

PARENT = """
import subprocess, sys
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
sys.stdin.read()
child.communicate()
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    (tmp_path / "sandbox").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=tmp_path / "sandbox",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process


def test_a_family_is_a_process_and_its_descendants(parent: "subprocess.Popen[str]") -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert machine.family([parent.pid]) == {parent.pid, child}
    parent.communicate("")
    assert machine.family([parent.pid]) == set()


def test_cpu_time_counts_what_was_computed() -> None:
    for counted in (machine.cpu_seconds, machine.running_seconds):
        before = counted([os.getpid()])
        while counted([os.getpid()]) < before + 0.05:
            pass
        assert counted([]) == 0


def test_processes_are_found_by_where_they_work(
    parent: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert set(machine.working_in(str(tmp_path))) == {parent.pid, child}
    assert machine.working_in(str(tmp_path / "sandbox")) == []


def test_memory_is_at_least_that_of_an_interpreter() -> None:
    assert machine.pss_bytes(os.getpid()) > 2_000_000
    assert machine.kernel_bytes() > 0


def test_a_process_kept_to_the_servers_core_can_be_freed(
    parent: "subprocess.Popen[str]",
) -> None:
    cores = machine.Cores()
    cores.keep([parent.pid])
    assert os.sched_getaffinity(parent.pid) == cores.servers
    cores.free([parent.pid])
    assert os.sched_getaffinity(parent.pid) == set(cores.all)
