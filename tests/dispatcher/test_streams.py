"""Backpressure: bodies larger than all buffers, and peers that read slowly or not at all."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from local_service import LocalService
from raw_client import RawClient
from test_calls import echo, head_of, http_response

from fob.dispatcher import front

WHOLE_BYTES = 100_000_000
# more than the kernel buffers on two connections, and the dispatcher itself
BUFFERED_BYTES = 50_000_000
PIECE = bytes(range(256)) * 256


def settled(count: Callable[[], int]) -> int:
    """The count once it has stopped growing."""
    last = -1
    while (now := count()) != last or not now:
        last = now
        time.sleep(0.3)
    return last


class Slow:
    """A function that reads no body until `go` is set, and then responds with its hash."""

    def __init__(self) -> None:
        self.go = threading.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, headers = await head_of(reader)
        await asyncio.to_thread(self.go.wait, 30)
        taken = hashlib.sha256()
        if "content-length" in headers:
            left = int(headers["content-length"])
            while left:
                piece = await reader.read(min(left, 1 << 20))
                taken.update(piece)
                left -= len(piece)
        else:
            while size := int(await reader.readline(), 16):
                taken.update(await reader.readexactly(size))
                await reader.readline()
        writer.write(http_response(taken.hexdigest().encode()))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_function_that_reads_nothing_blocks_its_client(service, chunked):
    slow = Slow()
    id_ = service.function(slow)
    sent = 0
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    pieces = WHOLE_BYTES // len(PIECE)
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {pieces * len(PIECE)}"

    with RawClient(service.port, timeout=30) as client:

        def send() -> None:
            nonlocal sent
            client.ask(f"POST /api/call/{id_}", how)
            for _ in range(pieces):
                client.send(piece)
                sent += len(piece)
            client.send(b"0\r\n\r\n" if chunked else b"")

        sending = threading.Thread(target=send)
        sending.start()
        assert settled(lambda: sent) < BUFFERED_BYTES
        slow.go.set()
        digest = client.response().body
        sending.join()
    assert digest.decode() == hashlib.sha256(PIECE * pieces).hexdigest()


@pytest.mark.parametrize("how", [f"Content-Length: {WHOLE_BYTES // len(PIECE) * len(PIECE)}", ""])
def test_a_client_that_reads_nothing_blocks_its_function(service, how):
    sent = 0

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{how or 'Connection: close'}\r\n\r\n".encode())
        for _ in range(WHOLE_BYTES // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
            sent += len(PIECE)

    id_ = service.function(talks)
    with RawClient(service.port, timeout=30) as client:
        client.ask(f"GET /api/call/{id_}")
        assert settled(lambda: sent) < BUFFERED_BYTES
        body = client.response().body
    assert body == PIECE * (WHOLE_BYTES // len(PIECE))


def test_pipelined_requests_wait_until_responses_are_read(service):
    called = 0

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        while not reader.at_eof():
            try:
                await head_of(reader)
            except asyncio.IncompleteReadError:
                return
            called += 1
            writer.write(http_response(PIECE * 2))

    id_ = service.function(talks)
    request = f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with RawClient(service.port, timeout=30, receive_bytes=65536) as client:
        client.send(request * 500)
        assert settled(lambda: called) < 250
        for _ in range(500):
            assert client.response().body == PIECE * 2
    assert called == 500


@pytest.mark.parametrize("extra", range(0, 400_000, 50_000))
def test_a_slow_client_occupies_no_connection_that_others_need(service, extra):
    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                line, _ = await head_of(reader)
            except asyncio.IncompleteReadError:
                return
            size = 3_000_000 + extra if "slow" in line else 1
            writer.write(http_response(b"x" * size))

    id_ = service.function(talks)
    with RawClient(service.port, receive_bytes=65536) as slow, RawClient(service.port) as other:
        slow.ask(f"GET /api/call/{id_}/slow")
        other.ask(f"GET /api/call/{id_}")
        assert other.response().body == b"x"
        assert len(slow.response().body) == 3_000_000 + extra
        for _ in range(3):
            other.ask(f"GET /api/call/{id_}")
            assert other.response().body == b"x"


def test_a_body_of_a_hundred_thousand_chunks_passes(service):
    id_ = service.function(echo)
    with RawClient(service.port, timeout=30) as client:
        client.ask(f"POST /api/call/{id_}", "Transfer-Encoding: chunked")
        client.send(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert client.response().body.count(b"x") >= 100_000


def test_a_client_that_disconnects_during_a_response_frees_its_function(service):
    freed = threading.Event()

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(PIECE)
                await writer.drain()
        except ConnectionError:
            freed.set()

    with RawClient(service.port) as client:
        client.ask(f"GET /api/call/{service.function(talks)}")
        assert client.socket.recv(100)
    assert freed.wait(10)
    assert service.run(service.in_flight.stop(5)) == 0


class Counting:
    """A function that counts its calls, and responds to each at once with 32 KiB."""

    def __init__(self) -> None:
        self.called = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await head_of(reader)
                self.called += 1
                writer.write(http_response(PIECE[: 32 * 1024]))


def waiting(service: LocalService, client: RawClient) -> int:
    """Send many requests and read nothing; return how many responses are waiting."""
    counting = Counting()
    id_ = service.function(counting)
    client.send(f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
    called = settled(lambda: counting.called)
    assert called < 500
    return called


def take(client: RawClient, responses: int) -> None:
    for _ in range(responses):
        assert client.response().body == PIECE[: 32 * 1024]


def test_a_stop_lets_clients_read_complete_responses(service, monkeypatch):
    monkeypatch.setattr(front, "FLUSH_SECONDS", 10)
    with RawClient(service.port, receive_bytes=65536) as client:
        called = waiting(service, client)
        assert service.run(service.in_flight.stop(5)) == 0
        closing = threading.Thread(target=service.run, args=(service.front.close(),))
        closing.start()
        take(client, called)
        assert client.rest() == b""
        closing.join()


def test_a_stop_does_not_wait_long_for_clients_that_read_nothing(service, monkeypatch):
    monkeypatch.setattr(front, "FLUSH_SECONDS", 0.2)
    with RawClient(service.port, receive_bytes=65536) as client:
        called = waiting(service, client)
        service.run(service.front.close())
        with pytest.raises((AssertionError, ConnectionError)):
            take(client, called)
