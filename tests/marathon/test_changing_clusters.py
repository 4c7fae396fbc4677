"""Functions while a cluster changes: outages, leaders, tokens, versions, moved tasks."""

import time
from collections.abc import Callable

import days
import marathon_answers as says
import pytest
from cluster import Cluster
from dispatching import HELLO, SAMPLE, Dispatcher, follows, well
from eras import Era

import live
from fob.marathon import client

pytestmark = pytest.mark.usefixtures("short_pauses")


AWAY = {"no leader": days.says(502, says.HTML_502), "reset": days.resets, "silent": days.hangs}


@pytest.mark.parametrize("name", AWAY)
def test_functions_respond_without_delay_while_marathon_is_away(
    name: str,
    cluster: Cluster,
    dispatch: Callable[..., Dispatcher],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "SILENCE_SECONDS", 2.0)
    dispatcher = dispatch()
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    place = dispatcher.answer("GET", f"/api/meta/{id_}")
    cluster.bad("", AWAY[name], 500)
    cluster.cut()
    began = time.monotonic()
    for _ in range(10):
        assert dispatcher.call(id_) == HELLO
        assert dispatcher.answer("GET", f"/api/meta/{id_}") == place
    assert time.monotonic() - began < 5  # with a timeout of 1 s
    assert dispatcher.ask("GET", f"/api/cs/{id_}").content == SAMPLE
    assert dispatcher.error("GET", f"/api/functions/{id_}")[0] in (503, 504)
    assert dispatcher.answer("GET", "/api/stats") == {"status": "fob up"}
    cluster.good()
    follows(dispatcher, cluster, id_)
    well(dispatcher, cluster, 2)


def test_an_expired_token_stops_changes_but_no_functions(
    cluster: Cluster, dispatch: Callable[..., Dispatcher]
) -> None:
    cluster.authorization = "token=T"
    dispatcher, renewed = dispatch(marathon_token="T"), dispatch(marathon_token="U")
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    cluster.authorization = "token=U"
    assert dispatcher.error("POST", "/api/gen", data=SAMPLE)[:2] == (502, "marathon_unauthorized")
    assert dispatcher.call(id_) == HELLO
    cluster.cut()  # the stream is refused now, too
    assert dispatcher.call(id_) == HELLO
    status, code, message = dispatcher.error("GET", "/api/functions")
    assert (status, code) == (502, "marathon_unauthorized")
    assert "a DC/OS token expires: get a new one" in message
    assert renewed.call(id_) == HELLO
    assert renewed.listed() == [id_]


def test_a_marathon_is_followed_across_an_upgrade(cluster: Cluster, dispatcher: Dispatcher) -> None:
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    for version in ("1.1.1", "1.4.0", "1.11.24"):
        cluster.era = Era(version)
        cluster.apps = {app_id: cluster.era.app(app) for app_id, app in cluster.apps.items()}
        cluster.cut()
        live.until(cluster.listeners, "the stream")
        assert dispatcher.call(id_) == HELLO
        dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"env": {"V": version}})
        new = dispatcher.gen()
        for each in (id_, new):
            follows(dispatcher, cluster, each)
            assert dispatcher.call(each) == HELLO
        dispatcher.answer("DELETE", f"/api/functions/{new}")
    assert dispatcher.ask("GET", f"/api/cs/{id_}").content == SAMPLE
    well(dispatcher, cluster, 2)


def test_a_task_that_moves_to_another_agent_is_followed(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    cluster.host = "127.0.0.2"
    cluster.move(f"/fob-aviary/{id_}")
    moved = live.until(lambda: place(dispatcher, id_)[0] == "127.0.0.2", "the move")
    assert moved
    assert dispatcher.call(id_) == HELLO


def place(dispatcher: Dispatcher, id_: str) -> tuple[str, int]:
    answer = dispatcher.answer("GET", f"/api/meta/{id_}?wait=30")
    return answer["host"], answer["port"]


# changes


@pytest.mark.parametrize("version", ["0.15.3", "1.3.0", "1.11.24"])
def test_a_change_leaves_no_gap(cluster: Cluster, dispatcher: Dispatcher) -> None:
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    [before] = cluster.tasks[f"/fob-aviary/{id_}"]
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"timeout": 5})
    while before in cluster.tasks[f"/fob-aviary/{id_}"]:
        assert dispatcher.call(id_) == HELLO
    assert dispatcher.call(id_) == HELLO


def test_a_change_that_does_not_fit_keeps_the_old_instances_and_says_why(
    cluster: Cluster, dispatcher: Dispatcher
) -> None:
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    cluster.full = True
    dispatcher.answer("PATCH", f"/api/functions/{id_}", json={"env": {"A": "b"}})
    assert dispatcher.call(id_) == HELLO
    [listed] = dispatcher.answer("GET", "/api/functions")["functions"]
    assert listed["state"] == "running"
    assert "1 of 1 instances are ready; another one is pending" in listed["reason"]
    assert "InsufficientMemory (3 of 3 offers)" in listed["reason"]
    [before] = cluster.tasks[f"/fob-aviary/{id_}"]
    cluster.make_room()
    live.until(lambda: before not in cluster.tasks[f"/fob-aviary/{id_}"], "the change")
    assert dispatcher.call(id_) == HELLO


# leaders


@pytest.mark.parametrize("version", ["1.5.8", "1.8.222", "1.11.24"])
def test_a_standby_redirects_to_the_leader_and_later_becomes_the_leader(
    cluster: Cluster, dispatch: Callable[..., Dispatcher]
) -> None:
    cluster.authorization = "token=T"
    standby = cluster.stand()
    dispatcher = dispatch(standby.url + "/service/marathon", marathon_token="T")
    id_ = dispatcher.gen()
    follows(dispatcher, cluster, id_)
    assert dispatcher.call(id_) == HELLO
    cluster.elect(standby)
    live.until(cluster.listeners, "the stream")
    follows(dispatcher, cluster, id_)
    well(dispatcher, cluster, 2)


def test_an_event_stream_of_a_foreign_server_gets_no_token(
    cluster: Cluster, dispatch: Callable[..., Dispatcher]
) -> None:
    cluster.authorization = "token=T"
    other = cluster.stand()  # not the leader
    place = other.url + "/service/marathon/v2/events"
    cluster.bad("GET /v2/events", days.says(302, "", Location=place))
    dispatcher = dispatch(marathon_token="T")
    live.until(cluster.listeners, "the stream, at home")
    assert ["authorization" in each.headers for each in other.seen] == [False]
    well(dispatcher, cluster)
