"""The table of tasks: events and responses of all versions, and which waiters they wake."""

import asyncio
import gc
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import marathon_answers as says
import pytest
from raw_server import Exchange, serving

import live
from fob.errors import FobError, MarathonSilent
from fob.marathon import (
    Marathon,
    TaskTable,
    event_stream,
    task_table,
)
from fob.marathon.event_stream import EventListener, MarathonEvent
from fob.marathon.task_table import tasks_of

APP_ID = says.APP_ID


class Scripted:
    """A Marathon whose apps the test sets and whose events the test sends."""

    def __init__(self, *apps: dict[str, Any]) -> None:
        self.listed: list[dict[str, Any]] = list(apps)
        self.asked = 0
        self.away = False
        self.failures: list[FobError] = []
        self.answer = asyncio.Event()
        self.answer.set()
        self.was_asked = asyncio.Event()
        self.listener: EventListener | None = None

    def follow(self, listener: EventListener) -> "Scripted":
        self.listener = listener
        return self

    async def stop(self) -> None:
        self.listener = None

    async def tasks(self) -> list[dict[str, Any]]:
        self.asked += 1
        self.was_asked.set()
        listed = [task for app in self.listed for task in app["tasks"]]
        await self.answer.wait()
        if self.failures:
            raise self.failures.pop()
        return listed


class Table:
    """A table under test, with the Marathon it follows."""

    def __init__(self, *apps: dict[str, Any]) -> None:
        self.marathon = Scripted(*apps)
        self.tasks = TaskTable(self.marathon)  # type: ignore[arg-type]
        self.tasks.start()

    async def attach(self) -> None:
        """Open the stream, and wait until the table is fresh."""
        self.tasks.on_attached()
        self.tell("event_stream_attached")
        while not self.tasks.fresh:
            await self.tasks.next_change(APP_ID, 5)

    def tell(self, name: str, **data: Any) -> None:
        self.tasks.on_events([MarathonEvent(name, data)])

    def update(self, state: str, version: str = "1.5.8", **more: Any) -> None:
        self.tell("status_update_event", **says.status_update(state, version, **more))

    def states(self) -> list[str | None]:
        return [task.state for task in self.tasks.of(APP_ID)]

    def ready(self) -> list[bool]:
        return [task.ready for task in self.tasks.of(APP_ID)]


def last_failure(table: "Table") -> Any:
    return (table.tasks.failures(APP_ID) or [None])[-1]


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await asyncio.wait_for(test(), 20)

    return asyncio.run(whole())


# events


@pytest.mark.parametrize("version", says.VERSIONS)
def test_a_task_appears_runs_and_disappears_by_events_alone(version: str) -> None:
    async def test() -> None:
        table = Table(says.app(version))
        await table.attach()
        seen = []
        for state in ("TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"):
            table.update(state, version)
            seen.append((table.states(), table.ready()))
        alive = {"appId": APP_ID, "taskId": says.task_id(version), "alive": True}
        table.tell("health_status_changed_event", **alive)
        assert seen[-1] == (["TASK_RUNNING"], [False])
        (task,) = table.tasks.of(APP_ID)
        assert (task.ready, task.host, task.ports) == (True, "10.0.6.172", (25974,))
        assert task.started_at == "2016-04-02T23:09:48.500Z"
        table.update("TASK_KILLED", version)
        assert table.tasks.of(APP_ID) == []
        assert last_failure(table) is None

    run(test)


@pytest.mark.parametrize("version", ["1.4.0", "1.5.8", "1.11.24"])
@pytest.mark.parametrize("key", ["runSpecId", "appId"])
def test_the_health_of_an_instance_applies_to_its_task(version: str, key: str) -> None:
    async def test() -> None:
        table = Table(says.app(version, [says.task(version)]))
        await table.attach()
        ready = [table.ready()]
        for healthy in (False, None, True):
            instance = {key: APP_ID, "instanceId": says.instance_id(version), "healthy": healthy}
            table.tell("instance_health_changed_event", **instance)
            ready.append(table.ready())
        assert ready == [[True], [False], [False], [True]]

    run(test)


