"""Functions on demand: a process while they are called, only a socket while they are idle."""

import contextlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import live

WHO = "import os\ndef call_me(): return os.getpid()\n"
on_both_launchers = pytest.mark.parametrize("launcher", live.LAUNCHERS)


class Function:
    """A function on demand, with what a client and the machine show of it."""

    def __init__(self, dispatcher: live.Dispatcher, source: str, keep_alive: float = 0.1) -> None:
        self.dispatcher = dispatcher
        self.id = dispatcher.gen(source, f"?activation=on-demand&keep_alive={keep_alive}")
        self.host, self.port = dispatcher.meta(self.id)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    @property
    def through(self) -> str:
        """Its URL at the dispatcher."""
        return f"{self.dispatcher.url}/api/call/{self.id}"

    @property
    def folder(self) -> Path:
        return self.dispatcher.home / "engine" / "tasks" / f"fob-aviary_{self.id}"

    def call(self, url: str = "", **options: Any) -> Any:
        response = requests.get(url or self.url, timeout=live.PATIENCE_SECONDS, **options)
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def details(self) -> Any:
        return self.dispatcher.ask("GET", f"/api/functions/{self.id}").json()

    def instance(self) -> Any:
        (instance,) = self.details()["instances"]
        return instance

    def tasks(self) -> set[str]:
        return {instance["task"] for instance in self.details()["instances"]}

    def marks(self) -> list[str]:
        return [mark["mark"] for mark in self.instance()["timeline"]]

    def awake(self) -> list[str]:
        return live.processes_of(self.folder)

    def until_idle(self) -> None:
        live.until(
            lambda: not self.awake() and self.marks()[-1] == "exited", "the end of its process"
        )


def until_spares_wait(dispatcher: live.Dispatcher) -> None:
    """Wait until the number of descriptors is stable: the first start of a function starts the
    zygote, which makes its spares later, and the second start uses one of them."""
    live.until(lambda: live.waiting_in(dispatcher.home / "engine") == 3, "zygote and spares")


@pytest.fixture
def function(dispatcher: live.Dispatcher) -> Function:
    return Function(dispatcher, WHO)


class Connection:
    """A kept-alive connection to a function."""

    def __init__(self, function: Function) -> None:
        self.socket = socket.create_connection((function.host, function.port), timeout=30)
        self.responses = self.socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def response(self) -> bytes:
        """Read a response; return its body."""
        status, *headers = iter(lambda: self.responses.readline().strip(), b"")
        assert status.startswith(b"HTTP/1.1 200"), status
        fields = dict(line.lower().split(b": ", 1) for line in headers)
        return self.responses.read(int(fields[b"content-length"]))

    def close(self) -> None:
        self.responses.close()
        self.socket.close()


@contextlib.contextmanager
def connected(function: Function) -> Iterator[Connection]:
    with contextlib.closing(Connection(function)) as connection:
        yield connection


REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


# idle and awake


@on_both_launchers
def test_it_goes_idle_without_calls_and_starts_with_the_next_call(function: Function) -> None:
    first = function.call()
    before = function.instance()
    function.until_idle()
    assert function.details()["state"] == "running"
    again = function.instance()
    assert {**again, "timeline": None} == {**before, "timeline": None}
    assert function.call() != first
    function.until_idle()
    assert function.call(function.through) != first
    assert function.dispatcher.meta(function.id) == (function.host, function.port)
    assert function.instance()["task"] == before["task"]
    assert function.details()["failures"] == []


def test_a_new_function_is_imported_and_goes_idle_without_a_call(function: Function) -> None:
    function.until_idle()
    assert function.marks() == [
        *("placed", "spawned", "runner_up", "imported", "listening"),
        *("resting", "exited"),
    ]


def test_every_start_has_its_marks(function: Function) -> None:
    function.until_idle()
    before = len(function.marks())
    function.call()
    function.until_idle()
    assert function.marks()[before:] == [
        *("called", "spawned", "runner_up", "imported", "listening", "first_call"),
        *("resting", "exited"),
    ]


def test_a_long_timeline_shows_the_last_starts(
    function: Function,
) -> None:
    function.until_idle()
    timeline = next(function.folder.glob("*/timeline"))
    timeline.write_text(timeline.read_text() + "1 2016-04-02T00:00:00.000Z old\n" * 300)
    function.call()
    function.until_idle()
    assert "old" not in function.marks()
    assert function.marks()[-2:] == ["resting", "exited"]


