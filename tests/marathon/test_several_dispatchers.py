"""Several dispatchers on one Marathon return the same, whichever of them makes a change."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cluster import Cluster
from dispatching import HELLO, SAMPLE, Dispatcher
from raw_server import Exchange, serving

import live

Both = tuple[Dispatcher, Dispatcher]
ROUTES = ("/api/meta/{}", "/api/cs/{}", "/api/functions/{}", "/api/call/{}")


@pytest.fixture
def both(dispatch: Callable[..., Dispatcher]) -> Both:
    return dispatch(), dispatch()


def same(both: Both, path: str) -> bytes:
    """Return the response of both once it is the same: events reach them one after the other."""

    def agreed() -> list[bytes]:
        answers = [each.ask("GET", path) for each in both]
        said = {(answer.status_code, answer.content) for answer in answers}
        return [answers[0].content] if len(said) == 1 else []

    return bytes(live.until(agreed, f"one answer for {path}")[0])


def user(cluster: Cluster, method: str, path: str, **options: Any) -> None:
    """Send a request to Marathon directly, without fob."""
    answer = requests.request(method, cluster.url + path, timeout=30, **options)
    assert answer.status_code == 200, answer.text


def gone(both: Both, id_: str) -> None:
    """Check that the function exists nowhere any more."""
    for each in both:
        live.until(lambda each=each: id_ not in each.listed(), "a list without it")
        for route in ROUTES:
            assert each.error("GET", route.format(id_))[:2] == (404, "not_found")


@pytest.mark.parametrize("version", ["1.1.1", "1.11.24"])
def test_a_function_of_one_dispatcher_is_found_called_changed_and_removed_by_another(
    both: Both, cluster: Cluster
) -> None:
    one, other = both
    id_ = one.gen(query="?name=hello")
    place = one.ask("GET", f"/api/meta/{id_}?wait=30").content
    assert same(both, f"/api/meta/{id_}") == place
    assert same(both, f"/api/cs/{id_}") == SAMPLE
    assert id_.encode() in same(both, "/api/functions")
    assert other.call(id_) == one.call(id_) == HELLO
    described = [each.answer("GET", f"/api/functions/{id_}") for each in both]
    assert [len(each.pop("timeline")) for each in described] == [4, 0]
    other.answer("PATCH", f"/api/functions/{id_}", json={"name": "bye", "timeout": 7})
    changed = same(both, "/api/functions")
    assert b'"bye"' in changed
    assert one.answer("GET", f"/api/functions/{id_}")["settings"]["timeout"] == 7
    other.answer("DELETE", f"/api/functions/{id_}")
    gone(both, id_)
    assert cluster.apps == {}


def test_a_dispatcher_drops_the_file_when_the_function_is_removed_there_too(
    both: Both,
) -> None:
    one, other = both
    id_ = one.gen(query="?instances=0")
    other.answer("DELETE", f"/api/functions/{id_}")
    assert f"{id_}.snippet" in one.files()
    assert [each.error("DELETE", f"/api/functions/{id_}")[0] for each in both] == [404, 404]
    assert one.files() == []


def test_changes_made_in_marathon_are_seen_by_all(both: Both, cluster: Cluster) -> None:
    id_ = both[0].gen()
    app = f"/v2/apps/fob-aviary/{id_}"
    assert both[1].call(id_) == HELLO
    user(cluster, "PUT", app, json={"instances": 2})
    for each in both:
        live.until(lambda each=each: instances(each) == (2, 2), "two instances")
    assert b'"instances_ready": 2' in same(both, "/api/functions")
    user(cluster, "PUT", app, json={"instances": 0})
    assert b'"suspended"' in live.until(lambda: at_rest(same(both, "/api/functions")), "rest")
    user(cluster, "DELETE", app)
    gone(both, id_)


def test_a_group_deleted_in_marathon_takes_its_functions_and_is_recreated(
    both: Both, cluster: Cluster
) -> None:
    ids = [each.gen() for each in both]
    for id_ in ids:
        assert both[0].call(id_) == both[1].call(id_) == HELLO
    user(cluster, "DELETE", "/v2/groups/fob-aviary")
    for id_ in ids:
        gone(both, id_)
    assert same(both, "/api/functions") == b'{"functions": []}'
    again = both[0].gen()
    assert both[1].call(again) == HELLO
    assert both[0].listed() == both[1].listed() == [again]


def test_two_dispatchers_register_at_the_same_time(both: Both) -> None:
    with ThreadPoolExecutor(10) as pool:
        made = list(pool.map(lambda n: both[n % 2].gen(query="?instances=0"), range(20)))
    same(both, "/api/functions")
    assert sorted(both[0].listed()) == sorted(both[1].listed()) == sorted(made)


def test_two_dispatchers_remove_the_same_function_at_the_same_time(
    both: Both, cluster: Cluster
) -> None:
    ids = [both[0].gen(query="?instances=0") for _ in range(5)]
    for id_ in ids:
        path = f"/api/functions/{id_}"
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda each, path=path: each.ask("DELETE", path), both))
        assert {answer.status_code for answer in answers} <= {200, 404}
        gone(both, id_)
    assert cluster.apps == {}


def test_a_client_of_a_load_balancer_notices_no_difference(
    both: Both, front: Dispatcher, cluster: Cluster
) -> None:
    """Consecutive requests go to different dispatchers."""
    id_ = front.gen(query="?name=hello")
    for _ in range(2):
        assert front.call(id_) == HELLO
        assert front.ask("GET", f"/api/cs/{id_}").content == SAMPLE
        [task] = cluster.tasks[f"/fob-aviary/{id_}"]
        place = {"host": "127.0.0.1", "port": task["ports"][0]}
        assert front.answer("GET", f"/api/meta/{id_}") == place
        assert front.answer("GET", f"/api/functions/{id_}")["name"] == "hello"
        assert front.ask("GET", f"/api/functions/{id_}/logs").status_code == 200
    front.answer("PATCH", f"/api/functions/{id_}", json={"name": "bye"})
    for _ in range(2):
        assert front.answer("GET", f"/api/functions/{id_}")["name"] == "bye"
    front.answer("DELETE", f"/api/functions/{id_}")
    for _ in range(2):
        assert front.error("GET", f"/api/functions/{id_}")[0] == 404
    assert [len(each.files()) for each in both].count(0) >= 1


@pytest.fixture
def front(both: Both) -> Iterator[Dispatcher]:
    """A load balancer that alternates between both dispatchers."""
    turns = itertools.cycle(both)

    def play(exchange: Exchange) -> None:
        answer = next(turns).ask(exchange.method, exchange.path, data=exchange.body)
        kind = answer.headers["Content-Type"]
        exchange.answer(answer.status_code, answer.content, Content_Type=kind)

    with serving(play) as server:
        yield Front(server.url)


class Front(Dispatcher):
    """The dispatchers behind a load balancer, as a client sees them."""

    def __init__(self, url: str) -> None:
        self.url = url


def instances(dispatcher: Dispatcher) -> tuple[int, int]:
    [listed] = dispatcher.answer("GET", "/api/functions")["functions"]
    return listed["instances_wanted"], listed["instances_ready"]


def at_rest(listed: bytes) -> bytes:
    return listed if b'"suspended"' in listed else b""