def test_the_health_of_one_instance_does_not_apply_to_another() -> None:
    async def test() -> None:
        other = says.task("1.5.8") | {"id": f"{says.FLAT_ID}.{says.INSTANCE[:-1]}f"}
        table = Table(says.app("1.5.8", [says.task("1.5.8"), other]))
        await table.attach()
        dead = {"appId": APP_ID, "taskId": other["id"], "alive": False}
        table.tell("health_status_changed_event", **dead)
        assert table.ready() == [True, False]

    run(test)


@pytest.mark.parametrize(
    "state",
    ["FINISHED", "FAILED", "LOST", "ERROR", "DROPPED", "GONE", "GONE_BY_OPERATOR", "UNKNOWN"],
)
def test_an_ended_task_is_removed_and_its_failure_kept(state: str) -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        table.update(f"TASK_{state}", message="Command exited with status 3")
        assert table.tasks.of(APP_ID) == []
        failure = last_failure(table)
        assert failure is not None
        assert failure.keys() == says.failure("").keys()
        assert failure["state"] == f"TASK_{state}"
        assert failure["message"] == "Command exited with status 3"

    run(test)


@pytest.mark.parametrize("state", ["TASK_KILLING", "TASK_UNREACHABLE", "TASK_NEW_IN_MESOS_9"])
def test_a_task_in_any_other_state_is_kept_and_not_ready(state: str) -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        table.update(state)
        assert (table.states(), table.ready()) == ([state], [False])

    run(test)


def test_an_unreachable_task_is_ready_again_when_it_returns() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        table.update("TASK_UNREACHABLE")
        assert table.ready() == [False]
        table.update("TASK_RUNNING")
        assert table.ready() == [True]

    run(test)


def test_a_repeated_event_counts_once() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        for _ in range(2):
            table.update("TASK_FAILED", message="exit 3")
            table.tell("app_terminated_event", appId="/fob-aviary/another")
        assert (len(table.tasks.failures(APP_ID)), table.ready()) == (1, [])

    run(test)


def test_a_task_is_where_its_last_event_says() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        new = f"{says.FLAT_ID}.{says.INSTANCE[:-1]}f"
        table.update("TASK_RUNNING", taskId=new, host="10.0.6.99", ports=[31001])
        table.update("TASK_LOST")
        (task,) = table.tasks.of(APP_ID)
        assert (task.host, task.ports, task.ready) == ("10.0.6.99", (31001,), False)
        table.tell("health_status_changed_event", appId=APP_ID, taskId=new, alive=True)
        assert table.ready() == [True]

    run(test)


@pytest.mark.parametrize(
    "odd",
    [
        {"ports": 7},
        {"ipAddresses": ["x"]},
        {"healthCheckResults": 5},
        {"healthCheckResults": ["x"]},
    ],
)
def test_a_malformed_task_in_a_list_hides_no_other(odd: dict[str, Any]) -> None:
    async def test() -> None:
        broken = says.task("1.5.8") | {"id": "odd"} | odd
        table = Table(says.app("1.5.8", [broken, says.task("1.5.8")]))
        await table.attach()
        assert [task.id for task in table.tasks.of(APP_ID)] == [says.task_id("1.5.8")]

    run(test)


@pytest.mark.parametrize(
    "key", ["ports", "ipAddresses", "healthCheckResults", "startedAt", "state", "slaveId", "host"]
)
def test_null_is_the_same_as_a_missing_key(key: str) -> None:
    app = says.app("1.5.8", [says.task("1.5.8") | {key: None}], labels=None, env=None)
    (task,) = tasks_of(app)
    assert task.id == says.task_id("1.5.8")
    assert tasks_of(app | {"tasks": None}) == []


