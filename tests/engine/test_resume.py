"""Deployments in progress when an engine ends are resumed by the next engine."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from serving import EventReader, Pages, become, check

import live

FOREVER = "exec sleep 1000"
Start = Callable[..., live.Engine]
End = Callable[[live.Engine], object]

whether_killed_or_stopped = pytest.mark.parametrize(
    "end", [live.Engine.kill, live.Engine.stop], ids=["killed", "stopped"]
)


def app(id_: str, cmd: str = FOREVER, **more: Any) -> dict[str, Any]:
    return {"id": id_, "cmd": cmd, "cpus": 0.01, "mem": 16, **more}


def have(engine: live.Engine, group: dict[str, Any]) -> str:
    """The deployment's id."""
    response = engine.ask("PUT", "/v2/groups", json=group)
    assert response.status_code == 200, response.text
    return str(response.json()["deploymentId"])


def settle(engine: live.Engine) -> None:
    live.until(lambda: not engine.get("/v2/deployments"), "the end of deployments")


def in_progress(engine: live.Engine) -> list[tuple[str, int]]:
    """The id and the number of the current step of each deployment."""
    return [(each["id"], each["currentStep"]) for each in engine.get("/v2/deployments")]


def ends(engine: live.Engine, deployment: str, change: Callable[[], object]) -> str:
    """Call `change`; return the event with which the deployment ends."""
    with EventReader(engine, "deployment_success", "deployment_failed") as events:
        change()
        return str(events.next(lambda event: event["id"] == deployment)["eventType"])


def stored_in(home: Path) -> dict[str, int]:
    """The number of rows in each table for deployments."""
    names = ("deployments", "replaced", "pieces")
    db = sqlite3.connect(home / "engine" / "engine.db")
    try:
        return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}
    finally:
        db.close()


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    (tmp_path / "old").mkdir()
    return Pages(tmp_path / "old")


@pytest.fixture
def newer(tmp_path: Path) -> Pages:
    (tmp_path / "new").mkdir()
    return Pages(tmp_path / "new", status=500)


def chain(first: Pages) -> dict[str, Any]:
    """Apps that each depend on the previous one; the first is healthy when its pages are."""
    apps = [
        app("first", first.cmd, healthChecks=[check()]),
        app("second", dependencies=["first"]),
        app("third", dependencies=["second"]),
    ]
    return {"id": "/g", "apps": apps}


@whether_killed_or_stopped
def test_later_steps_wait_for_earlier_ones(start_engine: Start, newer: Pages, end: End) -> None:
    engine = start_engine()
    deployment = have(engine, chain(newer))
    newer.wait_for_responses(500)
    end(engine)
    again = start_engine()
    newer.wait_for_responses(500)
    (resumed,) = again.get("/v2/deployments")
    assert (resumed["id"], resumed["currentStep"], resumed["totalSteps"]) == (deployment, 1, 3)
    assert [action["app"] for action in resumed["currentActions"]] == ["/g/first"]
    assert {task["appId"] for task in again.get("/v2/tasks")["tasks"]} == {"/g/first"}
    assert ends(again, deployment, lambda: newer.respond_with(200)) == "deployment_success"
    names = ("first", "second", "third")
    started = [again.running(f"/g/{name}")[0]["stagedAt"] for name in names]
    assert started == sorted(started)


def test_finished_steps_are_not_repeated(start_engine: Start, newer: Pages) -> None:
    engine = start_engine()
    first = app("first", labels={"here": "already"})
    second = app("second", newer.cmd, healthChecks=[check()], dependencies=["first"])
    third = app("third", dependencies=["second"])
    deployment = have(engine, {"id": "/g", "apps": [first, second, third]})
    newer.wait_for_responses(500)
    before = engine.running("/g/first")
    engine.kill()
    again = start_engine()
    assert in_progress(again) == [(deployment, 2)]
    assert again.running("/g/first") == before
    assert ends(again, deployment, lambda: newer.respond_with(200)) == "deployment_success"
    again.running("/g/third")


@whether_killed_or_stopped
def test_its_apps_are_locked_until_it_ends(start_engine: Start, newer: Pages, end: End) -> None:
    engine = start_engine()
    deployment = have(engine, chain(newer))
    end(engine)
    again = start_engine()
    locked = again.ask("PUT", "/v2/apps//g/third", json={"instances": 2})
    assert (locked.status_code, locked.json()["deployments"]) == (409, [{"id": deployment}])
    assert again.app("/g/third")["deployments"] == [{"id": deployment}]
    assert again.ask("PUT", "/v2/apps//g/third?force=true", json={"instances": 2}).ok
    again.running("/g/second")
    again.running("/g/third", 2)