def test_its_output_is_kept_while_it_is_idle(dispatcher: live.Dispatcher) -> None:
    function = Function(dispatcher, "def call_me(word): print(word)")
    for word in ("first", "second"):
        requests.get(function.url, params={"word": word}, timeout=30)
        function.until_idle()
    logs = dispatcher.ask("GET", f"/api/functions/{function.id}/logs").text
    assert logs.index("first") < logs.index("second")


def test_it_does_not_go_idle_during_a_call(dispatcher: live.Dispatcher) -> None:
    function = Function(
        dispatcher, "import os, time\ndef call_me(s: float): time.sleep(s); return os.getpid()"
    )
    assert function.call(params={"s": 0}) == function.call(params={"s": 0.5})


@pytest.mark.parametrize("query", ["keep_alive=60", "keep_alive=0"])
def test_keep_alive_is_the_functions_own(dispatcher: live.Dispatcher, query: str) -> None:
    id_ = dispatcher.gen(WHO, f"?activation=on-demand&{query}")
    host, port = dispatcher.meta(id_)
    url = f"http://{host}:{port}/"
    first = requests.get(url, timeout=30).json()["result"]
    if query == "keep_alive=0":
        live.until(lambda: requests.get(url, timeout=30).json()["result"] != first)
    else:
        time.sleep(1.2)  # longer than a function that was never called stays awake
        assert requests.get(url, timeout=30).json()["result"] == first


def test_settings_are_the_defaults_of_activation_and_keep_alive(
    start_dispatcher: Callable[..., live.Dispatcher],
) -> None:
    dispatcher = start_dispatcher(FOB_ACTIVATION="on-demand", FOB_KEEP_ALIVE="7")
    id_ = dispatcher.gen(WHO)
    settings = dispatcher.ask("GET", f"/api/functions/{id_}").json()["settings"]
    assert (settings["activation"], settings["keep_alive"]) == ("on-demand", 7)
    other = dispatcher.gen(WHO, "?activation=always")
    settings = dispatcher.ask("GET", f"/api/functions/{other}").json()["settings"]
    assert settings["activation"] == "always"


def test_it_can_be_changed_to_run_always(function: Function) -> None:
    function.until_idle()
    before = function.tasks()
    function.dispatcher.ask("PATCH", f"/api/functions/{function.id}", json={"activation": "always"})
    live.until(lambda: not before & function.tasks(), "the end of the one on demand")
    live.until(lambda: function.instance()["ready"])
    host, port = function.dispatcher.meta(function.id)
    first = requests.get(f"http://{host}:{port}/", timeout=30).json()["result"]
    time.sleep(0.5)
    assert requests.get(f"http://{host}:{port}/", timeout=30).json()["result"] == first


# no call is lost


@on_both_launchers
def test_no_call_is_lost_while_it_goes_idle(dispatcher: live.Dispatcher, launcher: str) -> None:
    function = Function(dispatcher, WHO, keep_alive=0.05)
    failures: list[str] = []
    pids: set[int] = set()
    calls = 30 if launcher == "process" else 60

    def caller(number: int) -> None:
        chance = random.Random(number)
        session = requests.Session() if number % 2 else requests
        url = function.url if number % 4 < 2 else function.through
        for _ in range(calls):
            try:
                response = session.post(url, timeout=60)
                assert response.status_code == 200, response.text
                pids.add(response.json()["result"])
            except (OSError, AssertionError) as error:
                failures.append(f"{number}: {error!r}")
            time.sleep(chance.uniform(0.03, 0.3))
        if number % 2:
            session.close()

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(pids) > 8


def test_a_connection_outlives_the_process_that_accepted_it(function: Function) -> None:
    with connected(function) as connection, connected(function) as silent:
        connection.send(REQUEST)
        first = connection.response()
        function.until_idle()
        connection.send(REQUEST)
        assert connection.response() != first
        function.until_idle()
        silent.send(REQUEST)
        assert silent.response() != first


def test_a_connection_that_is_closed_starts_nothing(function: Function) -> None:
    with connected(function) as connection:
        connection.send(REQUEST)
        connection.response()
        function.until_idle()
        before = function.marks().count("called")
    function.call()
    assert function.marks().count("called") == before + 1


def test_a_half_sent_request_keeps_it_awake(function: Function) -> None:
    first = function.call()
    with connected(function) as connection:
        connection.send(REQUEST[:20])
        time.sleep(0.6)
        connection.send(REQUEST[20:])
        assert int(connection.response().split()[-1].rstrip(b"}")) == first


