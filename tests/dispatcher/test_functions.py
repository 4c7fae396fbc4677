import errno
import os
import sqlite3
import threading
import time

import pytest
import requests
from local_service import SAMPLE, LocalService

import live
from fob.errors import StorageFailed
from fob.functions import registration
from fob.functions.store import FILE, SnippetRecord
from fob.marathon import client

ID = "11111111-86e3-4966-9060-cf01eef59426"


def not_ready(service: LocalService, id_: str, query: str = "") -> requests.Response:
    response = service.ask("GET", f"/api/meta/{id_}{query}")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"
    return response


def test_a_refused_registration_leaves_nothing_and_quotes_marathon(service):
    words = {"message": "Object is not valid", "details": [{"path": "/cpus", "errors": ["no"]}]}
    service.marathon.responses["POST /v2/apps"] = (422, words)
    response = service.ask("POST", "/api/gen", data=SAMPLE)
    assert response.status_code == 502
    assert "Object is not valid" in response.text
    assert service.files() == []
    assert service.marathon.apps == {}


def test_a_registration_of_unknown_outcome_is_removed_later(service):
    service.marathon.responses["POST /v2/apps"] = (503, {"message": "busy"})
    service.marathon.responses["GET /v2/apps"] = (503, {"message": "busy"})
    response = service.ask("POST", "/api/gen", data=SAMPLE)
    assert response.json()["error"]["code"] == "marathon_unsure"
    [id_] = service.snippets.pending()
    # ... it was created after all
    service.marathon.apps[f"/fob-aviary/{id_}"] = {"id": f"/fob-aviary/{id_}"}
    service.marathon.responses.clear()
    service.run(service.functions.settle())
    assert service.marathon.apps == {}
    assert service.files() == []


def test_a_registration_interrupted_by_a_crash_is_removed(service):
    service.snippets.put(ID, SnippetRecord(SAMPLE, "", ""))
    service.run(service.functions.settle())
    assert service.files() == []


def test_a_registration_that_may_have_been_confirmed_survives_a_power_failure(service):
    [kept, gone] = [ID, ID.replace("1", "2")]
    for id_ in (kept, gone):
        service.snippets.put(id_, SnippetRecord(SAMPLE, "", ""))
    with sqlite3.connect(service.folder / FILE) as db:
        db.execute("UPDATE snippets SET boot = 'another'")
    service.marathon.apps[f"/fob-aviary/{kept}"] = {"id": f"/fob-aviary/{kept}"}
    service.run(service.functions.settle())
    assert list(service.marathon.apps) == [f"/fob-aviary/{kept}"]
    assert service.files() == [f"{kept}.snippet"]


def test_settling_leaves_a_registration_in_flight_alone(service):
    service.marathon.responses["POST /v2/apps"] = (201, None)
    responses = []
    asking = threading.Thread(
        target=lambda: responses.append(
            requests.post(service.url + "/api/gen", data=SAMPLE, timeout=30)
        )
    )
    asking.start()
    live.until(lambda: "POST /v2/apps" in service.marathon.asked, "the registration")
    service.run(service.functions.settle())
    assert len(service.snippets.pending()) == 1
    service.on_loop(service.marathon.close)
    asking.join()
    assert len([name for name in service.files() if name.endswith(".snippet")]) == 1


def test_a_store_that_cannot_write_sends_marathon_nothing(service, monkeypatch):
    def full(*_):
        raise StorageFailed("full")

    monkeypatch.setattr(service.snippets, "put", full)
    assert service.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert "POST /v2/apps" not in service.marathon.asked


def test_a_store_that_cannot_confirm_removes_the_app(service, monkeypatch):
    def full(*_):
        raise StorageFailed("full")

    monkeypatch.setattr(service.snippets, "confirm", full)
    assert service.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert service.marathon.apps == {}
    assert service.files() == []