def test_an_upgrade_continues_by_its_strategy(
    start_engine: Start, pages: Pages, newer: Pages
) -> None:
    engine = start_engine()
    strategy = {"minimumHealthCapacity": 1, "maximumOverCapacity": 0.5}
    engine.run("/a", pages.cmd, instances=2, healthChecks=[check()], upgradeStrategy=strategy)
    become(engine, 2, 0)
    settle(engine)
    before = {task["id"]: task["ports"] for task in engine.running("/a", 2)}
    deployment = engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd}).json()["deploymentId"]
    newer.wait_for_responses(500)
    engine.kill()
    again = start_engine()
    newer.wait_for_responses(500, 2)
    assert in_progress(again) == [(deployment, 1)]
    tasks = {task["id"]: task["ports"] for task in again.running("/a", 3)}
    assert before.items() <= tasks.items()
    for (port,) in before.values():
        assert requests.get(f"http://127.0.0.1:{port}/", timeout=10).status_code == 200
    assert ends(again, deployment, lambda: newer.respond_with(200)) == "deployment_success"
    after = {task["id"] for task in again.running("/a", 2)}
    assert after.isdisjoint(before)
    assert len(after & tasks.keys()) == 1  # the new one that the engine adopted


def test_after_a_stop_in_an_upgrade_only_the_new_version_starts(
    start_engine: Start, pages: Pages, newer: Pages
) -> None:
    engine = start_engine()
    engine.run("/a", pages.cmd, healthChecks=[check()])
    become(engine, 1, 0)
    settle(engine)
    deployment = engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd}).json()["deploymentId"]
    newer.wait_for_responses(500)
    assert engine.stop() == 0
    again = start_engine()
    newer.wait_for_responses(500)
    assert in_progress(again) == [(deployment, 1)]
    assert ends(again, deployment, lambda: newer.respond_with(200)) == "deployment_success"
    become(again, 1, 0)


def test_the_readiness_of_new_tasks_is_checked_again(
    start_engine: Start, pages: Pages, newer: Pages
) -> None:
    engine = start_engine()
    engine.run("/a", pages.cmd)
    (before,) = engine.running("/a")
    settle(engine)
    ready = {"path": "/ready", "intervalSeconds": 5, "timeoutSeconds": 4}
    ports = [{"port": 0, "name": "http-api"}]
    change = {"cmd": newer.cmd, "readinessChecks": [ready], "portDefinitions": ports}
    deployment = engine.ask("PUT", "/v2/apps//a", json=change).json()["deploymentId"]
    newer.wait_for_responses(500)
    engine.kill()
    again = start_engine()
    newer.wait_for_responses(500)
    assert in_progress(again) == [(deployment, 1)]
    assert before["id"] in {task["id"] for task in again.running("/a", 2)}
    assert ends(again, deployment, lambda: newer.respond_with(200)) == "deployment_success"
    assert again.running("/a")[0]["id"] != before["id"]


@whether_killed_or_stopped
def test_it_can_be_rolled_back(start_engine: Start, newer: Pages, end: End) -> None:
    engine = start_engine()
    long = "x" * 20_000
    gone = app("gone", env={"LONG": long})
    have(engine, {"id": "/g", "apps": [app("kept", mem=17), gone], "dependencies": ["/x"]})
    settle(engine)
    stuck = app("stuck", newer.cmd, healthChecks=[check()])
    groups = [{"id": "new", "apps": [stuck]}]
    change = {"id": "/g", "apps": [app("kept", mem=18)], "groups": groups, "dependencies": []}
    deployment = have(engine, change)
    newer.wait_for_responses(500)
    end(engine)
    again = start_engine()
    assert [id_ for id_, _ in in_progress(again)] == [deployment]

    def roll_back() -> None:
        assert again.ask("DELETE", f"/v2/deployments/{deployment}").status_code == 200

    assert ends(again, deployment, roll_back) == "deployment_failed"
    settle(again)
    group = again.get("/v2/groups//g")
    assert {each["id"] for each in group["apps"]} == {"/g/gone", "/g/kept"}
    assert (group["groups"], group["dependencies"]) == ([], ["/x"])
    assert again.app("/g/kept")["mem"] == 17
    assert again.app("/g/gone")["env"] == {"LONG": long}
    again.running("/g/gone")


def test_a_removal_continues_until_the_last_task_has_ended(start_engine: Start) -> None:
    engine = start_engine()
    deaf = "trap '' TERM; while true; do sleep 0.1; done"
    engine.run("/a", deaf, taskKillGracePeriodSeconds=60)
    engine.running("/a")
    deployment = engine.ask("DELETE", "/v2/apps//a").json()["deploymentId"]
    assert in_progress(engine) == [(deployment, 1)]
    engine.kill()
    again = start_engine()
    settle(again)
    live.until(lambda: not list((again.home / "engine" / "tasks").iterdir()), "its folder's end")
    assert stored_in(again.home)["deployments"] == 0


