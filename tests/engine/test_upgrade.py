"""Upgrades: old tasks go as new ones can take their place, as the upgradeStrategy wants it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import Heard, Pages, become, check

import live
from fob.engine.control.rolling import startable, surplus_tasks
from fob.engine.store.records import AppRecord
from fob.engine.tasks.app import App

FOREVER = "exec sleep 1000"
OLD, NEW = "2020-01-01T00:00:00.000Z", "2021-01-01T00:00:00.000Z"


class Stub:
    """As much of a task as counts here."""

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
        # all are replaced before the first goes
        (1, 1, old(4), 0, 4),
        (1, 1, old(4) + new(4, available=False), 0, 0),
        (1, 1, old(4) + new(3) + new(1, available=False), 3, 0),
        # half of them serve
        (0.5, 0, old(4), 2, 0),
        (0.5, 0, old(2) + old(1, alive=False), 0, 1),
        (0.5, 0, old(2) + new(1) + new(1, available=False), 1, 0),
        # half as many more
        (1, 0.5, old(4), 0, 2),
        (1, 0.5, old(4) + new(2), 2, 0),
        (1, 0.5, old(2) + new(2), 0, 2),
        # shares are rounded up for who serves, and down for who comes
        (0.3, 0.3, old(4), 2, 1),
        # there is always room for one more, or nothing would change
        (1, 0, old(4), 0, 1),
        (1, 0, old(4) + new(1), 1, 0),
        (1, 0, new(4), 0, 0),
        # tenths are not exact
        (0.1, 0.1, [], 0, 4),
    ],
)
def test_capacities_say_how_many_come_and_go(
    least: float, over: float, tasks: list[Stub], stopped: int, started: int
) -> None:
    app = app_of(4, least, over, tasks)
    assert (len(list(surplus_tasks(app))), startable(app)) == (stopped, started)


def test_tenths_are_counted_exactly() -> None:
    app = app_of(10, 0.7, 0.1, old(10))
    assert (len(list(surplus_tasks(app))), startable(app)) == (3, 1)


def test_who_does_not_serve_goes_first() -> None:
    ill, well = Stub(OLD, available=False), Stub(OLD)
    assert [task for task, _ in surplus_tasks(app_of(1, 1, 1, [ill, well]))] == [ill]


@pytest.mark.parametrize(("selection", "index"), [("YOUNGEST_FIRST", 2), ("OLDEST_FIRST", 0)])
def test_a_scaled_down_app_loses_those_whom_it_selects(selection: str, index: int) -> None:
    app = app_of(2, 1, 1, tasks := new(3), killSelection=selection)
    assert [task for task, _ in surplus_tasks(app)] == [tasks[index]]


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
    newer.have_given(500, 4)
    assert before < {task["id"] for task in engine.running("/a", 4)}
    assert len(engine.get("/v2/deployments")) == 1
    newer.answer(200)
    settle(engine)
    assert not before & {task["id"] for task in engine.running("/a", 2)}


def test_there_are_never_more_than_are_wanted_where_none_may_be_over(
    engine: live.Engine,
) -> None:
    strategy = {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}
    stubborn = "trap 'sleep 0.3; exit' TERM; while true; do sleep 0.05; done"
    engine.run("/a", stubborn, instances=2, upgradeStrategy=strategy)
    before = {task["id"] for task in engine.running("/a", 2)}
    settle(engine)
    with Heard(engine, "status_update_event") as heard:
        engine.ask("POST", "/v2/apps//a/restart")
        there, most, told = 2, 2, ""
        while told != "TASK_RUNNING":
            told = heard.next()["taskStatus"]
            there += (told == "TASK_STAGING") - (told == "TASK_KILLED")
            most = max(most, there)
    assert most == 2
    settle(engine)
    assert not before & {task["id"] for task in engine.running("/a", 2)}


def test_a_version_that_never_gets_healthy_stays_and_can_be_rolled_back(
    engine: live.Engine, pages: Pages, newer: Pages
) -> None:
    engine.run("/a", pages.cmd, healthChecks=[check()])
    become(engine, 1, 0)
    settle(engine)
    (before,) = engine.running("/a")
    changed = engine.ask("PUT", "/v2/apps//a", json={"cmd": newer.cmd}).json()
    newer.have_given(500, 3)
    assert [each["id"] for each in engine.get("/v2/deployments")] == [changed["deploymentId"]]
    assert before["id"] in [task["id"] for task in engine.running("/a", 2)]
    answer = engine.ask("DELETE", f"/v2/deployments/{changed['deploymentId']}")
    assert answer.status_code == 200
    settle(engine)
    become(engine, 1, 0)
    assert engine.app("/a")["cmd"] == pages.cmd


def test_a_new_version_that_crashes_takes_no_old_task_away(
    engine: live.Engine, pages: Pages
) -> None:
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


def test_an_upgrade_goes_on_after_a_restart_of_the_engine(
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
    newer.answer(200)
    assert again.running("/a")[0]["id"] != before["id"]


@pytest.mark.parametrize(("value", "error"), [(1.5, "error.max"), ("1", "error.expected.jsnumber")])
def test_capacities_are_shares(engine: live.Engine, value: Any, error: str) -> None:
    app = {"id": "/a", "cmd": "true", "upgradeStrategy": {"maximumOverCapacity": value}}
    answer = engine.ask("POST", "/v2/apps", json=app)
    path = "/upgradeStrategy/maximumOverCapacity"
    (told,) = answer.json()["details"]
    assert (told["path"], told["errors"][0]) == (path, error)
