"""Tasks of apps: starts, failures, scaling, recovery. Observed through the API and the machine."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from launching import PROGRAM, packed

import live
from fob.contract import COMMAND
from fob.engine.states import TaskState
from fob.engine.store.records import Store

ACTIVATED = {"FOB_ACTIVATION": "always"}
# takes its socket from the engine and marks when it is ready, as the runner does
SERVE = """
import os, socket, time
listener = socket.socket(fileno=int(os.environ["FOB_LISTEN_FD"]))
mark = b"%d 2016-04-02T00:00:00.000Z listening\\n" % time.monotonic_ns()
os.write(int(os.environ["FOB_NOTIFY_FD"]), mark)
while True:
    client = listener.accept()[0]
    client.recv(999)
    client.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n%d" % os.getpid())
    client.close()
"""
on_both_launchers = pytest.mark.parametrize("launcher", live.LAUNCHERS)


def python(given: str) -> dict[str, Any]:
    """The fields of an app that runs these lines of Python and can be forked."""
    env = {"FOB_FUNCTION": packed(PROGRAM, given)}
    return {"cmd": COMMAND, "env": env, "labels": ACTIVATED}


@pytest.fixture
def warm_engine(engine: live.Engine, launcher: str) -> live.Engine:
    """An engine without apps that already has its zygote, if the launcher has one."""
    if launcher == "zygote":
        engine.run("/first", **python("import time; time.sleep(1000)"))
        live.until(lambda: any("zygote is ready" in line for line in engine.log))
        engine.ask("DELETE", "/v2/apps//first?force=true")
        live.until(lambda: not engine.get("/v2/deployments"), "its end")
    return engine


@pytest.mark.parametrize("launcher", ["zygote"])
def test_the_label_of_an_app_decides_whether_it_is_forked(warm_engine: live.Engine) -> None:
    given = "import gc, time\nprint(gc.get_freeze_count() > 0, flush=True)\ntime.sleep(1000)"
    for name, forked in (("zygote", "True\n"), ("process", "False\n")):
        app = python(given)
        app["labels"] = {"FOB_LAUNCHER": name}
        warm_engine.run(f"/{name}", **app)
        task = warm_engine.app(f"/{name}")["tasks"][0]["id"]
        folder = warm_engine.home / "engine" / "tasks" / name / task.rpartition(".")[2]
        assert live.until(partial(text_of, folder / "stdout")) == forked


def text_of(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def test_a_task_gets_its_port_and_serves(engine: live.Engine) -> None:
    engine.run("/a", "exec python3 -m http.server --bind $HOST $PORT0")
    task = engine.running("/a")[0]
    url = f"http://{task['host']}:{task['ports'][0]}/"

    def responds() -> bool:
        try:
            return requests.get(url, timeout=5).ok
        except requests.ConnectionError:
            return False

    live.until(responds)


@on_both_launchers
def test_an_activated_task_can_be_called_as_soon_as_it_is_placed(warm_engine: live.Engine) -> None:
    warm_engine.run("/a", **python(SERVE))
    port = warm_engine.app("/a")["tasks"][0]["ports"][0]
    pid = int(requests.get(f"http://127.0.0.1:{port}/", timeout=10).text)
    assert os.path.exists(f"/proc/{pid}")


def test_an_activated_task_is_running_only_after_its_mark(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000", labels=ACTIVATED)
    app = engine.app("/a")
    assert (app["tasksStaged"], app["tasksRunning"]) == (1, 0)
    assert app["tasks"][0]["state"] == "TASK_STARTING"
    assert app["tasks"][0]["startedAt"] is None
    assert [d["affectedApps"] for d in engine.get("/v2/deployments")] == [["/a"]]


@on_both_launchers
def test_a_ready_task_with_health_checks_is_healthy(warm_engine: live.Engine) -> None:
    checks = [{"protocol": "TCP", "portIndex": 0, "gracePeriodSeconds": 30}]
    warm_engine.run("/a", **python(SERVE), healthChecks=checks)
    task = warm_engine.running("/a")[0]
    assert [result["alive"] for result in task["healthCheckResults"]] == [True]
    assert warm_engine.app("/a")["tasksHealthy"] == 1


def failure_of(engine: live.Engine, app_id: str = "/a") -> Any:
    return live.until(lambda: engine.app(app_id).get("lastTaskFailure"), "a failure")


def test_a_failure_has_the_exit_status_and_the_end_of_standard_error(engine: live.Engine) -> None:
    engine.run("/a", "echo all is lost >&2; exit 7")
    failure = failure_of(engine)
    assert failure["state"] == "TASK_FAILED"
    assert failure["message"] == "Command exited with status 7\nall is lost"


def test_a_signal_is_named(engine: live.Engine) -> None:
    engine.run("/a", "kill -SEGV $$")
    assert failure_of(engine)["message"] == "Command was killed by SIGSEGV"


def test_crash_loops_back_off_and_the_delay_is_visible(engine: live.Engine) -> None:
    engine.run("/a", "exit 1", backoffSeconds=30)
    failure_of(engine)
    item = live.until(lambda: engine.get("/v2/queue")["queue"])[0]
    assert 25 <= item["delay"]["timeLeftSeconds"] <= 30
    assert not item["delay"]["overdue"]
    assert engine.app("/a")["tasks"] == []


def test_a_backoff_can_be_skipped(engine: live.Engine) -> None:
    engine.run("/a", "exit 1", backoffSeconds=300)
    first = failure_of(engine)["taskId"]
    live.until(lambda: engine.get("/v2/queue")["queue"])
    assert engine.ask("DELETE", "/v2/queue//a/delay").status_code == 204
    live.until(lambda: failure_of(engine)["taskId"] != first, "a retry")


def test_a_failed_task_is_retried(engine: live.Engine, tmp_path: Path) -> None:
    flag = tmp_path / "second"
    engine.run("/a", f"[ -e {flag} ] && exec sleep 1000; touch {flag}; exit 1", backoffSeconds=0.1)
    engine.running("/a")


@on_both_launchers
def test_a_permanent_failure_is_not_retried(warm_engine: live.Engine) -> None:
    given = "import sys; print('Traceback', file=sys.stderr); sys.exit(3)"
    warm_engine.run("/a", **python(given), backoffSeconds=0)
    failure = failure_of(warm_engine)
    assert failure["message"] == "Command exited with status 3\nTraceback"
    assert warm_engine.get("/v2/queue")["queue"] == []
    assert warm_engine.get("/v2/deployments") == []
    assert warm_engine.app("/a")["tasks"] == []
    # until the app is changed
    warm_engine.ask("PUT", "/v2/apps//a", json=python(SERVE))
    warm_engine.running("/a")


def test_status_3_of_other_apps_is_an_ordinary_failure(engine: live.Engine) -> None:
    engine.run("/a", "exit 3", backoffSeconds=0.05)
    first = failure_of(engine)["taskId"]
    live.until(lambda: failure_of(engine)["taskId"] != first, "a retry")


def test_a_start_that_takes_too_long_is_a_permanent_failure(engine: live.Engine) -> None:
    checks = [{"protocol": "TCP", "portIndex": 0, "gracePeriodSeconds": 1}]
    engine.run("/a", "exec sleep 1000", labels=ACTIVATED, healthChecks=checks)
    failure = failure_of(engine)
    assert "did not become ready within 1 seconds" in failure["message"]
    assert failure["state"] == "TASK_FAILED"
    assert engine.app("/a")["tasks"] == []
    assert engine.get("/v2/queue")["queue"] == []


def test_a_task_that_ignores_sigterm_is_killed_after_its_grace_period(
    engine: live.Engine, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    engine.run(
        "/a",
        f"trap '' TERM; touch {ready}; while true; do sleep 0.1; done",
        taskKillGracePeriodSeconds=0.3,
    )
    live.until(ready.exists)
    engine.ask("DELETE", "/v2/apps//a")
    live.until(lambda: not engine.get("/v2/deployments"), "its end")
    assert engine.get("/v2/tasks")["tasks"] == []


def test_a_task_can_clean_up_on_sigterm(engine: live.Engine, tmp_path: Path) -> None:
    said = tmp_path / "said"
    ready = tmp_path / "ready"
    engine.run(
        "/a",
        f"trap 'echo bye > {said}; exit 0' TERM; touch {ready}; while true; do sleep 0.05; done",
    )
    live.until(ready.exists)
    engine.ask("DELETE", "/v2/apps//a")
    live.until(lambda: said.exists() and said.read_text() == "bye\n")


def test_scaling_down_stops_the_youngest_tasks(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    first = engine.running("/a")[0]["id"]
    engine.ask("PUT", "/v2/apps//a", json={"instances": 3})
    assert first in [task["id"] for task in engine.running("/a", 3)]
    engine.ask("PUT", "/v2/apps//a", json={"instances": 1})
    assert [task["id"] for task in engine.running("/a")] == [first]
    engine.ask("PUT", "/v2/apps//a", json={"instances": 0})
    engine.running("/a", 0)


def test_a_changed_configuration_replaces_the_tasks(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    old = engine.running("/a")[0]
    engine.ask("PUT", "/v2/apps//a", json={"env": {"A": "1"}})
    live.until(lambda: old["id"] not in [t["id"] for t in engine.running("/a")])


def test_a_killed_task_is_replaced(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000")
    old = engine.running("/a")[0]["id"]
    engine.ask("DELETE", f"/v2/apps//a/tasks/{old}")
    live.until(lambda: old not in [t["id"] for t in engine.running("/a")])


def test_killing_with_scale_does_not_replace(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000", instances=2)
    one = engine.running("/a", 2)[0]["id"]
    engine.ask("POST", "/v2/tasks/delete?scale=true", json={"ids": [one]})
    assert one not in [task["id"] for task in engine.running("/a", 1)]
    assert engine.app("/a")["instances"] == 1


def declined(item: Any) -> list[Any]:
    """The reasons for which the offer of the machine was declined."""
    entries = item["processedOffersSummary"]["rejectSummaryLastOffers"]
    return [entry for entry in entries if entry["declined"]]


def test_an_app_without_room_waits_with_a_reason_and_starts_when_there_is_room(
    start_engine: Callable[..., live.Engine],
) -> None:
    engine = start_engine(FOB_CPUS="1", FOB_MEM="1000")
    engine.run("/first", "exec sleep 1000", cpus=0.8)
    engine.run("/second", "exec sleep 1000", cpus=0.5)
    (item,) = engine.get("/v2/queue")["queue"]
    (rejected,) = declined(item)
    assert (item["app"]["id"], rejected["reason"]) == ("/second", "InsufficientCpus")
    offered = {r["name"]: r["scalar"] for r in item["lastUnusedOffers"][0]["offer"]["resources"]}
    assert offered["cpus"] < 0.5
    assert item["delay"]["overdue"]
    engine.ask("DELETE", "/v2/apps//first?force=true")
    engine.running("/second")
    assert engine.get("/v2/queue")["queue"] == []


def test_unique_hosts_leave_all_but_one_instance_waiting(engine: live.Engine) -> None:
    engine.run("/a", "exec sleep 1000", instances=3, constraints=[["hostname", "UNIQUE"]])
    (item,) = engine.get("/v2/queue")["queue"]
    assert item["count"] == 2
    (rejected,) = declined(item)
    assert rejected["reason"] == "UnfulfilledConstraint"


def test_removing_an_app_leaves_no_file(engine: live.Engine) -> None:
    engine.run("/a", "echo hi; exec sleep 1000")
    engine.running("/a")
    tasks = engine.home / "engine" / "tasks"
    assert list(tasks.iterdir())
    engine.ask("DELETE", "/v2/apps//a")
    live.until(lambda: not list(tasks.iterdir()), "its folder's end")


def test_only_the_last_ended_tasks_keep_their_folders(engine: live.Engine) -> None:
    engine.run("/a", "echo hi; exit 1", backoffSeconds=0, backoffFactor=1)
    seen: set[str] = set()

    def enough() -> bool:
        seen.add(failure_of(engine)["taskId"])
        return len(seen) > 6

    live.until(enough, "seven failures")
    engine.ask("PUT", "/v2/apps//a?force=true", json={"instances": 0})
    folder = engine.home / "engine" / "tasks" / "a"
    live.until(lambda: len(list(folder.iterdir())) <= 3)


@on_both_launchers
def test_a_stop_stops_the_tasks_and_a_start_brings_them_back_on_the_same_ports(
    warm_engine: live.Engine, start_engine: Callable[..., live.Engine]
) -> None:
    warm_engine.run("/a", **python(SERVE), instances=2)
    before = warm_engine.running("/a", 2)
    assert warm_engine.stop() == 0
    assert live.processes_of(warm_engine.home) == []
    again = start_engine()
    after = again.running("/a", 2)
    assert {t["ports"][0] for t in before} == {t["ports"][0] for t in after}
    assert not {t["id"] for t in before} & {t["id"] for t in after}
    assert again.url == warm_engine.url
    assert again.token == warm_engine.token


@on_both_launchers
def test_the_next_engine_adopts_the_tasks_of_one_that_was_killed(
    warm_engine: live.Engine, start_engine: Callable[..., live.Engine]
) -> None:
    warm_engine.run("/a", **python(SERVE))
    task = warm_engine.running("/a")[0]
    url = f"http://127.0.0.1:{task['ports'][0]}/"
    pid = requests.get(url, timeout=5).text
    warm_engine.kill()
    assert requests.get(url, timeout=5).text == pid
    again = start_engine()
    assert again.running("/a") == [task]
    assert requests.get(url, timeout=5).text == pid
    # its end is noticed, and it is replaced
    os.kill(int(pid), signal.SIGKILL)
    live.until(lambda: again.running("/a")[0]["id"] != task["id"], "its replacement")


def test_a_task_that_was_starting_when_the_engine_died_is_running(
    start_engine: Callable[..., live.Engine],
) -> None:
    engine = start_engine()
    engine.run("/a", "exec sleep 1000")
    task = engine.running("/a")[0]
    engine.kill()
    with closing(Store(engine.home / "engine")) as store:
        # as if the engine had died before it stored that the task runs
        (record,) = store.tasks()
        store.put_task(replace(record, state=TaskState.STARTING, started_at=None))
    again = start_engine()
    assert again.running("/a")[0]["id"] == task["id"]
    assert again.stop() == 0


@on_both_launchers
def test_a_task_that_ended_while_no_engine_ran_is_started_again(
    warm_engine: live.Engine, start_engine: Callable[..., live.Engine]
) -> None:
    warm_engine.run("/a", **python(SERVE))
    task = warm_engine.running("/a")[0]
    pid = int(requests.get(f"http://127.0.0.1:{task['ports'][0]}/", timeout=5).text)
    warm_engine.kill()
    os.kill(pid, signal.SIGKILL)
    again = start_engine()
    replacement = again.running("/a")[0]
    assert replacement["id"] != task["id"]
    assert replacement["ports"] == task["ports"]


def test_an_app_removed_just_before_the_engine_died_stays_removed(
    start_engine: Callable[..., live.Engine],
) -> None:
    engine = start_engine()
    engine.run("/a", "trap '' TERM; while true; do sleep 0.1; done", taskKillGracePeriodSeconds=60)
    engine.running("/a")
    engine.ask("DELETE", "/v2/apps//a")
    engine.kill()
    again = start_engine()
    assert again.get("/v2/apps")["apps"] == []
    folder = again.home / "engine" / "tasks"
    live.until(lambda: not list(folder.iterdir()), "the end of its task")


def test_output_printed_while_no_engine_ran_is_not_lost(
    start_engine: Callable[..., live.Engine], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    engine = start_engine()
    engine.run("/a", f"while [ ! -e {go} ]; do sleep 0.05; done; echo late; exec sleep 1000")
    task = engine.running("/a")[0]["id"]
    engine.kill()
    go.touch()
    time.sleep(0.3)  # no engine can report that it has printed
    again = start_engine()
    again.running("/a")
    stdout = again.home / "engine" / "tasks" / "a" / task.rpartition(".")[2] / "stdout"
    live.until(lambda: stdout.exists() and stdout.read_text() == "late\n")


def test_a_second_engine_on_the_same_folder_is_refused(engine: live.Engine) -> None:
    try:
        live.Engine(engine.home)
    except AssertionError as error:
        assert "another engine runs with the state folder" in str(error)  # noqa: PT017
    else:
        raise AssertionError("a second engine started")


@on_both_launchers
def test_the_timeline_of_a_task_is_complete(warm_engine: live.Engine) -> None:
    warm_engine.run("/a", **python(SERVE))
    task = warm_engine.running("/a")[0]["id"]
    warm_engine.ask("DELETE", f"/v2/apps//a/tasks/{task}")
    timeline = warm_engine.home / "engine" / "tasks" / "a" / task.rpartition(".")[2] / "timeline"

    def names() -> list[str]:
        return [line.split()[2] for line in timeline.read_text().splitlines()]

    live.until(lambda: "exited" in names())
    assert names() == ["placed", "spawned", "listening", "exited"]
    times = [int(line.split()[0]) for line in timeline.read_text().splitlines()]
    assert times == sorted(times)


def test_nothing_private_of_the_engine_reaches_a_task(
    start_engine: Callable[..., live.Engine], tmp_path: Path
) -> None:
    engine = start_engine(FOB_TOKEN="secret", FOB_MARATHON_PASSWORD="secret")
    out = tmp_path / "out"
    engine.run("/a", f"env > {out}.new; mv {out}.new {out}; ls -l /proc/$$/fd >&2; exec sleep 1000")
    live.until(out.exists)
    assert "secret" not in out.read_text()
    task = engine.running("/a")[0]["id"]
    stderr = engine.home / "engine" / "tasks" / "a" / task.rpartition(".")[2] / "stderr"
    inherited = live.until(lambda: stderr.exists() and "2 ->" in stderr.read_text() and stderr)
    assert "socket:" not in inherited.read_text()
    assert "engine.db" not in inherited.read_text()