def test_a_record_that_cannot_be_synced_removes_the_app(service, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    assert service.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert service.marathon.apps == {}
    assert service.files() == []


def test_the_response_waits_until_the_record_is_on_disk(service, monkeypatch):
    kept, responses = threading.Event(), []
    files = []

    def slow(fd):
        files.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        kept.wait(live.PATIENCE_SECONDS)

    monkeypatch.setattr(os, "fdatasync", slow)
    asking = threading.Thread(target=lambda: responses.append(service.gen()))
    asking.start()
    live.until(lambda: service.marathon.apps, "the registration")
    asking.join(0.2)
    assert (responses, files) == ([], ["snippets.db-wal"])
    kept.set()
    asking.join()
    assert service.files() == [f"{responses[0]}.snippet"]


def test_a_registration_that_succeeds_on_retry_is_stored_once(service, monkeypatch):
    monkeypatch.setattr(client, "CHANGE_PAUSES", (0.5,))
    refusal = {"message": "Max number of deployments"}
    service.marathon.responses["POST /v2/apps"] = (403, refusal)
    responses = []
    asking = threading.Thread(target=lambda: responses.append(service.gen()))
    asking.start()
    live.until(lambda: "POST /v2/apps" in service.marathon.asked, "the first try")
    del service.marathon.responses["POST /v2/apps"]
    asking.join()
    assert service.files() == [f"{responses[0]}.snippet"]
    marks = service.snippets.marks(responses[0])
    assert [mark.name for mark in marks] == ["received", "stored", "posted", "accepted"]


def test_meta_says_why_it_is_not_ready(service):
    id_ = service.gen()
    service.app(id_)["deployments"] = []
    rejected = {"reason": "InsufficientCpus", "declined": 1, "processed": 1}
    service.marathon.queue = [
        {
            "app": {"id": f"/fob-aviary/{id_}"},
            "delay": {"timeLeftSeconds": 0, "overdue": True},
            "processedOffersSummary": {"rejectSummaryLastOffers": [rejected]},
        }
    ]
    response = not_ready(service, id_)
    assert response.headers["Retry-After"] == "1"
    assert response.json()["error"]["details"]["state"] == "waiting"
    assert "InsufficientCpus" in response.json()["error"]["message"]


def test_a_failed_import_is_an_error_with_its_traceback_at_once(service):
    id_ = service.gen()
    service.fail(id_, "it cannot be imported (exit 3)\nTraceback\n  line 1\nValueError: boom")
    began = time.monotonic()
    response = not_ready(service, id_, "?wait=20")
    assert time.monotonic() - began < 5
    details = response.json()["error"]["details"]
    assert details["state"] == "failed"
    assert details["next_retry_seconds"] is None
    assert "ValueError: boom" in details["last_failure"]["message"]
    assert response.headers["Retry-After"] == "60"


def test_wait_delays_the_response_until_an_instance_is_ready(service):
    id_ = service.gen()
    timer = threading.Timer(0.3, service.place, (id_, 4711))
    timer.start()
    began = time.monotonic()
    response = service.ask("GET", f"/api/meta/{id_}?wait=20")
    timer.join()
    assert response.json() == {"host": "127.0.0.1", "port": 4711}
    assert 0.2 < time.monotonic() - began < 3


def test_wait_ends_at_its_deadline(service):
    id_ = service.gen()
    began = time.monotonic()
    not_ready(service, id_, "?wait=0.3")
    assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.parametrize("query", ["?wait=-1", "?wait=x", "?wait=nan", "?wait=301", "?weight=1"])
def test_a_wrong_wait_is_refused(service, query):
    assert service.error("GET", f"/api/meta/{ID}{query}") == (400, "bad_option")


def test_several_instances_take_turns(service):
    id_ = service.gen(query="?instances=2")
    service.place(id_, 4711, name="1")
    service.place(id_, 4712, name="2")

    def port():
        return service.ask("GET", f"/api/meta/{id_}").json()["port"]

    live.until(lambda: port() == 4712, "that the second one is known")
    ports = [port() for _ in range(4)]
    assert sorted(ports) == [4711, 4711, 4712, 4712]


def test_meta_is_served_from_the_table_without_marathon(service):
    id_ = service.gen()
    service.place(id_, 4711)
    assert service.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    service.marathon.asked.clear()
    assert service.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711
    assert service.marathon.asked == []


def test_while_marathon_is_unreachable_meta_is_served_from_the_last_known_state(service):
    id_ = service.gen()
    service.place(id_, 4711)
    assert service.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    service.marathon.responses["GET /v2"] = (500, {"message": "broken"})
    service.on_loop(service.marathon.close)
    live.until(lambda: not service.tasks.fresh, "the loss of the stream")
    assert service.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711


def test_a_new_dispatcher_knows_existing_functions(service, make_service):
    id_ = service.gen()
    service.place(id_, 4711)
    service.functions._timeouts.clear()
    assert service.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711
    for name in os.listdir(service.folder):
        (service.folder / name).unlink()
    assert service.ask("GET", f"/api/cs/{id_}").content == SAMPLE


def test_the_list_has_every_function_and_no_other_apps(service):
    first, second = service.gen(query="?name=one"), service.gen()
    service.place(first, 4711)
    service.marathon.apps["/fob-aviary/web"] = {"id": "/fob-aviary/web", "labels": {}}
    listed = listed_as(service, "id", {first: "running", second: "starting"})
    assert listed[0]["name"] == "one"
    assert "FOB_FUNCTION" not in str(listed)


def listed_as(service, key, states):
    """The list, once it has exactly the functions in `states`, by this key, in these states.

    Events from Marathon take time to arrive.
    """

    def listed():
        found = service.ask("GET", "/api/functions").json()["functions"]
        return found if {f[key]: f["state"] for f in found} == states else None

    return live.until(listed, "the list", 10)


def heavy(service):
    """The requests whose responses include files, on a Marathon that cannot leave them out."""
    return [asked for asked in service.marathon.asked if asked.startswith("GET /v2/apps")]


def test_the_list_is_served_from_the_cache(service):
    ids = [service.gen(query=f"?name=n{number}") for number in range(3)]
    service.ask("GET", "/api/functions")
    service.marathon.asked.clear()
    ids.append(service.gen(query="?name=n3"))
    service.place(ids[0], 4711)
    service.fail(ids[1], "it ended")
    service.ask("DELETE", f"/api/functions/{ids[2]}")
    service.marathon.asked.clear()
    listed_as(service, "name", {"n0": "running", "n1": "failed", "n3": "starting"})
    assert heavy(service) == []


def test_the_list_shows_changes_made_by_others(service):
    mine, other = service.gen(), "22222222-86e3-4966-9060-cf01eef59426"

    def wanted() -> dict[str, int]:
        listed = service.ask("GET", "/api/functions").json()["functions"]
        return {f["id"]: f["instances_wanted"] for f in listed}

    assert wanted() == {mine: 1}
    app = service.app(mine)
    service.marathon.apps[f"/fob-aviary/{other}"] = app | {"id": f"/fob-aviary/{other}"}
    service.on_loop(service.marathon.changed, "another version")
    live.until(lambda: wanted() == {mine: 1, other: 1}, "the news of an app")
    app |= {"instances": 0, "version": "2016-05-02T00:00:00.000Z"}
    service.on_loop(service.marathon.changed, "2016-05-02T00:00:00.000Z")
    live.until(lambda: wanted() == {mine: 0, other: 1}, "the news of a change")


def test_the_list_shows_a_change_of_settings(service):
    id_ = service.gen()
    service.ask("GET", "/api/functions")
    service.ask("PATCH", f"/api/functions/{id_}", json={"name": "new"})
    (listed,) = service.ask("GET", "/api/functions").json()["functions"]
    assert listed["name"] == "new"


def test_waiting_for_a_new_function_does_not_poll_marathon(service):
    id_ = service.gen()
    service.marathon.asked.clear()
    timer = threading.Timer(0.1, service.place, (id_, 4711))
    timer.start()
    assert service.ask("GET", f"/api/meta/{id_}?wait=20").json()["port"] == 4711
    timer.join()
    assert service.marathon.asked == []


def test_the_details_have_settings_instances_and_timelines_but_no_secrets(service):
    id_ = service.gen(query="?env.KEY=hidden&cpus=0.2")
    service.place(id_, 4711)
    task = service.app(id_)["tasks"][0]["id"]
    service.marathon.files[task, "timeline"] = b"123 2016-04-02T23:09:47.123Z listening\n"
    response = service.ask("GET", f"/api/functions/{id_}")
    details = response.json()
    assert "hidden" not in response.text
    assert details["settings"]["env"] == ["KEY"]
    assert details["settings"]["cpus"] == 0.2
    marks = [mark["mark"] for mark in details["timeline"]]
    assert marks == ["received", "stored", "posted", "accepted"]
    assert details["instances"][0]["port"] == 4711
    mark = {"mark": "listening", "at_ns": 123, "at": "2016-04-02T23:09:47.123Z"}
    assert details["instances"][0]["timeline"] == [mark]


def test_a_change_reaches_marathon(service):
    id_ = service.gen(query="?env.KEY=1")
    response = service.ask(
        "PATCH", f"/api/functions/{id_}", json={"instances": 0, "timeout": 5, "name": "new"}
    )
    assert response.status_code == 200, response.text
    assert response.json()["settings"]["timeout"] == 5
    assert response.json()["state"] == "suspended"
    assert response.json()["name"] == "new"
    assert service.app(id_)["env"]["KEY"] == "1"


@pytest.mark.parametrize("body", ["", "x", "[]", "{}", '{"entry": "x"}', "[" * 10000])
def test_an_invalid_change_changes_nothing(service, body):
    id_ = service.gen()
    assert service.error("PATCH", f"/api/functions/{id_}", data=body)[0] == 400
    assert f"PUT /v2/apps/fob-aviary/{id_}" not in service.marathon.asked


def test_a_removed_function_is_gone_on_both_sides(service):
    id_ = service.gen()
    service.place(id_, 4711)
    assert service.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    assert service.ask("DELETE", f"/api/functions/{id_}").json() == {"id": id_}
    assert service.marathon.apps == {}
    assert service.files() == []
    for route in ("meta/{}", "cs/{}", "functions/{}", "call/{}"):
        assert service.error("GET", "/api/" + route.format(id_)) == (404, "not_found")
    assert service.error("DELETE", f"/api/functions/{id_}") == (404, "not_found")


def test_a_function_removed_at_marathon_is_unknown_and_its_removal_deletes_the_file(service):
    id_ = service.gen()
    service.marathon.apps.clear()
    for route in ("meta/{}", "cs/{}", "functions/{}", "call/{}"):
        assert service.error("GET", "/api/" + route.format(id_)) == (404, "not_found")
    assert f"{id_}.snippet" in service.files()
    assert service.error("DELETE", f"/api/functions/{id_}") == (404, "not_found")
    assert service.files() == []


def test_the_code_is_served_while_marathon_is_unreachable(service):
    id_ = service.gen()
    service.marathon.responses["GET /v2/apps"] = (500, {"message": "away"})
    assert service.ask("GET", f"/api/cs/{id_}").content == SAMPLE


def test_an_app_that_marathon_creates_late_is_removed(service, monkeypatch):
    service.marathon.responses["POST /v2/apps"] = (503, {"message": "Futures timed out"})
    response = service.ask("POST", "/api/gen", data=SAMPLE)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "marathon_unsure")
    service.marathon.responses.clear()
    service.run(service.functions.settle())
    [id_] = service.snippets.pending()
    service.marathon.apps[f"/fob-aviary/{id_}"] = {"id": f"/fob-aviary/{id_}"}
    service.run(service.functions.settle())
    assert (service.marathon.apps, service.files()) == ({}, [])


def test_an_app_that_marathon_never_creates_is_not_awaited_forever(service, monkeypatch):
    monkeypatch.setattr(registration, "UNSURE_SECONDS", 0.0)
    service.marathon.responses["POST /v2/apps"] = (503, {"message": "Futures timed out"})
    assert service.error("POST", "/api/gen", data=SAMPLE) == (503, "marathon_unsure")
    service.run(service.functions.settle())
    assert service.files() == []


def test_a_removal_that_marathon_refuses_keeps_the_record(service):
    id_ = service.gen()
    service.marathon.responses["DELETE"] = (503, {"message": "busy"})
    assert service.error("DELETE", f"/api/functions/{id_}")[0] == 503
    assert f"{id_}.snippet" in service.files()


def test_the_code_is_returned_byte_for_byte(service):
    body = "# -*- coding: latin-1 -*-\r\ndef f():\r\n    return 'é'".encode("latin-1")
    response = service.ask("GET", f"/api/cs/{service.gen(body)}")
    assert response.content == body
    assert response.headers["Content-Type"] == "text/x-python"
