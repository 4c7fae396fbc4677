"""One function's whole life on each version of Marathon."""

import days
import pytest
from cluster import Cluster
from dispatching import HELLO, SAMPLE, Dispatcher
from eras import VERSIONS, Era

import live
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options

ID = "0e38b688-86e3-4966-9060-cf01eef59426"

every_version = pytest.mark.parametrize("version", VERSIONS)
CRASH = b"import os\n\n\ndef crash():\n    os._exit(9)\n"


@every_version
def test_a_function_is_registered_called_and_removed(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen(query="?name=hello&env.GREETING=hi")
    place = dispatcher.answer("GET", f"/api/meta/{id_}?wait=30")
    [task] = cluster.tasks[f"/fob-aviary/{id_}"]
    assert place == {"host": "127.0.0.1", "port": task["ports"][0]}
    assert dispatcher.call(id_) == HELLO
    assert dispatcher.ask("GET", f"/api/cs/{id_}").content == SAMPLE
    details = dispatcher.answer("GET", f"/api/functions/{id_}")
    assert (details["state"], details["settings"]["env"]) == ("running", ["GREETING"])
    assert details["instances"][0]["task"] == task["id"]
    assert "listening" in {mark["mark"] for mark in details["instances"][0]["timeline"]}
    [listed] = dispatcher.answer("GET", "/api/functions")["functions"]
    assert listed.items() <= details.items()
    assert dispatcher.answer("DELETE", f"/api/functions/{id_}") == {"id": id_}
    assert (cluster.apps, cluster.tasks, dispatcher.files()) == ({}, {}, [])
    assert dispatcher.error("GET", f"/api/meta/{id_}")[:2] == (404, "not_found")


@every_version
def test_a_function_is_scaled_changed_and_suspended(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen()
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"instances": 2})
    live.until(lambda: ready(dispatcher, id_) == 2, "two instances")
    before = {task["id"] for task in cluster.tasks[f"/fob-aviary/{id_}"]}
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"timeout": 5, "env": {"A": "b"}})
    live.until(lambda: ready(dispatcher, id_) == 2, "two new instances")
    assert not before & {task["id"] for task in cluster.tasks[f"/fob-aviary/{id_}"]}
    settings = dispatcher.answer("GET", f"/api/functions/{id_}")["settings"]
    assert (settings["timeout"], settings["env"]) == (5, ["A"])
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"instances": 0})
    live.until(lambda: state(dispatcher, id_) == "suspended", "rest")
    assert cluster.tasks[f"/fob-aviary/{id_}"] == []


@every_version
def test_a_crash_is_reported_with_its_reason_and_its_log(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen(b"print('up', flush=True)\n" + CRASH)
    assert dispatcher.error("GET", f"/api/call/{id_}")[:2] == (502, "call_failed")
    live.until(lambda: state(dispatcher, id_) == "failed", "the failure")
    status, _, message = dispatcher.error("GET", f"/api/meta/{id_}")
    assert status == 503
    assert "Command exited with status 9; it restarts in 7 s" in message
    assert dispatcher.ask("GET", f"/api/functions/{id_}/logs?stream=stdout").text == "up\n"


@every_version
def test_an_error_of_a_version_is_passed_on_in_its_words(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    faults = cluster.era.faults({"id": "/x", "cpus": "much"})
    assert [fault["path"] for fault in faults] == ["/cpus"]
    cluster.bad("POST /v2/apps", days.says(*cluster.era.invalid(faults)))
    status, code, message = dispatcher.error("POST", "/api/gen", data=SAMPLE)
    assert (status, code) == (502, "marathon_refused")
    assert "/cpus: 'much' is not of type 'number'" in message
    assert (cluster.apps, dispatcher.files()) == ({}, [])


@pytest.mark.parametrize("version", ["1.5.8", "1.11.24"])
def test_an_image_in_the_old_form_is_returned_in_the_new_one(version: str) -> None:
    """All keys that fob reads stay where they were."""
    placement = PlacementSettings(image="python:3-slim", remote=True)
    made = app_definition.app(ID, SAMPLE, Options(), "2016-04-02T23:09:47.123Z", placement)
    assert Era(version).faults(made) == []
    kept = Era(version).app(made)
    assert "ports" not in kept
    assert "network" not in kept["container"]["docker"]
    assert app_definition.snippet_of(kept) == SAMPLE
    assert Era(version).faults({"id": kept["id"], **app_definition.change(kept, {"mem": 65})}) == []


def ready(dispatcher: Dispatcher, id_: str) -> int:
    """Return how many running instances respond; -1 while instances start or stop."""
    details = dispatcher.answer("GET", f"/api/functions/{id_}")
    right = len(details["instances"]) == details["instances_ready"]
    return int(details["instances_ready"]) if right else -1


def state(dispatcher: Dispatcher, id_: str) -> str:
    return str(dispatcher.answer("GET", f"/api/functions/{id_}")["state"])
