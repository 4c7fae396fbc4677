"""Upgrades: old tasks are replaced as fast as the upgradeStrategy allows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import EventReader, Pages, become, check

import live
from fob.engine.control.rolling import startable, tasks_to_stop
from fob.engine.store.records import AppRecord
from fob.engine.tasks.app import App

FOREVER = "exec sleep 1000"
OLD, NEW = "2020-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z"


class Stub:
    """The part of a task that rolling upgrades use."""

    def __init__(self, version: str, available: bool = True, alive: bool = True) -> None:
        self.record = self
        self.version = version
        self.available = available
        self.alive = alive


def app_of(instances: int, least: float, over: float, tasks: list[Stub], **more: Any) -> App:
    definition = {
        "id": "/a",
        "instances": instances,
        "upgradeStrategy": {"minimumHealthCapacity": least, "maximumOverCapacity": over},
        "versionInfo": {"lastConfigChangeAt": NEW},
    }
    app = App(AppRecord(definition | more, NEW, [], held=False))
    app.tasks = {str(number): task for number, task in enumerate(tasks)}  # type: ignore[misc]
    return app


def old(number: int, **more: Any) -> list[Stub]:
    return [Stub(OLD, **more) for _ in range(number)]


def new(number: int, **more: Any) -> list[Stub]:
    return [Stub(NEW, **more) for _ in range(number)]


@pytest.mark.parametrize(
    ("least", "over", "tasks", "stopped", "started"),
    [
        # all at once
        (0, 0, old(4), 4, 0),
        (0, 0, old(4, alive=False), 0, 0),
        (0, 0, old(3, alive=False), 0, 1),
        (0, 0, [], 0, 4),
        # the new ones are all available before an old one stops
        (1, 1, old(4), 0, 4),
        (1, 1, old(4) + new(4, available=False), 0, 0),
        (1, 1, old(4) + new(3) + new(1, available=False), 3, 0),
        # half of them stay available
        (0.5, 0, old(4), 2, 0),
        (0.5, 0, old(2) + old(1, alive=False), 0, 1),
        (0.5, 0, old(2) + new(1) + new(1, available=False), 1, 0),
        # half as many in addition
        (1, 0.5, old(4), 0, 2),
        (1, 0.5, old(4) + new(2), 2, 0),
        (1, 0.5, old(2) + new(2), 0, 2),
        # the minimum is rounded up, the maximum down
        (0.3, 0.3, old(4), 2, 1),
        # one more may always start, or none could be replaced
        (1, 0, old(4), 0, 1),
        (1, 0, old(4) + new(1), 1, 0),
        (1, 0, new(4), 0, 0),
        # tenths are not exact in binary
        (0.1, 0.1, [], 0, 4),
    ],
)
def test_capacities_limit_how_many_tasks_stop_and_start(
    least: float, over: float, tasks: list[Stub], stopped: int, started: int
) -> None:
    app = app_of(4, least, over, tasks)
    assert (len(list(tasks_to_stop(app))), startable(app)) == (stopped, started)


def test_tenths_are_counted_exactly() -> None:
    app = app_of(10, 0.7, 0.1, old(10))
    assert (len(list(tasks_to_stop(app))), startable(app)) == (3, 1)


def test_unavailable_tasks_are_stopped_first() -> None:
    unavailable, available = Stub(OLD, available=False), Stub(OLD)
    assert [task for task, _ in tasks_to_stop(app_of(1, 1, 1, [unavailable, available]))] == [
        unavailable
    ]


@pytest.mark.parametrize(("selection", "index"), [("YOUNGEST_FIRST", 2), ("OLDEST_FIRST", 0)])
def test_kill_selection_chooses_the_tasks_to_stop(selection: str, index: int) -> None:
    app = app_of(2, 1, 1, tasks := new(3), killSelection=selection)
    assert [task for task, _ in tasks_to_stop(app)] == [tasks[index]]


@pytest.fixture
def pages(tmp_path: Path) -> Pages:
    (tmp_path / "old").mkdir()
    return Pages(tmp_path / "old")


@pytest.fixture
def newer(tmp_path: Path) -> Pages:
    (tmp_path / "new").mkdir()
    return Pages(tmp_path / "new", status=500)


def settle(engine: live.Engine) -> None:
    live.until(lambda: not engine.get("/v2/deployments"), "the end of deployments")


def test_old_tasks_serve_until_new_ones_are_healthy(
    engine: live.Engine, pages: Pages, newer: Pages
) -> None:
    engine.run("/a", pages.cmd, instances=2, healthChecks=[check()])
    become(engine, 2, 0)
    settle(engine)
    before = {task["id"] for task in engine.running("/a", 2)}
    engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd})
    engine.running("/a", 4)
    newer.wait_for_responses(500, 4)
    assert before < {task["id"] for task in engine.running("/a", 4)}
    assert len(engine.get("/v2/deployments")) == 1
    newer.respond_with(200)
    settle(engine)
    assert not before & {task["id"] for task in engine.running("/a", 2)}


def test_without_over_capacity_there_are_never_more_tasks_than_desired(
    engine: live.Engine,
) -> None:
    strategy = {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}
    stubborn = "trap 'sleep 0.3; exit' TERM; while true; do sleep 0.05; done"
    engine.run("/a", stubborn, instances=2, upgradeStrategy=strategy)
    before = {task["id"] for task in engine.running("/a", 2)}
    settle(engine)
    with EventReader(engine, "status_update_event") as events:
        engine.ask("POST", "/v2/apps//a/restart")
        tasks, most, state = 2, 2, ""
        while state != "TASK_RUNNING":
            state = events.next()["taskStatus"]
            tasks += (state == "TASK_STAGING") - (state == "TASK_KILLED")
            most = max(most, tasks)
    assert most == 2
    settle(engine)
    assert not before & {task["id"] for task in engine.running("/a", 2)}


def test_an_upgrade_that_never_gets_healthy_stays_in_progress_and_can_be_rolled_back(
    engine: live.Engine, pages: Pages, newer: Pages
) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check()])
    become(engine, 1, 0)
    settle(engine)
    (before,) = engine.running("/a")
    changed = engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd}).json()
    newer.wait_for_responses(500, 3)
    assert [each["id"] for each in engine.get("/v2/deployments")] == [changed["deploymentId"]]
    assert before["id"] in [task["id"] for task in engine.running("/a", 2)]
    response = engine.ask("DELETE", f"/v2/deployments/{changed['deploymentId']}")
    assert response.status_code == 200
    settle(engine)
    become(engine, 1, 0)
    assert engine.app("/a")["cmd"] == pages.cmd


def test_a_crashing_new_version_replaces_no_old_task(engine: live.Engine, pages: Pages) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check()])
    become(engine, 1, 0)
    settle(engine)
    (before,) = engine.running("/a")
    engine.ask("PUT", "/v2/apps//a", json={"cmd": "exit 1"})
    live.until(lambda: engine.app("/a").get("lastTaskFailure"), "a failure")
    become(engine, 1, 0)
    assert [
        task["id"] for task in engine.app("/a")["tasks"] if task["state"] == "TASK_RUNNING"
    ] == [before["id"]]


def test_an_upgrade_continues_after_a_restart_of_the_engine(
    start_engine: Callable[..., live.Engine], pages: Pages, newer: Pages
) -> None:
    engine = start_engine()
    engine.run("/a", pages.cmd, healthChecks=[check()])
    become(engine, 1, 0)
    settle(engine)
    (before,) = engine.running("/a")
    engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd})
    engine.running("/a", 2)
    engine.kill()
    again = start_engine()
    assert before["id"] in [task["id"] for task in again.running("/a", 2)]
    newer.respond_with(200)
    assert again.running("/a")[0]["id"] != before["id"]


@pytest.mark.parametrize(("value", "error"), [(1.5, "error.max"), ("1", "error.expected.jsnumber")])
def test_capacities_are_shares(engine: live.Engine, value: Any, error: str) -> None:
    app = {"id": "/a", "cmd": "true", "upgradeStrategy": {"maximumOverCapacity": value}}
    response = engine.ask("POST", "/v2/apps", json=app)
    path = "/upgradeStrategy/maximumOverCapacity"
    (fault,) = response.json()["details"]
    assert (fault["path"], fault["errors"][0]) == (path, error)
