import errno
import os
import sqlite3
import threading
import time

import pytest
import requests
from house import SAMPLE, House

import live
from fob.errors import StorageFailed
from fob.functions import registration
from fob.functions.store import FILE, SnippetRecord
from fob.marathon import client

ID = "11111111-86e3-4966-9060-cf01eef59426"


def not_ready(house: House, id_: str, query: str = "") -> requests.Response:
    answer = house.ask("GET", f"/api/meta/{id_}{query}")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "not_ready"
    return answer


def test_a_refused_registration_leaves_nothing_and_tells_marathons_words(house):
    words = {"message": "Object is not valid", "details": [{"path": "/cpus", "errors": ["no"]}]}
    house.marathon.answers["POST /v2/apps"] = (422, words)
    answer = house.ask("POST", "/api/gen", data=SAMPLE)
    assert answer.status_code == 502
    assert "Object is not valid" in answer.text
    assert house.files() == []
    assert house.marathon.apps == {}


def test_a_registration_nobody_can_vouch_for_is_cleared_up_later(house):
    house.marathon.answers["POST /v2/apps"] = (503, {"message": "busy"})
    house.marathon.answers["GET /v2/apps"] = (503, {"message": "busy"})
    answer = house.ask("POST", "/api/gen", data=SAMPLE)
    assert answer.json()["error"]["code"] == "marathon_unsure"
    [id_] = house.snippets.pending()
    # ... it was made after all
    house.marathon.apps[f"/fob-aviary/{id_}"] = {"id": f"/fob-aviary/{id_}"}
    house.marathon.answers.clear()
    house.run(house.functions.settle())
    assert house.marathon.apps == {}
    assert house.files() == []


def test_a_registration_that_a_crash_cut_off_is_cleared_up(house):
    house.snippets.put(ID, SnippetRecord(SAMPLE, "", ""))
    house.run(house.functions.settle())
    assert house.files() == []


def test_a_registration_that_may_have_been_told_of_stays_when_the_machine_went_down(house):
    [kept, gone] = [ID, ID.replace("1", "2")]
    for id_ in (kept, gone):
        house.snippets.put(id_, SnippetRecord(SAMPLE, "", ""))
    with sqlite3.connect(house.folder / FILE) as db:
        db.execute("UPDATE snippets SET boot = 'another'")
    house.marathon.apps[f"/fob-aviary/{kept}"] = {"id": f"/fob-aviary/{kept}"}
    house.run(house.functions.settle())
    assert list(house.marathon.apps) == [f"/fob-aviary/{kept}"]
    assert house.files() == [f"{kept}.snippet"]


def test_settling_leaves_a_registration_in_hand_alone(house):
    house.marathon.answers["POST /v2/apps"] = (201, None)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(
            requests.post(house.url + "/api/gen", data=SAMPLE, timeout=30)
        )
    )
    asking.start()
    live.until(lambda: "POST /v2/apps" in house.marathon.asked, "the registration")
    house.run(house.functions.settle())
    assert len(house.snippets.pending()) == 1
    house.on_loop(house.marathon.close)
    asking.join()
    assert len([name for name in house.files() if name.endswith(".snippet")]) == 1


def test_a_store_that_cannot_write_asks_marathon_nothing(house, monkeypatch):
    def full(*_):
        raise StorageFailed("full")

    monkeypatch.setattr(house.snippets, "put", full)
    assert house.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert "POST /v2/apps" not in house.marathon.asked


def test_a_store_that_cannot_confirm_takes_the_app_back(house, monkeypatch):
    def full(*_):
        raise StorageFailed("full")

    monkeypatch.setattr(house.snippets, "confirm", full)
    assert house.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert house.marathon.apps == {}
    assert house.files() == []


def test_a_disk_that_does_not_keep_the_record_takes_the_app_back(house, monkeypatch):
    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    assert house.error("POST", "/api/gen", data=SAMPLE) == (507, "storage_failed")
    assert house.marathon.apps == {}
    assert house.files() == []


