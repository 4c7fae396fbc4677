"""The client on real sockets: slow, silent, broken and lying servers; TLS; threads, sockets."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import closing
from pathlib import Path
from typing import Any

import certificates
import marathon_answers as says
import pytest
from raw_server import Exchange, RawServer, serving

import live
from fob.errors import MarathonError, MarathonRefused, MarathonSilent
from fob.marathon import Marathon, blocking_http, client
from fob.marathon.access import access
from fob.marathon.errors import TlsFailed

pytestmark = pytest.mark.parametrize("way", ["direct", "remote"], indirect=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GET_PAUSES", ())


def info(url: str, **settings: Any) -> Any:
    """Return the result of `info()` with short timeouts."""

    async def ask() -> Any:
        marathon = Marathon(url, **({"connect_timeout": 1.0, "read_timeout": 0.3} | settings))
        try:
            return await marathon.info()
        finally:
            await marathon.close()

    return asyncio.run(ask())


def respond_well(exchange: Exchange) -> None:
    exchange.answer(200, b'{"version": "1.5.8"}')


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("url", ["http://x:99999/", "http:///", "x"])
def test_an_invalid_url_is_one_clear_error(url: str) -> None:
    to = access("http://127.0.0.1:1", connect_timeout=1.0, read_timeout=1.0)
    with closing(blocking_http.BlockingHttp(to, 1)) as client, pytest.raises(MarathonError):
        client.send("GET", url)


# faulty servers


def test_a_refused_connection_is_reported_as_such() -> None:
    with pytest.raises(MarathonSilent, match=r"cannot be reached \(Connection refused\)") as caught:
        info(f"http://127.0.0.1:{free_port()}")
    assert caught.value.code == "marathon_unreachable"


def test_a_silent_server_times_out() -> None:
    began = time.monotonic()
    with (
        serving(lambda exchange: exchange.hang()) as server,
        pytest.raises(MarathonSilent, match="did not respond to GET /v2/info in time"),
    ):
        info(server.url)
    assert time.monotonic() - began < 2


def trickle(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not exchange.ended.wait(0.02):
        exchange.send(b" ")


def test_an_endless_slow_response_times_out() -> None:
    began = time.monotonic()
    with serving(trickle) as server, pytest.raises(MarathonSilent, match="in time"):
        info(server.url)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Encoding: gzip\r\n\r\nnope",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
    ],
)
def test_a_broken_response_is_one_clear_error(said: bytes) -> None:
    def play(exchange: Exchange) -> None:
        exchange.send(said)
        exchange.sock.shutdown(socket.SHUT_RDWR)

    with (
        serving(play) as server,
        pytest.raises(MarathonSilent, match="sent no complete response") as caught,
    ):
        info(server.url)
    assert caught.value.code == "marathon_dropped"


# redirects


def test_an_overlong_response_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_http, "MAX_RESPONSE_BYTES", 1000)
    body = b'{"apps": "' + b"x" * 200_000 + b'"}'
    with (
        serving(lambda exchange: exchange.answer(200, body)) as server,
        pytest.raises(MarathonError, match="more than 1000 bytes") as caught,
    ):
        info(server.url)
    assert caught.value.code == "marathon_unintelligible"


def test_a_get_follows_redirects() -> None:
    def play(exchange: Exchange) -> None:
        if exchange.path == "/v2/info":
            exchange.answer(302, Location="/there/v2/info")
        else:
            respond_well(exchange)

    with serving(play) as server:
        assert info(server.url, token="t") == {"version": "1.5.8"}
        assert [seen.headers.get("authorization") for seen in server.seen] == ["token=t"] * 2


def test_a_redirect_loop_is_one_clear_error() -> None:
    with (
        serving(lambda exchange: exchange.answer(302, Location=exchange.path)) as server,
        pytest.raises(MarathonError, match="in a circle"),
    ):
        info(server.url)


@pytest.mark.parametrize("target", ["http://[oops/", "http://x:99999/", "ftp://x/", "http:///"])
def test_a_redirect_to_an_invalid_url_is_one_clear_error(target: str) -> None:
    with (
        serving(lambda exchange: exchange.answer(302, Location=target)) as server,
        pytest.raises(MarathonError),
    ):
        info(server.url)


def test_credentials_do_not_follow_a_redirect_to_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrc password netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(respond_well) as other:
        away = f"http://ann:planted@127.0.0.1:{other.port}/v2/info"
        with serving(lambda exchange: exchange.answer(302, Location=away)) as server:
            info(server.url, token="s3cret")
        assert "authorization" not in other.seen[0].headers


# the environment


def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login netrc password netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serving(respond_well) as server:
        info(server.url)
        assert "authorization" not in server.seen[0].headers


def test_a_local_marathon_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    with serving(respond_well) as server:
        assert info(server.url) == {"version": "1.5.8"}


def test_a_remote_marathon_is_reached_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(respond_well) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert info("http://marathon.invalid:8080") == {"version": "1.5.8"}
        assert proxy.paths() == ["http://marathon.invalid:8080/v2/info"]


def test_cookies_are_not_kept() -> None:
    async def twice(url: str) -> None:
        marathon = Marathon(url)
        await marathon.info()
        await marathon.info()
        await marathon.close()

    with serving(lambda exchange: exchange.answer(200, b"{}", Set_Cookie="a=b")) as server:
        asyncio.run(twice(server.url))
        assert [seen.headers.get("cookie") for seen in server.seen] == [None, None]


# TLS


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> certificates.Certificates:
    return certificates.make(tmp_path_factory.mktemp("pki"))


def test_a_certificate_of_our_own_ca_is_trusted(
    pki: certificates.Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    with serving(respond_well, pki.server_context()) as server:
        assert info(server.url, ca=str(pki.ca)) == {"version": "1.5.8"}


def test_a_certificate_of_an_unknown_ca_is_not_trusted(pki: certificates.Certificates) -> None:
    with (
        serving(respond_well, pki.server_context()) as server,
        pytest.raises(TlsFailed, match=r"unable to get local issuer.* FOB_MARATHON_CA") as caught,
    ):
        info(server.url, token="s3cret")
    assert (caught.value.code, server.seen) == ("marathon_tls", [])


def test_a_certificate_for_another_host_is_not_trusted(tmp_path: Path) -> None:
    other = certificates.make(tmp_path, "DNS:marathon.mesos")
    with (
        serving(respond_well, other.server_context()) as server,
        pytest.raises(TlsFailed, match="the certificate must name the URL's host"),
    ):
        info(server.url, ca=str(other.ca))


def test_tls_to_a_plain_http_server_is_reported_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with listener.accept()[0] as sock:
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                sock.recv(65536)

        greeter = threading.Thread(target=greet)
        greeter.start()
        with pytest.raises(TlsFailed, match="failed: WRONG_VERSION_NUMBER"):
            info(f"https://127.0.0.1:{listener.getsockname()[1]}")
        greeter.join()


def test_after_a_post_that_failed_in_tls_the_app_is_not_requested(
    pki: certificates.Certificates,
) -> None:
    async def create(url: str) -> None:
        marathon = Marathon(url)
        try:
            await marathon.create(says.APP_ID, lambda send: send({"id": says.APP_ID}))
        finally:
            await marathon.close()

    with serving(respond_well, pki.server_context()) as server, pytest.raises(TlsFailed):
        asyncio.run(create(server.url))


# the loop, the threads, the sockets


def test_the_loop_stays_free_while_marathon_hangs() -> None:
    async def watch(url: str) -> float:
        marathon = Marathon(url, read_timeout=0.5)
        asked = asyncio.gather(*(marathon.info() for _ in range(20)), return_exceptions=True)
        longest = 0.0
        while not asked.done():
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)
        await marathon.close()
        assert all(isinstance(outcome, MarathonError) for outcome in await asked)
        return longest

    with serving(lambda exchange: exchange.hang()) as server:
        assert asyncio.run(watch(server.url)) < 0.3


def test_waiting_too_long_for_a_free_thread_is_an_error_of_its_own() -> None:
    async def crowd(url: str) -> list[str]:
        marathon = Marathon(url, connect_timeout=0.1, read_timeout=0.3)
        made = {"id": says.APP_ID}
        asked = (marathon.create(says.APP_ID, lambda send: send(made)) for _ in range(40))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await marathon.close()
        return [str(outcome) for outcome in outcomes]

    with serving(lambda exchange: exchange.hang()) as server:
        errors = asyncio.run(crowd(server.url))
    assert len(errors) == 40
    assert any("connections to Marathon are waiting" in said for said in errors)


def test_a_success_after_the_caller_gave_up_is_not_returned_to_its_post() -> None:
    go_on, ended = threading.Event(), threading.Event()
    outcomes: list[Any] = []

    def post(send: Callable[[Any], Any]) -> Any:
        go_on.wait(10)
        try:
            outcomes.append(send({"id": says.APP_ID}))
        except CancelledError:
            outcomes.append("cancelled")
            raise
        finally:
            ended.set()

    async def create(url: str) -> None:
        marathon = Marathon(url, connect_timeout=0.1, read_timeout=0.1)
        try:
            with pytest.raises(MarathonSilent) as raised:
                await marathon.create(says.APP_ID, post)
            assert raised.value.code == "marathon_unsure"
        finally:
            go_on.set()
            await asyncio.to_thread(ended.wait, 10)
            await marathon.close()

    def respond(exchange: Exchange) -> None:
        exchange.answer(*(201, exchange.body) if exchange.method == "POST" else (404,))

    with serving(respond) as server:
        asyncio.run(create(server.url))
        assert [exchange.method for exchange in server.seen] == ["GET", "POST"]
    assert outcomes == ["cancelled"]


def test_the_number_of_threads_is_limited() -> None:
    async def crowd(url: str) -> int:
        marathon = Marathon(url)
        await asyncio.gather(*(marathon.info() for _ in range(40)))
        used = [t for t in threading.enumerate() if t.name.startswith("marathon")]
        await marathon.close()
        return len(used)

    with serving(respond_well) as server:
        assert asyncio.run(crowd(server.url)) <= client.THREADS


def hang_before_headers(exchange: Exchange) -> None:
    exchange.hang()


def hang_in_body(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")
    exchange.hang()


@pytest.mark.parametrize("play", [hang_before_headers, hang_in_body])
@pytest.mark.parametrize("tls", [False, True])
def test_closing_ends_requests_in_flight_at_once(
    play: Callable[[Exchange], None], tls: bool, pki: certificates.Certificates
) -> None:
    async def close_amid(server: RawServer) -> float:
        marathon = Marathon(server.url, ca=str(pki.ca), read_timeout=60)
        asked = asyncio.gather(marathon.info(), marathon.queue(), return_exceptions=True)
        await asyncio.to_thread(live.until, lambda: len(server.seen) == 2)
        began = time.monotonic()
        await marathon.close()
        took = time.monotonic() - began
        assert all(isinstance(outcome, MarathonError) for outcome in await asked)
        return took

    with serving(play, pki.server_context() if tls else None) as server:
        assert asyncio.run(close_amid(server)) < 1


def test_a_401_is_one_clear_error() -> None:
    def play(exchange: Exchange) -> None:
        exchange.answer(401, says.HTML_401.encode(), Content_Type="text/html")

    with serving(play) as server, pytest.raises(MarathonRefused, match="401 Authorization Requir"):
        info(server.url)
