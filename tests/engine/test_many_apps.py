"""Many apps at once: every event of each of them reaches a reader, exactly once."""

import json
import threading
from collections import Counter
from typing import Any

import live

APPS = 400  # more events at once than a slow reader may be behind
DROP_AFTER = 1500  # events, and the reader loses its connection
STATES = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_KILLED"]


class Reader(threading.Thread):
    """Reads events until the last app is gone; loses the connection now and then, and asks for what
    came after the last event that it saw."""

    def __init__(self, engine: live.Engine) -> None:
        super().__init__()
        self._engine = engine
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.gone = 0  # apps
        self.connections = 0
        self.attached = threading.Event()

    def run(self) -> None:
        while self.gone < APPS:
            self._read()

    def _read(self) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.seen:
            headers["Last-Event-ID"] = str(self.seen[-1][0])
        with self._engine.ask("GET", "/v2/events", headers=headers, stream=True) as stream:
            self.connections += 1
            lines = stream.iter_lines()
            for _ in range(DROP_AFTER):
                id_, event = _next(lines)
                self.seen.append((id_, event))
                self.attached.set()
                if event["eventType"] == "app_terminated_event":
                    self.gone += 1
                    if self.gone == APPS:
                        return


def _next(lines: Any) -> tuple[int, dict[str, Any]]:
    id_ = next(line for line in lines if line.startswith(b"id: "))
    data = next(line for line in lines if line.startswith(b"data: "))
    return int(id_[4:]), json.loads(data[6:])


def test_no_event_is_lost(engine: live.Engine) -> None:
    reader = Reader(engine)
    reader.start()
    reader.attached.wait(live.PATIENCE_SECONDS)
    app = {"cmd": "exec sleep 1000", "cpus": 0.01, "mem": 1, "portDefinitions": []}
    ids = [f"/many/a{number}" for number in range(APPS)]
    group = {"id": "/many", "apps": [app | {"id": id_} for id_ in ids]}
    answer = engine.ask("PUT", "/v2/groups", json=group)
    assert answer.status_code == 200, answer.text
    live.until(lambda: not engine.get("/v2/deployments"), "all of them", 120)
    listed = engine.get("/v2/apps?embed=apps.tasks")["apps"]
    assert [len(each["tasks"]) for each in listed] == [1] * APPS
    assert engine.ask("DELETE", "/v2/groups//many").ok
    reader.join(120)
    assert not reader.is_alive()
    check(reader, ids)


def check(reader: Reader, ids: list[str]) -> None:
    numbers = [id_ for id_, _ in reader.seen]
    assert reader.connections > 1
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    states: dict[str, list[str]] = {}
    for _, event in reader.seen:
        if event["eventType"] == "status_update_event":
            states.setdefault(event["appId"], []).append(event["taskStatus"])
    assert states == dict.fromkeys(ids, STATES)
    told = Counter(event["eventType"] for _, event in reader.seen)
    assert told["deployment_info"] == told["deployment_step_success"] == 2
    assert told["deployment_success"] == 2
