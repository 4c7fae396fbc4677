import pytest
import requests
from local_service import LocalService


def running(service: LocalService, names: str = "1", **files: bytes) -> tuple[str, list[str]]:
    """A function with an instance for each letter of `names`, all with these logs."""
    id_ = service.gen()
    for name in names:
        service.place(id_, 4711, name=name)
    tasks = [task["id"] for task in service.app(id_)["tasks"]]
    for task in tasks:
        service.marathon.files |= {(task, stream): text for stream, text in files.items()}
    return id_, tasks


def text(service: LocalService, id_: str, query: str = "") -> str:
    response = service.ask("GET", f"/api/functions/{id_}/logs{query}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=UTF-8"
    return response.text


def test_both_streams_are_shown_under_their_titles(service):
    id_, [task] = running(service, stdout=b"out\n", stderr=b"err\n")
    assert text(service, id_) == f"==> stdout of {task} <==\nout\n==> stderr of {task} <==\nerr\n"


def test_a_single_stream_is_shown_without_a_title(service):
    id_, _ = running(service, stdout="é\n".encode(), stderr=b"err\n")
    assert text(service, id_, "?stream=stdout") == "é\n"
    assert text(service, id_, "?stream=stderr") == "err\n"


def test_tail_selects_the_last_lines(service):
    id_, _ = running(service, stdout=b"1\n2\n3\n4")
    assert text(service, id_, "?stream=stdout&tail=2") == "3\n4"
    assert text(service, id_, "?stream=stdout&tail=0") == ""


def test_a_long_log_is_read_in_chunks(service):
    id_, _ = running(service, stdout=b"".join(b"%07d\n" % n for n in range(100_000)))
    lines = text(service, id_, "?stream=stdout&tail=10000").splitlines()
    assert lines == [f"{n:07}" for n in range(90_000, 100_000)]


def test_a_missing_log_is_empty(service):
    id_, _ = running(service)
    assert text(service, id_) == ""
    assert text(service, service.gen()) == ""


def test_the_log_of_a_failed_instance_is_shown(service):
    id_, [task] = running(service, stderr=b"ValueError: boom\n")
    service.fail(id_, "exit 3")
    assert "ValueError: boom" in text(service, id_)
    service.place(id_, 4712, name="2")
    assert "ValueError: boom" not in text(service, id_)
    assert "ValueError: boom" in text(service, id_, f"?task={task}")


def test_one_instance_can_be_selected(service):
    id_, [one, two] = running(service, names="12")
    service.marathon.files |= {(one, "stdout"): b"one\n", (two, "stdout"): b"two\n"}
    assert text(service, id_, f"?task={two}&stream=stdout") == "two\n"


@pytest.mark.parametrize(
    "query", ["tail=x", "tail=-1", "tail=10001", "stream=x", "follow=2", "x=1"]
)
def test_a_wrong_query_is_refused(service, query):
    id_ = service.gen()
    assert service.error("GET", f"/api/functions/{id_}/logs?{query}") == (400, "bad_option")


def test_follow_sends_new_lines_until_the_client_disconnects(service):
    id_, [task] = running(service, stdout=b"one\n")
    url = f"{service.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as response:
        lines = response.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        service.marathon.files[task, "stdout"] += b"two\n"
        assert next(lines) == b"two"
        service.marathon.files[task, "stdout"] = b"3\n"  # rotated
        assert next(lines) == b"3"


def test_follow_includes_new_instances_and_ends_with_the_function(service):
    id_, _ = running(service, stdout=b"one\n")
    url = f"{service.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as response:
        lines = response.iter_lines(chunk_size=1)
        assert next(lines) == b"one"
        service.place(id_, 4712, name="2")
        task = service.app(id_)["tasks"][1]["id"]
        service.marathon.files[task, "stdout"] = b"two\n"
        assert next(lines) == f"==> stdout of {task} <==".encode()
        assert next(lines) == b"two"
        service.ask("DELETE", f"/api/functions/{id_}")
        assert b"There is no function" in next(lines)
        assert list(lines) == []


def test_a_stop_does_not_wait_for_followers(service):
    id_, _ = running(service, stdout=b"one\n")
    url = f"{service.url}/api/functions/{id_}/logs?follow&stream=stdout"
    with requests.get(url, stream=True, timeout=10) as response:
        assert next(response.iter_lines(chunk_size=1)) == b"one"
        assert service.run(service.in_flight.stop(1)) == 0