# without room


def test_when_idle_it_takes_no_share_and_without_room_its_caller_waits(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    dispatcher = start_dispatcher(FOB_MEM="100")
    go = tmp_path / "go"
    busy = Function(
        dispatcher,
        f"import os, time\ndef call_me(wait: bool = True):\n"
        f"    while wait and not os.path.exists({str(go)!r}): time.sleep(0.01)\n"
        f"    return os.getpid()",
    )
    busy.until_idle()
    other = Function(dispatcher, WHO)
    other.until_idle()
    results: list[Any] = []
    first = threading.Thread(target=lambda: results.append(busy.call()))
    second = threading.Thread(target=lambda: results.append(other.call()))
    first.start()
    live.until(busy.awake)
    second.start()
    live.until(lambda: "and waits: needs 64 MiB" in dispatcher.engine_log)
    assert not other.awake()
    go.touch()
    for thread in (first, second):
        thread.join()
    assert len(results) == 2


# failures


@on_both_launchers
def test_a_killed_task_is_replaced_on_the_same_port(function: Function) -> None:
    task = function.instance()["task"]
    pid = function.call()
    os.kill(pid, signal.SIGKILL)
    live.until(lambda: function.details()["failures"])
    assert function.call() != pid  # not refused, although it is not running again yet
    (failure,) = function.details()["failures"]
    assert failure["task"] == task
    assert failure["task_state"] == "TASK_FAILED"
    assert "killed by SIGKILL" in failure["message"]
    assert function.dispatcher.meta(function.id) == (function.host, function.port)


def test_a_function_that_can_no_longer_be_imported_fails_permanently(
    dispatcher: live.Dispatcher, tmp_path: Path
) -> None:
    needed = tmp_path / "needed"
    needed.touch()
    function = Function(dispatcher, f"open({str(needed)!r})\ndef call_me(): return 1")
    function.until_idle()
    needed.unlink()
    response = requests.get(function.through, timeout=60)
    assert response.status_code in (502, 503)
    live.until(lambda: function.details()["state"] == "failed")
    details = function.details()
    assert "FileNotFoundError" in details["last_failure"]["message"]
    assert details["next_retry_seconds"] is None
    with pytest.raises(requests.ConnectionError):
        requests.get(function.url, timeout=30)
    response = requests.get(function.through, timeout=60)
    assert response.status_code == 503
    assert "exited with status 3" in response.json()["error"]["message"]
    needed.touch()
    dispatcher.ask("PATCH", f"/api/functions/{function.id}", json={"name": "again"})
    assert live.until(lambda: function.details()["state"] == "running")
    function.host, function.port = dispatcher.meta(function.id)
    assert function.call() == 1


def test_a_function_that_crashes_at_every_start_backs_off(
    dispatcher: live.Dispatcher, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    starts = tmp_path / "starts"
    function = Function(
        dispatcher,
        f"import os\nopen({str(starts)!r}, 'a').write('.')\n"
        f"if os.path.exists({str(bad)!r}): os._exit(9)\ndef call_me(): return 1",
    )
    function.until_idle()
    bad.touch()
    before = len(starts.read_text())
    callers = [socket.create_connection((function.host, function.port)) for _ in range(50)]
    live.until(lambda: len(function.details()["failures"]) >= 2)
    assert len(starts.read_text()) - before <= 4
    assert function.details()["next_retry_seconds"] is not None
    bad.unlink()
    for caller in callers:
        caller.close()
    assert function.call() == 1  # it waits for the next start


# restarts of the engine


def kill_engine(dispatcher: live.Dispatcher) -> None:
    """Kill the engine; wait until the dispatcher has started another."""
    pid = dispatcher.engine_pid
    os.kill(pid, signal.SIGKILL)
    live.until(lambda: dispatcher.engine_pid != pid, "another engine")


@on_both_launchers
def test_an_idle_function_survives_the_death_of_the_engine(function: Function) -> None:
    function.until_idle()
    before = function.instance()
    kill_engine(function.dispatcher)
    live.until(lambda: function.details()["instances"])
    assert function.instance() == before
    assert not function.awake()
    function.call()
    assert function.instance()["task"] == before["task"]


@on_both_launchers
def test_an_awake_function_outlives_the_engine_and_stays_awake_without_one(
    start_dispatcher: Callable[..., live.Dispatcher], launcher: str
) -> None:
    dispatcher = start_dispatcher()
    function = Function(dispatcher, WHO)
    first = function.call()
    engine = dispatcher.engine_pid
    dispatcher.kill()  # it would start another engine at once
    os.kill(engine, signal.SIGKILL)
    time.sleep(0.5)  # with an engine to take its socket it would have gone idle
    assert function.call() == first
    function.dispatcher = start_dispatcher()
    live.until(lambda: function.details()["instances"])
    function.until_idle()
    assert function.call() != first


@on_both_launchers
def test_an_awake_function_is_adopted_and_hands_its_socket_to_the_next_engine(
    dispatcher: live.Dispatcher,
) -> None:
    function = Function(dispatcher, WHO)
    first = function.call()
    before = function.instance()
    kill_engine(dispatcher)
    live.until(lambda: function.details()["instances"])
    function.until_idle()
    assert function.instance()["task"] == before["task"]
    assert function.call() != first
    assert function.instance()["port"] == function.port


@on_both_launchers
def test_after_a_stop_all_come_back_idle(
    start_dispatcher: Callable[..., live.Dispatcher], launcher: str
) -> None:
    dispatcher = start_dispatcher()
    idle, awake = Function(dispatcher, WHO), Function(dispatcher, WHO)
    idle.until_idle()
    before = idle.instance()["task"], awake.instance()["task"]
    awake.call()
    assert dispatcher.stop() == 0
    again = start_dispatcher()
    for function in (idle, awake):
        function.dispatcher = again
        live.until(lambda function=function: function.details()["instances"])
        assert function.details()["state"] == "running"
        assert not function.awake()
    assert (idle.instance()["task"], awake.instance()["task"]) == before
    assert idle.call() != awake.call()


# other changes


def test_an_idle_function_can_be_removed(function: Function) -> None:
    function.until_idle()
    until_spares_wait(function.dispatcher)
    before = live.descriptors_of(function.dispatcher.engine_pid)
    function.dispatcher.ask("DELETE", f"/api/functions/{function.id}")
    live.until(lambda: not function.folder.exists())
    with pytest.raises(requests.ConnectionError):
        requests.get(function.url, timeout=30)
    live.until(lambda: live.descriptors_of(function.dispatcher.engine_pid) < before)


def test_an_idle_function_can_be_scaled(function: Function) -> None:
    function.until_idle()
    path = f"/api/functions/{function.id}"
    function.dispatcher.ask("PATCH", path, json={"instances": 3})
    live.until(lambda: function.details()["instances_ready"] == 3)
    live.until(lambda: not function.awake())
    ports = {instance["port"] for instance in function.details()["instances"]}
    assert len(ports) == 3
    pids = {function.call(f"http://{function.host}:{port}/") for port in ports}
    assert len(pids) == 3
    function.dispatcher.ask("PATCH", path, json={"instances": 0})
    live.until(lambda: not function.details()["instances"])
    with pytest.raises(requests.ConnectionError):
        requests.get(function.url, timeout=30)


def test_an_idle_function_can_be_restarted(function: Function) -> None:
    function.until_idle()
    task = function.instance()["task"]
    function.dispatcher.ask("PATCH", f"/api/functions/{function.id}", json={"timeout": 9})
    # not while both exist: the old one's socket is closed with the connections in its queue
    live.until(lambda: task not in (tasks := function.tasks()) and tasks, "its replacement")
    function.host, function.port = function.dispatcher.meta(function.id)
    function.call()


def test_hundreds_of_idle_functions_are_one_descriptor_each(
    dispatcher: live.Dispatcher,
) -> None:
    Function(dispatcher, WHO).until_idle()
    until_spares_wait(dispatcher)
    before = live.descriptors_of(dispatcher.engine_pid)
    ids = [dispatcher.gen(WHO, "?activation=on-demand&keep_alive=0.1") for _ in range(200)]
    tasks = dispatcher.home / "engine" / "tasks"
    live.until(lambda: not live.processes_of(tasks), "the end of their processes")
    # the engine closes pipes and pidfd of a process shortly after its end
    idle = before + len(ids)
    live.until(lambda: live.descriptors_of(dispatcher.engine_pid) == idle, "one for each")
    for id_ in ids[::20]:
        assert dispatcher.call(id_).status_code == 200
    for id_ in ids:
        dispatcher.ask("DELETE", f"/api/functions/{id_}")
    live.until(lambda: live.descriptors_of(dispatcher.engine_pid) <= before)
    live.until(lambda: len(list(tasks.iterdir())) == 1)