def test_nobody_is_told_before_the_record_is_on_the_disk(house, monkeypatch):
    kept, answers = threading.Event(), []
    files = []

    def slow(fd):
        files.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        kept.wait(live.PATIENCE_SECONDS)

    monkeypatch.setattr(os, "fdatasync", slow)
    asking = threading.Thread(target=lambda: answers.append(house.gen()))
    asking.start()
    live.until(lambda: house.marathon.apps, "the registration")
    asking.join(0.2)
    assert (answers, files) == ([], ["snippets.db-wal"])
    kept.set()
    asking.join()
    assert house.files() == [f"{answers[0]}.snippet"]


def test_a_registration_that_marathon_takes_at_the_second_try_is_stored_once(house, monkeypatch):
    monkeypatch.setattr(client, "CHANGE_PAUSES", (0.5,))
    told = {"message": "Max number of deployments"}
    house.marathon.answers["POST /v2/apps"] = (403, told)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(house.gen()))
    asking.start()
    live.until(lambda: "POST /v2/apps" in house.marathon.asked, "the first try")
    del house.marathon.answers["POST /v2/apps"]
    asking.join()
    assert house.files() == [f"{answers[0]}.snippet"]
    marks = house.snippets.marks(answers[0])
    assert [mark.name for mark in marks] == ["received", "stored", "posted", "accepted"]


def test_meta_says_why_it_is_not_ready(house):
    id_ = house.gen()
    house.app(id_)["deployments"] = []
    rejected = {"reason": "InsufficientCpus", "declined": 1, "processed": 1}
    house.marathon.queue = [
        {
            "app": {"id": f"/fob-aviary/{id_}"},
            "delay": {"timeLeftSeconds": 0, "overdue": True},
            "processedOffersSummary": {"rejectSummaryLastOffers": [rejected]},
        }
    ]
    answer = not_ready(house, id_)
    assert answer.headers["Retry-After"] == "1"
    assert answer.json()["error"]["details"]["state"] == "waiting"
    assert "InsufficientCpus" in answer.json()["error"]["message"]


def test_a_failed_import_is_told_with_its_traceback_and_not_waited_for(house):
    id_ = house.gen()
    house.fail(id_, "it cannot be imported (exit 3)\nTraceback\n  line 1\nValueError: boom")
    began = time.monotonic()
    answer = not_ready(house, id_, "?wait=20")
    assert time.monotonic() - began < 5
    details = answer.json()["error"]["details"]
    assert details["state"] == "failed"
    assert details["next_retry_seconds"] is None
    assert "ValueError: boom" in details["last_failure"]["message"]
    assert answer.headers["Retry-After"] == "60"


def test_wait_holds_the_answer_until_an_instance_is_ready(house):
    id_ = house.gen()
    timer = threading.Timer(0.3, house.place, (id_, 4711))
    timer.start()
    began = time.monotonic()
    answer = house.ask("GET", f"/api/meta/{id_}?wait=20")
    timer.join()
    assert answer.json() == {"host": "127.0.0.1", "port": 4711}
    assert 0.2 < time.monotonic() - began < 3


def test_wait_ends_at_its_deadline(house):
    id_ = house.gen()
    began = time.monotonic()
    not_ready(house, id_, "?wait=0.3")
    assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.parametrize("query", ["?wait=-1", "?wait=x", "?wait=nan", "?wait=301", "?weight=1"])
def test_a_wrong_wait_is_refused(house, query):
    assert house.error("GET", f"/api/meta/{ID}{query}") == (400, "bad_option")


def test_several_instances_are_named_in_turn(house):
    id_ = house.gen(query="?instances=2")
    house.place(id_, 4711, name="1")
    house.place(id_, 4712, name="2")

    def port():
        return house.ask("GET", f"/api/meta/{id_}").json()["port"]

    live.until(lambda: port() == 4712, "that the second one is known")
    ports = [port() for _ in range(4)]
    assert sorted(ports) == [4711, 4711, 4712, 4712]


def test_what_the_table_knows_is_answered_without_marathon(house):
    id_ = house.gen()
    house.place(id_, 4711)
    assert house.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    house.marathon.asked.clear()
    assert house.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711
    assert house.marathon.asked == []


def test_while_marathon_is_away_what_was_known_last_is_answered(house):
    id_ = house.gen()
    house.place(id_, 4711)
    assert house.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    house.marathon.answers["GET /v2"] = (500, {"message": "broken"})
    house.on_loop(house.marathon.close)
    live.until(lambda: not house.tasks.fresh, "the loss of the stream")
    assert house.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711


