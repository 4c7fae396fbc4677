"""What survives when dispatcher or engine dies, with real processes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import live
from fob.engine.runtime.task_folders import SPARES

PID = "import os\n\ndef handler():\n    return os.getpid()\n"


@pytest.fixture(params=live.LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answer_of(address: tuple[str, int]) -> int:
    host, port = address
    return int(requests.get(f"http://{host}:{port}/", timeout=10).json()["result"])


def test_functions_keep_responding_when_the_dispatcher_is_killed(
    start_dispatcher: Callable[..., live.Dispatcher],
) -> None:
    first = start_dispatcher()
    ids = [first.gen(PID) for _ in range(3)]
    addresses = {id_: first.meta(id_) for id_ in ids}
    pids = {id_: answer_of(addresses[id_]) for id_ in ids}
    first.kill()
    assert {id_: answer_of(addresses[id_]) for id_ in ids} == pids
    second = start_dispatcher()
    assert {id_: second.meta(id_) for id_ in ids} == addresses
    assert {id_: answer_of(addresses[id_]) for id_ in ids} == pids


def test_every_acknowledged_function_survives_a_killed_engine(
    dispatcher: live.Dispatcher,
) -> None:
    ids = [dispatcher.gen(PID) for _ in range(3)]
    addresses = {id_: dispatcher.meta(id_) for id_ in ids}
    pids = {id_: answer_of(addresses[id_]) for id_ in ids}
    last = dispatcher.gen(PID)  # acknowledged, perhaps not started yet
    old = dispatcher.engine_pid
    os.kill(old, signal.SIGKILL)
    assert {id_: answer_of(addresses[id_]) for id_ in ids} == pids
    live.until(lambda: dispatcher.engine_pid != old, "a new engine")
    assert answer_of(dispatcher.meta(last)) > 0
    assert {id_: dispatcher.meta(id_) for id_ in ids} == addresses
    # The new engine accepts new functions.
    assert answer_of(dispatcher.meta(dispatcher.gen(PID))) > 0


def test_every_acknowledged_function_survives_when_both_are_killed(
    start_dispatcher: Callable[..., live.Dispatcher],
) -> None:
    first = start_dispatcher()
    ids = [first.gen(f"def f():\n    return {number}\n") for number in range(5)]
    engine = first.engine_pid
    first.process.kill()  # right after the last response
    os.kill(engine, signal.SIGKILL)
    first.kill()
    second = start_dispatcher()
    assert [answer_of(second.meta(id_)) for id_ in ids] == list(range(5))
    listed = second.ask("GET", "/api/functions").json()["functions"]
    assert [function["id"] for function in listed] == ids
    assert second.ask("GET", f"/api/cs/{ids[4]}").text == "def f():\n    return 4\n"


def test_a_stop_stops_everything_and_a_start_brings_everything_back(
    start_dispatcher: Callable[..., live.Dispatcher],
) -> None:
    first = start_dispatcher()
    ids = [first.gen(PID) for _ in range(3)]
    addresses = {id_: first.meta(id_) for id_ in ids}
    assert first.stop() == 0
    assert live.processes_of(first.home) == []
    second = start_dispatcher()
    assert {id_: second.meta(id_) for id_ in ids} == addresses
    assert all(answer_of(address) for address in addresses.values())


def test_an_engine_started_by_hand_is_left_running(
    engine: live.Engine, start_dispatcher: Callable[..., live.Dispatcher]
) -> None:
    dispatcher = start_dispatcher()
    id_ = dispatcher.gen(PID)
    address = dispatcher.meta(id_)
    assert dispatcher.stop() == 0
    assert answer_of(address) > 0
    assert engine.process.poll() is None


def test_a_dispatcher_works_without_its_state_folder(
    engine: live.Engine, start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    """It reads functions back from Marathon, here those of another dispatcher."""
    settings = {"MARATHON_API": engine.url, "FOB_MARATHON_TOKEN": engine.token}
    one = start_dispatcher(tmp_path / "one", FOB_HOST="127.0.0.1", **settings)
    two = start_dispatcher(tmp_path / "two", FOB_HOST="127.0.0.1", **settings)
    id_ = one.gen(PID)
    assert two.meta(id_) == one.meta(id_)
    assert two.ask("GET", f"/api/cs/{id_}").content == PID.encode()
    assert [f["id"] for f in two.ask("GET", "/api/functions").json()["functions"]] == [id_]
    assert two.ask("DELETE", f"/api/functions/{id_}").ok
    live.until(lambda: one.ask("GET", f"/api/meta/{id_}").status_code == 404)


@pytest.mark.slow
def test_two_hundred_functions_leave_nothing_behind(
    dispatcher: live.Dispatcher, launcher: str
) -> None:
    dispatcher.call(dispatcher.gen(PID))
    warm = dispatcher.gen(PID)
    dispatcher.ask("GET", f"/api/call/{warm}")
    tasks = dispatcher.home / "engine" / "tasks"
    kept = {"process": 0, "zygote": 3}[launcher]  # the zygote and its spares
    live.until(lambda: live.waiting_in(dispatcher.home / "engine") == kept, "the spares")
    store_before = files_below(dispatcher.home)
    before = open_by(dispatcher)
    ports = []
    for _ in range(8):
        ids = [dispatcher.gen(PID, "?mem=16&cpus=0.01") for _ in range(25)]
        for id_ in ids:
            address = dispatcher.meta(id_)
            ports.append(address[1])
            assert answer_of(address) > 0
        assert dispatcher.ask("GET", f"/api/call/{ids[0]}").ok
        for id_ in ids:
            assert dispatcher.ask("DELETE", f"/api/functions/{id_}").ok
    live.until(lambda: len(list(tasks.iterdir())) == 2, "the end of every task folder")
    live.until(lambda: open_by(dispatcher) <= before, f"descriptors back at {before}")
    live.until(lambda: len(runners_of(dispatcher.home)) == 2, "the end of every process")
    assert files_below(dispatcher.home) == store_before
    assert len(list((dispatcher.home / "engine" / "spare").iterdir())) <= SPARES
    # Another engine on this machine may have bound one of the ports since.
    mine = live.listened_to_by(dispatcher.home)
    assert not mine & set(ports)


def open_by(dispatcher: live.Dispatcher) -> int:
    """Count the open file descriptors of dispatcher and engine."""
    pids = (dispatcher.process.pid, dispatcher.engine_pid)
    return sum(live.descriptors_of(pid) for pid in pids)


def runners_of(home: Path) -> list[str]:
    return [told for told in live.processes_of(home) if "MESOS_TASK_ID" in told]


def files_below(home: Path) -> list[str]:
    """List all files except SQLite's own, logs, and those inside sandboxes."""
    return sorted(
        str(path)
        for path in home.rglob("*")
        if path.is_file()
        and "engine.db" not in path.name
        and path.name != "log"
        and not {"tasks", "spare"} & set(path.parts)
    )
