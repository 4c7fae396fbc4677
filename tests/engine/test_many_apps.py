"""Many apps at once: a client of the event stream gets every event exactly once."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import live

APPS = 1000
GROUP = 400  # apps: more events at once than a slow client may lag behind
DROP_AFTER = 1500  # events after which the client loses its connection
MISSED = 100  # apps created while it is disconnected
UNSEEN = 150  # the maximum of them, so that all their events are still stored
APP = {"cmd": "exec sleep 1000", "cpus": 0.01, "mem": 1, "portDefinitions": []}
STATES = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING"]
ENDS = ["TASK_KILLING", "TASK_KILLED"]


class Reader(threading.Thread):
    """Reads events until `number` of the type `last` have come. Now and then it disconnects, and
    resumes after the last event it saw once `may_return()`. `on_last()` is called for each event of
    that type."""

    def __init__(self, engine: live.Engine, last: str, number: int) -> None:
        super().__init__()
        self._engine = engine
        self._last = last
        self.left = number
        self.may_return: Callable[[], bool] = lambda: True
        self.on_last: Callable[[], object] = lambda: None
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.connections = 0
        self.attached = threading.Event()

    def run(self) -> None:
        while self.left:
            if self.seen:
                live.until(self.may_return, "the end of its absence")
            self._read()

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.seen:
            headers["Last-Event-ID"] = str(self.seen[-1][0])
        with self._engine.ask("GET", "/v2/events", headers=headers, stream=True) as stream:
            self.connections += 1
            for _, (id_, event) in zip(range(DROP_AFTER), _events(stream), strict=False):
                self.seen.append((id_, event))
                self.attached.set()
                if event["eventType"] == self._last:
                    self.left -= 1
                    self.on_last()
                if not self.left:
                    return

    def states(self) -> dict[str, list[str]]:
        """The published states of each app's task, in order. Asserts that no event is missing."""
        assert self.connections > 1
        numbers = [id_ for id_, _ in self.seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        states: dict[str, list[str]] = {}
        for event in self.of("status_update_event"):
            states.setdefault(event["appId"], []).append(event["taskStatus"])
        return states

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for _, event in self.seen if event["eventType"] == type_]


def _events(stream: requests.Response) -> Iterator[tuple[int, dict[str, Any]]]:
    id_ = 0
    for line in stream.iter_lines():
        name, _, value = line.partition(b": ")
        if name == b"id":
            id_ = int(value)
        elif name == b"data":
            yield id_, json.loads(value)


def read(reader: Reader) -> None:
    reader.start()
    assert reader.attached.wait(live.PATIENCE_SECONDS)


def join(reader: Reader) -> None:
    reader.join(120)
    assert not reader.is_alive()


@pytest.mark.slow
def test_a_thousand_apps_are_listed_and_lose_no_event(engine: live.Engine) -> None:
    ids = [f"/many/a{number}" for number in range(APPS)]
    created: dict[str, str] = {}
    unseen = threading.Semaphore(UNSEEN)
    reader = Reader(engine, "deployment_success", APPS)
    reader.on_last = unseen.release
    reader.may_return = lambda: len(created) >= min(APPS, APPS - reader.left + MISSED)
    read(reader)
    for id_ in ids:
        assert unseen.acquire(timeout=60)
        answer = engine.run(id_, **APP)
        created[answer["deployments"][0]["id"]] = id_
    join(reader)
    listed = engine.get("/v2/apps?embed=apps.tasks")["apps"]
    assert [app["id"] for app in listed] == ids
    assert {len(app["tasks"]) for app in listed} == {1} == {app["tasksRunning"] for app in listed}
    assert reader.states() == dict.fromkeys(ids, STATES)
    ended = [event["id"] for event in reader.of("deployment_success")]
    assert sorted(created[deployment] for deployment in ended) == sorted(ids)


def test_a_group_of_many_apps_loses_no_event(engine: live.Engine) -> None:
    ids = [f"/many/a{number}" for number in range(GROUP)]
    reader = Reader(engine, "app_terminated_event", GROUP)
    read(reader)
    group = {"id": "/many", "apps": [APP | {"id": id_} for id_ in ids]}
    answer = engine.ask("PUT", "/v2/groups", json=group)
    assert answer.status_code == 200, answer.text
    live.until(lambda: not engine.get("/v2/deployments"), "all of them", 120)
    listed = engine.get("/v2/apps?embed=apps.tasks")["apps"]
    assert [len(each["tasks"]) for each in listed] == [1] * GROUP
    assert engine.ask("DELETE", "/v2/groups//many").ok
    join(reader)
    assert reader.states() == dict.fromkeys(ids, STATES + ENDS)
    counts = Counter(event["eventType"] for _, event in reader.seen)
    assert counts["deployment_info"] == counts["deployment_step_success"] == 2
    assert counts["deployment_success"] == 2