@pytest.mark.parametrize("version", says.VERSIONS)
def test_late_events_change_nothing(version: str) -> None:
    async def test() -> None:
        table = Table(says.app(version, [says.task(version)]))
        await table.attach()
        table.update("TASK_STAGING", version)
        assert table.ready() == [True]
        table.update("TASK_FAILED", version)
        table.update("TASK_RUNNING", version)
        assert table.ready() == []

    run(test)


@pytest.mark.parametrize("kind", ["task", "instance"])
def test_a_task_killed_as_unhealthy_leaves_the_reason(kind: str) -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        event = f"unhealthy_{kind}_kill_event"
        table.tell(event, appId=APP_ID, taskId="x", reason="timed out")
        table.update("TASK_KILLED")
        failure = last_failure(table)
        assert failure is not None
        reason = "Task was killed since health check failed. Reason: timed out"
        assert failure["message"] == reason

    run(test)


def test_a_terminated_app_leaves_nothing() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")], lastTaskFailure=says.failure("x")))
        await table.attach()
        table.tell("app_terminated_event", appId=APP_ID)
        table.update("TASK_KILLED")
        assert (table.tasks.of(APP_ID), last_failure(table)) == ([], None)

    run(test)


def test_apps_of_other_groups_are_ignored() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        for app_id in ("/web", "/fob-aviary-too/x", "/fob-aviary"):
            table.update("TASK_RUNNING", appId=app_id)
            assert table.tasks.of(app_id) == []

    run(test)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"appId": 7},
        {"appId": APP_ID},
        {"appId": APP_ID, "taskStatus": "TASK_RUNNING", "taskId": "x", "ports": 7},
        {"appId": APP_ID, "taskStatus": ["x"], "taskId": "x"},
        {"appId": APP_ID, "taskStatus": "TASK_RUNNING", "taskId": "x", "ipAddresses": [7]},
    ],
)
def test_a_malformed_event_is_ignored(data: dict[str, Any]) -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        await table.attach()
        for name in event_stream.EVENT_NAMES:
            if name != "app_terminated_event":
                table.tell(name, **data)
        assert table.states() == ["TASK_RUNNING"]

    run(test)


def test_an_app_without_health_checks_is_known_as_such_from_its_creation() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        table.update("TASK_RUNNING")
        assert table.ready() == [False]
        table.tasks.note_app(says.app("1.5.8", healthChecks=[]))
        assert table.ready() == [True]

    run(test)


def test_one_of_several_checks_does_not_make_a_task_ready() -> None:
    async def test() -> None:
        app = says.app("1.5.8", [says.task("1.5.8", alive=None)], healthChecks=[{}, {}])
        table = Table(app)
        await table.attach()
        table.tasks.note_app(app)
        alive = {"appId": APP_ID, "taskId": says.task_id("1.5.8"), "alive": True}
        table.tell("health_status_changed_event", **alive)
        assert table.ready() == [False]
        well = {"runSpecId": APP_ID, "instanceId": says.instance_id("1.5.8"), "healthy": True}
        table.tell("instance_health_changed_event", **well)
        assert table.ready() == [True]

    run(test)


def test_the_cost_of_an_event_does_not_depend_on_the_number_of_apps() -> None:
    def busy(table: Table) -> float:
        best = 1.0
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(200):
                table.update("TASK_RUNNING")
                table.update("TASK_KILLING")
            best = min(best, time.perf_counter() - began)
        return best

    async def test() -> None:
        few, many = Table(says.app("1.5.8")), Table(*crowd(5000))
        await few.attach()
        await many.attach()
        assert busy(many) < 5 * busy(few)

    run(test)


def crowd(number: int) -> list[dict[str, Any]]:
    others = [says.app("1.5.8", [says.task("1.5.8")], id=f"/fob-aviary/{n}") for n in range(number)]
    return [says.app("1.5.8"), *others]


# rebuilding


