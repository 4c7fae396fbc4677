"""The load generator in Python: it counts whole answers, and omits no wait."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from bench import load, stats

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
STALL_SECONDS = 0.4


@contextmanager
def server(answer: bytes, stalls_after: int = -1) -> Iterator[int]:
    """A server of one connection, in a thread; it sleeps once, after that many answers."""

    def serve() -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            answered = 0
            while connection.recv(65536):
                if answered == stalls_after:
                    time.sleep(STALL_SECONDS)
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])
                answered += 1

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_answers_in_pieces_are_counted_whole() -> None:
    with server(ANSWER + b"hello") as port:
        found = load.run("closed", "127.0.0.1", port, "/", 1, "0.05")
    assert found["latencies_us"]
    assert found["seconds"] >= 0.05


def test_an_answer_that_is_not_200_ends_it() -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"
    with (
        pytest.raises(ValueError, match="404 Not Found none"),
        server(answer) as port,
    ):
        load.run("closed", "127.0.0.1", port, "/", 1, "5")


def test_a_stalled_server_raises_the_open_loops_p99() -> None:
    with server(ANSWER + b"hello", stalls_after=100) as port:
        closed = load.run("closed", "127.0.0.1", port, "/", 1, "1")
    with server(ANSWER + b"hello", stalls_after=100) as port:
        opened = load.run("open", "127.0.0.1", port, "/", 1, "2", "500", "1")
    # one answer of the closed loop was late; in the open loop all that were due meanwhile are
    assert late(opened) > 10 * late(closed) > 0
    assert stats.point(opened["latencies_us"], 0.99) > STALL_SECONDS * 0.8e6
    assert opened["unanswered"] == 0


def late(found: dict[str, Any]) -> int:
    return sum(taken > STALL_SECONDS * 0.5e6 for taken in found["latencies_us"])


def test_requests_never_answered_are_counted_with_the_time_they_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it accepts, and says nothing
        port = listener.getsockname()[1]
        found = load.run("open", "127.0.0.1", port, "/", 2, "0.1", "200", "1")
    assert found["unanswered"] == len(found["latencies_us"]) > 2
    assert min(found["latencies_us"]) >= 0.1e6


def test_a_seed_repeats_the_moments() -> None:
    first, again, other = (list(load._due(0, 1, 100, random.Random(s))) for s in (1, 1, 2))
    assert first == again != other
    assert len(first) == pytest.approx(100, abs=40)