def test_a_removal_ends_if_its_tasks_ended_without_an_engine(
    start_engine: Start, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    waits = f"trap 'while [ ! -e {go} ]; do sleep 0.05; done; exit' TERM"
    engine = start_engine()
    engine.run("/a", f"{waits}; while true; do sleep 0.05; done", taskKillGracePeriodSeconds=60)
    engine.running("/a")
    engine.ask("DELETE", "/v2/apps//a")
    engine.kill()
    go.touch()
    live.until(lambda: not live.processes_of(engine.home), "the end of its task")
    assert in_progress(start_engine()) == []


def test_nothing_is_stored_of_a_deployment_that_has_ended(engine: live.Engine) -> None:
    none = {"deployments": 0, "replaced": 0, "pieces": 0}
    assert stored_in(engine.home) == none
    have(engine, {"id": "/g", "apps": [app("a", env={"LONG": "x" * 20_000}), app("b")]})
    have_again = {"id": "/g", "apps": [app("b", mem=17)]}
    settle(engine)
    have(engine, have_again)
    settle(engine)
    assert stored_in(engine.home) == none
    have(engine, {"id": "/g", "apps": [app("b", cpus=10_000)]})
    assert stored_in(engine.home)["deployments"] == 1
    assert engine.ask("PUT", "/v2/apps//g/b?force=true", json={"cpus": 0.01}).ok
    settle(engine)
    assert stored_in(engine.home) == none


# one new app


@whether_killed_or_stopped
def test_the_creation_of_an_app_is_resumed_though_not_stored(start_engine: Start, end: End) -> None:
    engine = start_engine()
    created = engine.run("/a", FOREVER, cpus=10_000)["deployments"][0]["id"]
    assert stored_in(engine.home)["deployments"] == 0
    end(engine)
    again = start_engine()
    assert in_progress(again) == [(created, 1)]
    assert again.ask("DELETE", f"/v2/deployments/{created}").status_code == 200
    settle(again)
    assert again.get("/v2/apps")["apps"] == []


@whether_killed_or_stopped
def test_an_app_that_has_run_is_not_deployed_again(start_engine: Start, end: End) -> None:
    engine = start_engine()
    created = engine.run("/a", FOREVER)["deployments"][0]["id"]
    engine.running("/a")
    settle(engine)
    end(engine)
    again = start_engine()
    with EventReader(again) as events:
        again.running("/a")
        again.ask("DELETE", "/v2/apps//a")
        event = events.next(lambda event: event["eventType"] == "deployment_info")
    assert event["plan"]["id"] != created


MARKS = """
import os, sys, time
if not os.path.exists(sys.argv[1]):
    sys.exit(1)
os.write(int(os.environ["FOB_NOTIFY_FD"]), b"1 2016-04-02T02:41:44.123Z listening\\n")
time.sleep(1000)
"""


def test_a_creation_with_a_failed_task_is_resumed(start_engine: Start, tmp_path: Path) -> None:
    go = tmp_path / "go"
    starts = {"cmd": f'exec python3 -c "$MARKS" {go}', "env": {"MARKS": MARKS}}
    activated = starts | {"labels": {"FOB_ACTIVATION": "always"}, "backoffSeconds": 0.1}
    engine = start_engine()
    created = engine.run("/a", **activated)["deployments"][0]["id"]
    live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    engine.kill()
    again = start_engine()
    assert in_progress(again) == [(created, 1)]
    assert ends(again, created, go.touch) == "deployment_success"
    assert stored_in(again.home)["deployments"] == 0


def test_an_app_that_crashes_later_is_not_deployed_again(start_engine: Start) -> None:
    engine = start_engine()
    engine.run("/a", "sleep 0.1; exit 1", backoffSeconds=60)
    live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    engine.kill()
    assert in_progress(start_engine()) == []


def test_a_permanently_failed_app_does_not_block_a_resumed_deployment(start_engine: Start) -> None:
    """The engine was killed after it had stored the failure, before it ended the deployment."""
    engine = start_engine()
    engine.run("/a", "exit 3", labels={"FOB_ACTIVATION": "always"})
    live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    settle(engine)
    version = engine.app("/a")["version"]
    engine.kill()
    plan = {"version": version, "steps": [[{"action": "StartApplication", "app": "/a"}]]}
    plan |= {"after": ["/a"], "groups_before": {}, "groups_after": {}}
    db = sqlite3.connect(engine.home / "engine" / "engine.db")
    with db:
        row = ("d", 0, json.dumps(plan))
        db.execute("INSERT INTO deployments (id, step, plan) VALUES (?, ?, ?)", row)
    db.close()
    settle(start_engine())


def test_a_reader_that_reconnects_gets_the_events_of_the_next_engine(start_engine: Start) -> None:
    engine = start_engine()
    engine.run("/a", FOREVER)
    engine.running("/a")
    last = last_event(engine)
    engine.stop()
    again = start_engine()
    (task,) = again.running("/a")
    with EventReader(again, "status_update_event", after=last) as events:
        event = events.next(lambda event: event["taskStatus"] == "TASK_RUNNING")
    assert event["taskId"] == task["id"]


def last_event(engine: live.Engine) -> str:
    """The id of the newest event, which this very connection causes."""
    headers = {"Accept": "text/event-stream"}
    with engine.ask("GET", "/v2/events", headers=headers, stream=True) as stream:
        return next(line for line in stream.iter_lines() if line.startswith(b"id: "))[4:].decode()