def test_the_list_corrects_what_events_missed() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")], lastTaskFailure=says.failure("x")))
        await table.attach()
        assert table.ready() == [True]
        table.tasks.on_lost()
        assert not table.tasks.fresh
        table.marathon.listed = []
        await table.attach()
        assert table.tasks.of(APP_ID) == []
        assert table.marathon.asked == 2

    run(test)


def test_a_lost_task_returns_with_the_list() -> None:
    async def test() -> None:
        table = Table(says.app("1.1.1", [says.task("1.1.1")]))
        await table.attach()
        table.update("TASK_LOST", "1.1.1")
        assert table.ready() == []
        table.tasks.on_lost()
        await table.attach()
        assert table.ready() == [True]

    run(test)


def test_events_during_the_request_override_the_list() -> None:
    async def test() -> None:
        stale = says.app("1.5.8", [says.task("1.5.8")])
        table = Table(stale)
        table.marathon.answer.clear()
        attached = asyncio.create_task(table.attach())
        await table.marathon.was_asked.wait()
        table.update("TASK_FAILED", message="it died meanwhile")
        new = f"{says.FLAT_ID}.{says.INSTANCE[:-1]}f"
        table.update("TASK_RUNNING", taskId=new)
        table.marathon.answer.set()
        await attached
        assert [task.id for task in table.tasks.of(APP_ID)] == [new]
        failure = last_failure(table)
        assert failure is not None
        assert failure["message"] == "it died meanwhile"

    run(test)


def test_the_list_is_requested_once_even_without_a_first_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(task_table, "ATTACH_GRACE", 0.01)

    async def test() -> None:
        table = Table()
        table.tasks.on_attached()
        assert table.marathon.asked == 0
        await table.tasks.next_change(APP_ID, 5)
        table.update("TASK_STAGING")
        await asyncio.sleep(0.05)
        assert (table.tasks.fresh, table.marathon.asked) == (True, 1)

    run(test)


def test_the_table_stays_fresh_while_marathon_is_away() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        table.marathon.away = True
        assert not table.tasks.fresh
        await table.attach()
        table.tasks.on_lost()
        assert (table.tasks.fresh, table.ready()) == (True, [True])
        table.marathon.away = False
        assert not table.tasks.fresh

    run(test)


def test_a_failed_list_is_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "FIRST_PAUSE", 0.001)

    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        table.marathon.failures = [MarathonSilent("slow"), MarathonSilent("slow")]
        await table.attach()
        assert (table.marathon.asked, table.ready()) == (3, [True])

    run(test)


def test_a_stream_lost_during_the_request_leaves_the_table_stale() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", [says.task("1.5.8")]))
        table.marathon.answer.clear()
        table.tasks.on_attached()
        table.tell("event_stream_attached")
        await asyncio.sleep(0)
        table.tasks.on_lost()
        table.marathon.answer.set()
        await asyncio.sleep(0.01)
        assert (table.tasks.fresh, table.states()) == (False, [])

    run(test)


def test_the_newer_failure_is_kept() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8", lastTaskFailure=says.failure("new", "2016-05")))
        await table.attach()
        table.update("TASK_FAILED", message="newest", taskId="another", timestamp="2016-06")
        table.tasks.on_lost()
        await table.attach()
        failure = last_failure(table)
        assert failure is not None
        assert failure["message"] == "newest"

    run(test)


# waiting


def test_a_change_wakes_only_the_waiters_of_its_app() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        mine = [table.tasks.next_change(APP_ID, 10) for _ in range(3)]
        other = table.tasks.next_change("/fob-aviary/other", 10)
        table.update("TASK_STAGING")
        await asyncio.gather(*mine)
        assert not other.done()
        other.cancel()

    run(test)


def test_an_event_without_a_change_wakes_no_waiter() -> None:
    async def test() -> None:
        table = Table(says.app("1.5.8"))
        await table.attach()
        table.update("TASK_RUNNING")
        waiting = table.tasks.next_change(APP_ID, 10)
        table.update("TASK_RUNNING")
        table.update("TASK_STAGING")
        assert not waiting.done()
        waiting.cancel()

    run(test)


