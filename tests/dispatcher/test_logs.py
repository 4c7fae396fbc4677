import pytest
import requests
from house import House


def running(house: House, names: str = "1", **files: bytes) -> tuple[str, list[str]]:
    """A function with an instance for each letter of `names`, all with these logs."""
    id_ = house.gen()
    for name in names:
        house.place(id_, 4711, name=name)
    tasks = [task["id"] for task in house.app(id_)["tasks"]]
    for task in tasks:
        house.marathon.files |= {(task, stream): text for stream, text in files.items()}
    return id_, tasks


def text(house: House, id_: str, query: str = "") -> str:
    answer = house.ask("GET", f"/api/functions/{id_}/logs{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; charset=UTF-8"
    return answer.text


def test_both_streams_come_under_their_titles(house):
    id_, [task] = running(house, stdout=b"out\n", stderr=b"err\n")
    assert text(house, id_) == f"==> stdout of {task} <==\nout\n==> stderr of {task} <==\nerr\n"


def test_one_stream_comes_as_it_is(house):
    id_, _ = running(house, stdout="é\n".encode(), stderr=b"err\n")
    assert text(house, id_, "?stream=stdout") == "é\n"
    assert text(house, id_, "?stream=stderr") == "err\n"


def test_tail_gives_the_last_lines(house):
    id_, _ = running(house, stdout=b"1\n2\n3\n4")
    assert text(house, id_, "?stream=stdout&tail=2") == "3\n4"
    assert text(house, id_, "?stream=stdout&tail=0") == ""


def test_a_long_log_is_read_piece_by_piece(house):
    id_, _ = running(house, stdout=b"".join(b"%07d\n" % n for n in range(100_000)))
    lines = text(house, id_, "?stream=stdout&tail=10000").splitlines()
    assert lines == [f"{n:07}" for n in range(90_000, 100_000)]


def test_a_function_without_a_log_has_an_empty_one(house):
    id_, _ = running(house)
    assert text(house, id_) == ""
    assert text(house, house.gen()) == ""


def test_the_log_of_the_instance_that_failed_is_there(house):
    id_, [task] = running(house, stderr=b"ValueError: boom\n")
    house.fail(id_, "exit 3")
    assert "ValueError: boom" in text(house, id_)
    house.place(id_, 4712, name="2")
    assert "ValueError: boom" not in text(house, id_)
    assert "ValueError: boom" in text(house, id_, f"?task={task}")


def test_one_instance_can_be_asked_for(house):
    id_, [one, two] = running(house, names="12")
    house.marathon.files |= {(one, "stdout"): b"one\n", (two, "stdout"): b"two\n"}
    assert text(house, id_, f"?task={two}&stream=stdout") == "two\n"


@pytest.mark.parametrize(
    "query", ["tail=x", "tail=-1", "tail=10001", "stream=x", "follow=2", "x=1"]
)
def test_a_wrong_query_is_refused(house, query):
    id_ = house.gen()
    assert house.error("GET", f"/api/functions/{id_}/logs?{query}") == (400, "bad_option")


def test_follow_tells_what_comes_until_the_client_goes(house):
    id_, [task] = running(house, stdout=b"one\n")
    url = f"{house.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as answer:
        lines = answer.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        house.marathon.files[task, "stdout"] += b"two\n"
        assert next(lines) == b"two"
        house.marathon.files[task, "stdout"] = b"3\n"  # rotated
        assert next(lines) == b"3"


def test_follow_tells_of_new_instances_and_ends_with_the_function(house):
    id_, _ = running(house, stdout=b"one\n")
    url = f"{house.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as answer:
        lines = answer.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        house.place(id_, 4712, name="2")
        task = house.app(id_)["tasks"][1]["id"]
        house.marathon.files[task, "stdout"] = b"two\n"
        assert next(lines) == f"==> stdout of {task} <==".encode()
        assert next(lines) == b"two"
        house.ask("DELETE", f"/api/functions/{id_}")
        assert b"There is no function" in next(lines)
        assert list(lines) == []


def test_a_stop_does_not_wait_for_followers(house):
    id_, _ = running(house, stdout=b"one\n")
    url = f"{house.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as answer:
        assert next(answer.iter_lines(chunk_size=1)) == b"one"
        assert house.run(house.in_flight.stop(1)) == 0
