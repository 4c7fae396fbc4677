"""Requests to a Marathon on this machine: what is sent, and which connections are reused."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from raw_server import Exchange, serving

import live
from fob.errors import FobError
from fob.marathon.access import access
from fob.marathon.blocking_http import BlockingHttp

pytestmark = pytest.mark.parametrize("way", ["direct"], indirect=True)


def http_client(url: str, **settings: str) -> "closing[BlockingHttp]":
    return closing(BlockingHttp(access(url, **settings, connect_timeout=1.0, read_timeout=0.5), 2))


def used(play: Callable[[Exchange], None], times: int = 2) -> list[socket.socket]:
    """Send requests one after another; return the connection that each arrived on."""
    over = threading.Semaphore(0)

    def plays(exchange: Exchange) -> None:
        play(exchange)
        over.release()

    with serving(plays) as server, http_client(server.url) as client:
        for _ in range(times):
            assert client.send("GET", f"{server.url}/v2/info") == {}
            assert over.acquire(timeout=live.PATIENCE_SECONDS)
        return [exchange.sock for exchange in server.seen]


def test_a_request_is_sent_in_one_write() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(live.PATIENCE_SECONDS)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with http_client(url, token="t") as client:
            asked = url + "/v2/apps", {"omit": "long"}, {"cmd": "x" * 4096}
            asking = threading.Thread(target=client.send, args=("POST", *asked))
            asking.start()
            with listener.accept()[0] as sock:
                got = sock.recv(65536)
                sock.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
                asking.join()
    head, _, body = got.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    assert line == "POST /v2/apps?omit=long HTTP/1.1"
    assert {"Authorization: token=t", f"Content-Length: {len(body)}"} <= set(fields)
    assert body == b'{"cmd": "' + b"x" * 4096 + b'"}'


def test_a_connection_is_reused() -> None:
    first, second = used(lambda exchange: exchange.answer(200))
    assert first is second


def closes(exchange: Exchange) -> None:
    exchange.answer(200)
    exchange.sock.shutdown(socket.SHUT_RDWR)


def says_so(exchange: Exchange) -> None:
    exchange.answer(200, Connection="close")


def says_more(exchange: Exchange) -> None:
    exchange.answer(200, b"{}HTTP/1.1 200 OK\r\n\r\n", Content_Length="2")


def until_closed(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n{}")
    exchange.sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("play", [closes, says_so, says_more, until_closed])
def test_a_connection_in_a_doubtful_state_is_not_reused(
    play: Callable[[Exchange], None],
) -> None:
    first, second = used(play)
    assert first is not second


def test_each_thread_uses_its_own_connection() -> None:
    both = threading.Barrier(2, timeout=live.PATIENCE_SECONDS)

    def play(exchange: Exchange) -> None:
        both.wait()
        exchange.answer(200)

    with serving(play) as server, http_client(server.url) as client:
        for _ in range(2):
            asking = [
                threading.Thread(target=client.send, args=("GET", server.url)) for _ in range(2)
            ]
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join()
        socks = [exchange.sock for exchange in server.seen]
    assert len(socks) == 4
    assert len(set(socks)) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 100 Continue\r\n\r\n", "unrequested interim response 100"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n{}", "unrequested content encoding br"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "first line"),
    ],
)
def test_a_malformed_response_is_described(said: bytes, why: str) -> None:
    with (
        serving(lambda exchange: exchange.send(said)) as server,
        http_client(server.url) as client,
        pytest.raises(FobError, match=f"sent no complete response .*{why}") as caught,
    ):
        client.send("GET", server.url)
    assert caught.value.code == "marathon_dropped"


@pytest.fixture
def descriptors() -> Iterator[None]:
    """Check that as many descriptors are open afterwards as before."""
    before = live.descriptors_of(os.getpid())
    yield
    assert live.descriptors_of(os.getpid()) == before


@pytest.mark.usefixtures("descriptors")
@pytest.mark.parametrize("play", [says_so, says_more, lambda exchange: exchange.answer(200)])
def test_closing_leaves_no_connection(play: Callable[[Exchange], None]) -> None:
    used(play)


def test_a_closed_client_sends_nothing() -> None:
    with serving(lambda exchange: exchange.answer(200)) as server:
        with http_client(server.url) as client:
            client.send("GET", server.url)
        with pytest.raises(FobError, match="is closed"):
            client.send("GET", server.url)