def test_a_new_dispatcher_knows_the_functions_there_are(house, make_house):
    id_ = house.gen()
    house.place(id_, 4711)
    house.functions._timeouts.clear()
    assert house.ask("GET", f"/api/meta/{id_}").json()["port"] == 4711
    for name in os.listdir(house.folder):
        (house.folder / name).unlink()
    assert house.ask("GET", f"/api/cs/{id_}").content == SAMPLE


def test_the_list_has_every_function_and_no_other_app(house):
    first, second = house.gen(query="?name=one"), house.gen()
    house.place(first, 4711)
    house.marathon.apps["/fob-aviary/web"] = {"id": "/fob-aviary/web", "labels": {}}
    listed = listed_as(house, "id", {first: "running", second: "starting"})
    assert listed[0]["name"] == "one"
    assert "FOB_FUNCTION" not in str(listed)


def listed_as(house, key, states):
    """The list, once it has the functions of `states` by this key, and no others, in these states:
    what a Marathon tells takes its time."""

    def listed():
        found = house.ask("GET", "/api/functions").json()["functions"]
        return found if {f[key]: f["state"] for f in found} == states else None

    return live.until(listed, "the list", 10)


def heavy(house):
    """The requests whose answers hold files, on a Marathon that knows no other."""
    return [asked for asked in house.marathon.asked if asked.startswith("GET /v2/apps")]


def test_a_list_is_made_of_what_is_known(house):
    ids = [house.gen(query=f"?name=n{number}") for number in range(3)]
    house.ask("GET", "/api/functions")
    house.marathon.asked.clear()
    ids.append(house.gen(query="?name=n3"))
    house.place(ids[0], 4711)
    house.fail(ids[1], "it ended")
    house.ask("DELETE", f"/api/functions/{ids[2]}")
    house.marathon.asked.clear()
    listed_as(house, "name", {"n0": "running", "n1": "failed", "n3": "starting"})
    assert heavy(house) == []


def test_a_list_tells_of_what_others_did(house):
    mine, other = house.gen(), "22222222-86e3-4966-9060-cf01eef59426"

    def wanted() -> dict[str, int]:
        listed = house.ask("GET", "/api/functions").json()["functions"]
        return {f["id"]: f["instances_wanted"] for f in listed}

    assert wanted() == {mine: 1}
    app = house.app(mine)
    house.marathon.apps[f"/fob-aviary/{other}"] = app | {"id": f"/fob-aviary/{other}"}
    house.on_loop(house.marathon.changed, "another version")
    live.until(lambda: wanted() == {mine: 1, other: 1}, "the news of an app")
    app |= {"instances": 0, "version": "2016-05-02T00:00:00.000Z"}
    house.on_loop(house.marathon.changed, "2016-05-02T00:00:00.000Z")
    live.until(lambda: wanted() == {mine: 0, other: 1}, "the news of a change")


def test_a_change_of_settings_is_in_the_list(house):
    id_ = house.gen()
    house.ask("GET", "/api/functions")
    house.ask("PATCH", f"/api/functions/{id_}", json={"name": "new"})
    (listed,) = house.ask("GET", "/api/functions").json()["functions"]
    assert listed["name"] == "new"


def test_a_function_just_made_is_waited_for_without_asking(house):
    id_ = house.gen()
    house.marathon.asked.clear()
    timer = threading.Timer(0.1, house.place, (id_, 4711))
    timer.start()
    assert house.ask("GET", f"/api/meta/{id_}?wait=20").json()["port"] == 4711
    timer.join()
    assert house.marathon.asked == []


def test_the_details_have_settings_instances_and_timelines_but_no_secrets(house):
    id_ = house.gen(query="?env.KEY=hidden&cpus=0.2")
    house.place(id_, 4711)
    task = house.app(id_)["tasks"][0]["id"]
    house.marathon.files[task, "timeline"] = b"123 2016-04-02T23:09:47.123Z listening\n"
    answer = house.ask("GET", f"/api/functions/{id_}")
    details = answer.json()
    assert "hidden" not in answer.text
    assert details["settings"]["env"] == ["KEY"]
    assert details["settings"]["cpus"] == 0.2
    marks = [mark["mark"] for mark in details["timeline"]]
    assert marks == ["received", "stored", "posted", "accepted"]
    assert details["instances"][0]["port"] == 4711
    mark = {"mark": "listening", "at_ns": 123, "at": "2016-04-02T23:09:47.123Z"}
    assert details["instances"][0]["timeline"] == [mark]


