"""Faults of Marathon: each has one right outcome in the dispatcher, and the next request works."""

import json
import threading
from collections.abc import Callable
from typing import Any

import days
import marathon_answers as says
import pytest
import requests
from cluster import BadDay, Cluster
from dispatching import HELLO, SAMPLE, Dispatcher, follows, well

import live
from fob.functions import registration

NO_LEADER = says.HTML_502
TOO_LARGE = {
    "message": "Object is not valid",
    "details": [
        {
            "path": "/",
            "errors": [
                "The way we persist data in ZooKeeper would exceed the maximum ZK node size"
            ],
        }
    ],
}
HTML_403 = "<html><head><title>403 Forbidden</title></head><body>openresty</body></html>"
BROKEN = (
    b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n{"id":'
)


pytestmark = pytest.mark.usefixtures("short_pauses")


# a registration that was not carried out: one clear error, and nothing left behind

REFUSALS: dict[str, tuple[BadDay, int, int, str, str]] = {
    "no leader": (days.says(502, NO_LEADER), 1, 503, "marathon_busy", "502 Bad Gateway"),
    "too many": (days.says(403, says.TOO_MANY), 9, 503, "marathon_busy", "Max number (100)"),
    "zookeeper": (days.says(422, TOO_LARGE), 1, 502, "marathon_refused", "maximum ZK node size"),
    "login": (days.says(401, says.HTML_401), 1, 502, "marathon_unauthorized", "401 Authorization"),
    "forbidden": (days.says(403, HTML_403), 1, 502, "marathon_forbidden", "403 Forbidden"),
    "locked": (days.says(409, says.LOCKED), 9, 409, "app_locked", "deployment 97c136bf"),
    "reset": (days.resets, 1, 504, "marathon_dropped", "sent no complete response"),
    "broken json": (days.raw(BROKEN), 1, 502, "marathon_unintelligible", "not JSON"),
    "another's json": (days.says(200, "<html>x</html>"), 1, 502, "marathon_unintelligible", "x"),
    "moved": (days.says(302, "", Location="/x"), 1, 502, "marathon_redirects", "redirects to"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_failed_registration_is_one_clear_error_and_leaves_nothing(
    name: str, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    day, times, *expected, words = REFUSALS[name]
    cluster.bad("POST /v2/apps", day, times)
    status, code, message = dispatcher.error("POST", "/api/gen", data=SAMPLE)
    assert [status, code] == expected
    assert words in message
    assert (cluster.apps, dispatcher.files()) == ({}, [])
    well(dispatcher, cluster)


# a registration that was carried out, whatever the response

UNCLEAR: dict[str, BadDay] = {
    "no leader": days.says(502, NO_LEADER),
    "timed out": days.says(503, {"message": "Futures timed out after [10000 milliseconds]"}),
    "gateway": days.says(504, "<html><title>504 Gateway Time-out</title></html>"),
    "reset": days.resets,
    "broken json": days.raw(BROKEN),
    "silent": days.hangs,
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_registration_that_was_carried_out_succeeds_whatever_the_response(
    name: str, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    cluster.bad("POST /v2/apps", days.done_but(UNCLEAR[name]))
    assert dispatcher.call(dispatcher.gen()) == HELLO
    assert len(cluster.apps) == 1


@pytest.mark.parametrize("name", ["timed out", "silent"])
def test_a_registration_carried_out_after_the_timeout_is_undone(
    name: str, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    later: list[Callable[[], None]] = []

    def day(exchange: Any, go: Callable[[], None]) -> None:
        later.append(lambda: cluster.post(json.loads(exchange.body)))
        UNCLEAR[name](exchange, go)

    cluster.bad("POST /v2/apps", day)
    assert dispatcher.error("POST", "/api/gen", data=SAMPLE)[1] == "marathon_unsure"
    asked = len(cluster.asked)
    live.until(lambda: "DELETE" in " ".join(cluster.asked[asked:]), "an attempt to remove it")
    later[0]()
    live.until(lambda: not cluster.apps and not dispatcher.files(), "its removal")
    well(dispatcher, cluster)


def test_a_silent_marathon_times_out_and_the_dispatcher_responds_meanwhile(
    cluster: Cluster, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "UNSURE_SECONDS", 0.0)
    cluster.bad("", days.hangs, 50)
    refused: list[tuple[int, str, str]] = []
    asking = threading.Thread(
        target=lambda: refused.append(dispatcher.error("POST", "/api/gen", data=SAMPLE))
    )
    asking.start()
    live.until(lambda: "POST /v2/apps" in cluster.asked, "the registration")
    assert dispatcher.answer("GET", "/api/stats") == {"status": "fob up"}
    asking.join()
    assert [each[:2] for each in refused] == [(504, "marathon_unsure")]
    assert dispatcher.error("GET", "/api/functions")[:2] == (504, "marathon_silent")
    cluster.good()
    live.until(lambda: dispatcher.files() == [], "the end of the record")
    well(dispatcher, cluster)


# transient faults


def test_too_many_deployments_are_retried(cluster: Cluster, dispatcher: Dispatcher) -> None:
    cluster.bad("POST /v2/apps", days.says(403, says.TOO_MANY), 3)
    assert dispatcher.call(dispatcher.gen()) == HELLO
    assert cluster.asked.count("POST /v2/apps") == 4


def test_a_lock_is_retried_and_a_removal_overrides_it(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen(query="?instances=0")
    cluster.bad("PUT", days.says(409, says.LOCKED), 3)
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"name": "x"})
    cluster.bad("PUT", days.says(409, says.LOCKED), 9)
    refused = dispatcher.error("PATCH", f"/api/functions/{id_}", json={"name": "y"})
    assert refused[:2] == (409, "app_locked")
    cluster.good()
    cluster.bad("DELETE", days.says(409, says.LOCKED), 5)
    dispatcher.answer("DELETE", f"/api/functions/{id_}")
    well(dispatcher, cluster)


# events


def test_lost_events_are_recovered_when_the_stream_is_reopened(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    kept, removed = dispatcher.gen(), dispatcher.gen()
    for id_ in (kept, removed):
        follows(dispatcher, cluster, id_)
    cluster.deaf = True
    apps = f"{cluster.url}/v2/apps/fob-aviary/"
    moved = {"env": cluster.apps[f"/fob-aviary/{kept}"]["env"]}
    assert requests.put(apps + kept, json=moved, timeout=30).status_code == 200
    assert requests.delete(apps + removed, timeout=30).status_code == 200
    live.until(lambda: len(cluster.tasks[f"/fob-aviary/{kept}"]) == 1, "the end of the old task")
    cluster.deaf = False
    cluster.cut()
    live.until(lambda: dispatcher.listed() == [kept], "the right list")
    follows(dispatcher, cluster, kept)
    [task] = cluster.tasks[f"/fob-aviary/{kept}"]
    assert dispatcher.answer("GET", f"/api/meta/{kept}")["port"] == task["ports"][0]
    assert dispatcher.call(kept) == HELLO


@pytest.mark.parametrize(
    "body", [{"tasks": [{}]}, {"tasks": [{"id": 7, "appId": None}]}, {"tasks": 5}, [], "x"]
)
def test_a_malformed_list_of_tasks_is_requested_again(
    body: Any, cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    cluster.bad("GET /v2/tasks", days.says(200, body))
    cluster.cut()
    live.until(lambda: cluster.asked.count("GET /v2/tasks") > 2, "another list")
    follows(dispatcher, cluster, id_)


@pytest.mark.parametrize("version", ["1.1.1", "1.11.24"])
def test_events_of_other_apps_delay_nothing(cluster: Cluster, dispatcher: Dispatcher) -> None:
    others = b'event: status_update_event\r\ndata: {"appId": "/other/x", "taskId": "t%d",'
    others += b' "taskStatus": "TASK_RUNNING"}\r\n\r\n'
    plan = b"event: deployment_info\r\ndata: " + b"x" * 1_000_000 + b"\r\n\r\n"
    live.until(cluster.listeners, "the stream")
    cluster.pour(b"".join(others % n for n in range(20_000)) + 10 * plan)
    cluster.pour(b"event: status_update_event\r\ndata: {broken\r\n\r\nevent: \r\ndata\r\n\r\n")
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    assert dispatcher.call(id_) == HELLO
