"""What the connections do when the machine is short of something, or somebody makes a mistake."""

import errno
import socket
import threading

import pytest
from test_calls import echo
from wire import Wire

import live
from fob.dispatcher import front
from fob.http import listener
from fob.http.server import ClientConnection


class Scarce(socket.socket):
    """A listening socket of a process that may open no further file."""

    refusals = 0

    def accept(self):
        if not self.refusals:
            self.refusals += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_a_descriptor_left_connections_wait_until_there_is_one(house, monkeypatch, caplog):
    monkeypatch.setattr(listener, "ACCEPT_PAUSE_SECONDS", 0.1)
    sock = Scarce()
    sock.bind(("127.0.0.1", 0))
    house.on_loop(house.front.listen, [sock])
    with Wire(sock.getsockname()[1]) as wire:
        wire.ask("GET /api/stats")
        assert wire.answer().status == 200
    assert sock.refusals == 1
    assert "Accepting no connections for 0.1 s: Too many open files" in caplog.text


def test_a_mistake_of_ours_costs_one_connection(house, monkeypatch, caplog):
    with Wire(house.port) as other, Wire(house.port) as wire:
        other.ask("GET /api/stats")
        assert other.answer().status == 200
        with monkeypatch.context() as broken:
            broken.setattr(ClientConnection, "data_received", lambda *_: 1 / 0)
            wire.ask("GET /api/stats")
            with pytest.raises((AssertionError, ConnectionError)):
                wire.answer()
        other.ask("GET /api/stats")
        assert other.answer().status == 200
    assert "ZeroDivisionError" in caplog.text


def test_a_connection_that_cannot_be_made_takes_no_answer_of_others_along(
    house, monkeypatch, caplog
):
    """All of it is there in one turn of the loop, and answers are sent at its end."""
    with Wire(house.port) as first, Wire(house.port) as second:
        for wire in (first, second):
            wire.ask("GET /api/stats")
            assert wire.answer().status == 200
        held, release = threading.Event(), threading.Event()
        busy = threading.Thread(target=house.on_loop, args=(_hold, held, release))
        busy.start()
        held.wait()
        for wire in (first, second):
            wire.send("GET /api/call/x HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        with monkeypatch.context() as broken:
            broken.setattr(front, "ClientConnection", lambda *_: 1 / 0)
            with socket.create_connection(("127.0.0.1", house.port)):
                release.set()
                busy.join()
                for wire in (first, second):
                    assert wire.answer().status == 403
    assert "ZeroDivisionError" in caplog.text


def _hold(held, release):
    held.set()
    release.wait(live.PATIENCE_SECONDS)


def test_who_talks_without_end_leaves_time_for_others(house):
    """The loop's own work goes on while connections have more to say than can be served."""
    id_ = house.function(echo)
    request = f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    loud = [Wire(house.port) for _ in range(100)]
    try:
        for wire in loud:
            wire.send(request * 20)
        with Wire(house.port) as wire:
            wire.ask("GET /api/stats")
            assert wire.answer().status == 200
        for wire in loud:
            for _ in range(20):
                assert wire.answer().status == 200
    finally:
        for wire in loud:
            wire.socket.close()
    live.until(lambda: not house.routing.pool.calls, "the end of all calls")


def test_a_function_is_found_by_name_too(house):
    id_ = house.gen()
    house.place(id_, house.listen(echo), host="localhost")
    assert house.ask("GET", f"/api/call/{id_}").status_code == 200