def test_a_change_reaches_marathon(house):
    id_ = house.gen(query="?env.KEY=1")
    answer = house.ask(
        "PATCH", f"/api/functions/{id_}", json={"instances": 0, "timeout": 5, "name": "new"}
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["settings"]["timeout"] == 5
    assert answer.json()["state"] == "suspended"
    assert answer.json()["name"] == "new"
    assert house.app(id_)["env"]["KEY"] == "1"


@pytest.mark.parametrize("body", ["", "x", "[]", "{}", '{"entry": "x"}', "[" * 10000])
def test_a_change_that_makes_no_sense_changes_nothing(house, body):
    id_ = house.gen()
    assert house.error("PATCH", f"/api/functions/{id_}", data=body)[0] == 400
    assert f"PUT /v2/apps/fob-aviary/{id_}" not in house.marathon.asked


def test_a_removed_function_is_gone_on_both_sides_at_once(house):
    id_ = house.gen()
    house.place(id_, 4711)
    assert house.ask("GET", f"/api/meta/{id_}?wait=5").status_code == 200
    assert house.ask("DELETE", f"/api/functions/{id_}").json() == {"id": id_}
    assert house.marathon.apps == {}
    assert house.files() == []
    for route in ("meta/{}", "cs/{}", "functions/{}", "call/{}"):
        assert house.error("GET", "/api/" + route.format(id_)) == (404, "not_found")
    assert house.error("DELETE", f"/api/functions/{id_}") == (404, "not_found")


def test_a_function_removed_at_marathon_is_gone_here_and_its_removal_forgets_the_file(house):
    id_ = house.gen()
    house.marathon.apps.clear()
    for route in ("meta/{}", "cs/{}", "functions/{}", "call/{}"):
        assert house.error("GET", "/api/" + route.format(id_)) == (404, "not_found")
    assert f"{id_}.snippet" in house.files()
    assert house.error("DELETE", f"/api/functions/{id_}") == (404, "not_found")
    assert house.files() == []


def test_the_code_is_there_while_marathon_is_away(house):
    id_ = house.gen()
    house.marathon.answers["GET /v2/apps"] = (500, {"message": "away"})
    assert house.ask("GET", f"/api/cs/{id_}").content == SAMPLE


def test_an_app_that_marathon_makes_later_than_it_said_is_cleared_up(house, monkeypatch):
    house.marathon.answers["POST /v2/apps"] = (503, {"message": "Futures timed out"})
    answer = house.ask("POST", "/api/gen", data=SAMPLE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "marathon_unsure")
    house.marathon.answers.clear()
    house.run(house.functions.settle())
    [id_] = house.snippets.pending()
    house.marathon.apps[f"/fob-aviary/{id_}"] = {"id": f"/fob-aviary/{id_}"}
    house.run(house.functions.settle())
    assert (house.marathon.apps, house.files()) == ({}, [])


def test_an_app_that_marathon_never_makes_is_not_awaited_for_ever(house, monkeypatch):
    monkeypatch.setattr(registration, "UNSURE_SECONDS", 0.0)
    house.marathon.answers["POST /v2/apps"] = (503, {"message": "Futures timed out"})
    assert house.error("POST", "/api/gen", data=SAMPLE) == (503, "marathon_unsure")
    house.run(house.functions.settle())
    assert house.files() == []


def test_a_removal_that_marathon_refuses_keeps_the_record(house):
    id_ = house.gen()
    house.marathon.answers["DELETE"] = (503, {"message": "busy"})
    assert house.error("DELETE", f"/api/functions/{id_}")[0] == 503
    assert f"{id_}.snippet" in house.files()


def test_the_code_comes_back_byte_for_byte(house):
    body = "# -*- coding: latin-1 -*-\r\ndef f():\r\n    return 'é'".encode("latin-1")
    answer = house.ask("GET", f"/api/cs/{house.gen(body)}")
    assert answer.content == body
    assert answer.headers["Content-Type"] == "text/x-python"
