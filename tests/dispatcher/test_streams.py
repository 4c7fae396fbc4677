"""Bodies that are larger than all buffers: who is slow makes the other side wait."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable

import pytest
from house import House
from test_calls import answer, echo, head_of
from wire import Wire

from fob.dispatcher import front

WHOLE_BYTES = 100_000_000
# what the kernel takes on two connections, and our own buffers
BUFFERED_BYTES = 50_000_000
PIECE = bytes(range(256)) * 256


def settled(count: Callable[[], int]) -> int:
    """The count once it has stopped to grow."""
    last = -1
    while (now := count()) != last or not now:
        last = now
        time.sleep(0.3)
    return last


class Slow:
    """A function that takes nothing of a body until it is let go, and then tells its hash."""

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
        writer.write(answer(taken.hexdigest().encode()))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_function_that_takes_nothing_holds_up_its_client(house, chunked):
    slow = Slow()
    id_ = house.function(slow)
    sent = 0
    piece = b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE
    pieces = WHOLE_BYTES // len(PIECE)
    how = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {pieces * len(PIECE)}"

    with Wire(house.port, timeout=30) as wire:

        def send() -> None:
            nonlocal sent
            wire.ask(f"POST /api/call/{id_}", how)
            for _ in range(pieces):
                wire.send(piece)
                sent += len(piece)
            wire.send(b"0\r\n\r\n" if chunked else b"")

        sending = threading.Thread(target=send)
        sending.start()
        assert settled(lambda: sent) < BUFFERED_BYTES
        slow.go.set()
        told = wire.answer().body
        sending.join()
    assert told.decode() == hashlib.sha256(PIECE * pieces).hexdigest()


@pytest.mark.parametrize("how", [f"Content-Length: {WHOLE_BYTES // len(PIECE) * len(PIECE)}", ""])
def test_a_client_that_reads_nothing_holds_up_its_function(house, how):
    sent = 0

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head_of(reader)
        writer.write(f"HTTP/1.1 200 OK\r\n{how or 'Connection: close'}\r\n\r\n".encode())
        for _ in range(WHOLE_BYTES // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
            sent += len(PIECE)

    id_ = house.function(talks)
    with Wire(house.port, timeout=30) as wire:
        wire.ask(f"GET /api/call/{id_}")
        assert settled(lambda: sent) < BUFFERED_BYTES
        body = wire.answer().body
    assert body == PIECE * (WHOLE_BYTES // len(PIECE))


def test_a_client_that_reads_no_answers_is_not_given_more_of_them(house):
    called = 0

    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        while not reader.at_eof():
            try:
                await head_of(reader)
            except asyncio.IncompleteReadError:
                return
            called += 1
            writer.write(answer(PIECE * 2))

    id_ = house.function(talks)
    request = f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(house.port, timeout=30, receive_bytes=65536) as wire:
        wire.send(request * 500)
        assert settled(lambda: called) < 250
        for _ in range(500):
            assert wire.answer().body == PIECE * 2
    assert called == 500


@pytest.mark.parametrize("extra", range(0, 400_000, 50_000))
def test_a_client_that_reads_slowly_takes_no_connection_from_others(house, extra):
    async def talks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not reader.at_eof():
            try:
                line, _ = await head_of(reader)
            except asyncio.IncompleteReadError:
                return
            size = 3_000_000 + extra if "slow" in line else 1
            writer.write(answer(b"x" * size))

    id_ = house.function(talks)
    with Wire(house.port, receive_bytes=65536) as slow, Wire(house.port) as other:
        slow.ask(f"GET /api/call/{id_}/slow")
        other.ask(f"GET /api/call/{id_}")
        assert other.answer().body == b"x"
        assert len(slow.answer().body) == 3_000_000 + extra
        for _ in range(3):
            other.ask(f"GET /api/call/{id_}")
            assert other.answer().body == b"x"


def test_a_body_of_a_hundred_thousand_chunks_passes(house):
    id_ = house.function(echo)
    with Wire(house.port, timeout=30) as wire:
        wire.ask(f"POST /api/call/{id_}", "Transfer-Encoding: chunked")
        wire.send(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
        assert wire.answer().body.count(b"x") >= 100_000


def test_a_client_that_goes_in_the_middle_of_an_answer_frees_its_function(house):
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

    with Wire(house.port) as wire:
        wire.ask(f"GET /api/call/{house.function(talks)}")
        assert wire.socket.recv(100)
    assert freed.wait(10)
    assert house.run(house.in_flight.stop(5)) == 0


class Counting:
    """A function that counts its calls, and answers each at once with 32 KiB."""

    def __init__(self) -> None:
        self.called = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await head_of(reader)
                self.called += 1
                writer.write(answer(PIECE[: 32 * 1024]))


def waiting(house: House, wire: Wire) -> int:
    """Have the client ask for much and take nothing; how many answers there are for it."""
    counting = Counting()
    id_ = house.function(counting)
    wire.send(f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
    called = settled(lambda: counting.called)
    assert called < 500
    return called


def take(wire: Wire, answers: int) -> None:
    for _ in range(answers):
        assert wire.answer().body == PIECE[: 32 * 1024]


def test_a_stop_lets_clients_take_what_is_answered(house, monkeypatch):
    monkeypatch.setattr(front, "FLUSH_SECONDS", 10)
    with Wire(house.port, receive_bytes=65536) as wire:
        called = waiting(house, wire)
        assert house.run(house.in_flight.stop(5)) == 0
        closing = threading.Thread(target=house.run, args=(house.front.close(),))
        closing.start()
        take(wire, called)
        assert wire.rest() == b""
        closing.join()


def test_a_stop_does_not_wait_long_for_clients_that_take_nothing(house, monkeypatch):
    monkeypatch.setattr(front, "FLUSH_SECONDS", 0.2)
    with Wire(house.port, receive_bytes=65536) as wire:
        called = waiting(house, wire)
        house.run(house.front.close())
        with pytest.raises((AssertionError, ConnectionError)):
            take(wire, called)