def test_a_rebuilt_table_wakes_all_waiters() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        waiting = [table.tasks.next_change(f"/fob-aviary/{n}", 10) for n in range(10)]
        table.tasks.on_lost()
        await table.attach()
        await asyncio.gather(*waiting)

    run(test)


def test_a_change_between_the_call_and_the_await_is_not_missed() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        change = table.tasks.next_change(APP_ID, 10)
        table.update("TASK_STAGING")
        await change

    run(test)


def test_waiting_times_out_and_leaves_no_waiter() -> None:
    async def test() -> None:
        table = Table()
        await table.attach()
        await table.tasks.next_change(APP_ID, 0.01)
        table.tasks.next_change(APP_ID, 10).cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(table.tasks.next_change(APP_ID, 10), 0.01)
        dropped = table.tasks.next_change(APP_ID, 0.01)
        del dropped
        gc.collect()
        await asyncio.sleep(0.05)
        assert table.tasks._waiters == {}

    run(test)


# with sockets, and with the engine


def test_each_connection_causes_exactly_one_list_request() -> None:
    update = json.dumps(says.status_update("TASK_RUNNING")).encode()
    frame = b"event: status_update_event\r\ndata: " + update + b"\r\n\r\n"

    def play(exchange: Exchange) -> None:
        if exchange.path.startswith("/v2/events"):
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
            exchange.send(b"Connection: close\r\n\r\n" + frame)
            again = len([path for path in server.paths() if "events" in path]) > 2
            exchange.hang() if again else live.until(asked_for_all)
            exchange.sock.shutdown(2)
        else:
            exchange.answer(200, json.dumps({"tasks": []}).encode())

    def asked_for_all() -> bool:
        paths = server.paths()
        return paths.count("/v2/tasks") == len([p for p in paths if "events" in p])

    async def test() -> None:
        marathon = Marathon(server.url)
        table = TaskTable(marathon)
        table.start()
        while len(server.seen) < 6 or not table.fresh:
            await table.next_change(APP_ID, 0.1)
        assert [task.state for task in table.of(APP_ID)] == ["TASK_RUNNING"]
        await table.stop()
        await marathon.close()

    with serving(play) as server:
        run(test)
        kinds = ["events" if "events" in path else "list" for path in server.paths()]
        assert kinds == ["events", "list"] * 3


def test_the_table_follows_a_real_engine_across_a_crash(
    start_engine: Callable[..., live.Engine],
) -> None:
    check = [{"protocol": "TCP", "portIndex": 0, "intervalSeconds": 1}]
    serve = "exec python3 -m http.server $PORT0"
    engine = start_engine()

    async def test() -> None:
        marathon = Marathon(f"{engine.url}/service/marathon", token=engine.token)
        table = TaskTable(marathon)
        table.start()
        definition = {"id": APP_ID, "cmd": serve, "cpus": 0.01, "mem": 16}
        await marathon.create(APP_ID, lambda send: send(definition | {"healthChecks": check}))
        while not any(task.ready for task in table.of(APP_ID)):
            await table.next_change(APP_ID, 5)
        await asyncio.to_thread(engine.kill)
        while table.fresh:
            await table.next_change(APP_ID, 0.05)
        with pytest.raises(MarathonSilent, match="cannot be reached"):
            await marathon.delete(APP_ID)
        await marathon.close()

    run(test)
    again = start_engine()

    async def go_on() -> None:
        marathon = Marathon(f"{again.url}/service/marathon", token=again.token)
        table = TaskTable(marathon)
        table.start()
        while not any(task.ready for task in table.of(APP_ID)):
            await table.next_change(APP_ID, 5)
        await marathon.delete(APP_ID)
        while table.of(APP_ID):
            await table.next_change(APP_ID, 5)
        await marathon.close()

    run(go_on)
