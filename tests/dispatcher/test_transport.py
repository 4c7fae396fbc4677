"""Connections when descriptors run out, when our own code raises, and under load."""

import errno
import socket
import threading

import pytest
from raw_client import RawClient
from test_calls import echo

import live
from fob.dispatcher import front
from fob.http import listener
from fob.http.server import ClientConnection


class Scarce(socket.socket):
    """A listening socket of a process that may not open another file."""

    refusals = 0

    def accept(self):
        if not self.refusals:
            self.refusals += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


def test_without_a_free_descriptor_connections_wait_in_the_queue(service, monkeypatch, caplog):
    monkeypatch.setattr(listener, "ACCEPT_PAUSE_SECONDS", 0.1)
    sock = Scarce()
    sock.bind(("127.0.0.1", 0))
    service.on_loop(service.front.listen, [sock])
    with RawClient(sock.getsockname()[1]) as client:
        client.ask("GET /api/stats")
        assert client.response().status == 200
    assert sock.refusals == 1
    assert "Accepting no connections for 0.1 s: Too many open files" in caplog.text


def test_an_exception_in_a_protocol_costs_one_connection(service, monkeypatch, caplog):
    with RawClient(service.port) as other, RawClient(service.port) as client:
        other.ask("GET /api/stats")
        assert other.response().status == 200
        with monkeypatch.context() as broken:
            broken.setattr(ClientConnection, "data_received", lambda *_: 1 / 0)
            client.ask("GET /api/stats")
            with pytest.raises((AssertionError, ConnectionError)):
                client.response()
        other.ask("GET /api/stats")
        assert other.response().status == 200
    assert "ZeroDivisionError" in caplog.text


def test_a_connection_that_fails_to_start_loses_no_response_of_others(service, monkeypatch, caplog):
    """Everything arrives in one batch, at whose end the responses are sent."""
    with RawClient(service.port) as first, RawClient(service.port) as second:
        for client in (first, second):
            client.ask("GET /api/stats")
            assert client.response().status == 200
        held, release = threading.Event(), threading.Event()
        busy = threading.Thread(target=service.on_loop, args=(_hold, held, release))
        busy.start()
        held.wait()
        for client in (first, second):
            client.send("GET /api/call/x HTTP/1.1\r\nHost: elsewhere\r\n\r\n")
        with monkeypatch.context() as broken:
            broken.setattr(front, "ClientConnection", lambda *_: 1 / 0)
            with socket.create_connection(("127.0.0.1", service.port)):
                release.set()
                busy.join()
                for client in (first, second):
                    assert client.response().status == 403
    assert "ZeroDivisionError" in caplog.text


def _hold(held, release):
    held.set()
    release.wait(live.PATIENCE_SECONDS)


def test_busy_connections_leave_time_for_the_loop(service):
    """Timers and tasks run although connections are always readable."""
    id_ = service.function(echo)
    request = f"GET /api/call/{id_} HTTP/1.1\r\nHost: localhost\r\n\r\n"
    loud = [RawClient(service.port) for _ in range(100)]
    try:
        for client in loud:
            client.send(request * 20)
        with RawClient(service.port) as client:
            client.ask("GET /api/stats")
            assert client.response().status == 200
        for client in loud:
            for _ in range(20):
                assert client.response().status == 200
    finally:
        for client in loud:
            client.socket.close()
    live.until(lambda: not service.routing.pool.calls, "the end of all calls")


def test_the_host_of_an_instance_may_be_a_name(service):
    id_ = service.gen()
    service.place(id_, service.listen(echo), host="localhost")
    assert service.ask("GET", f"/api/call/{id_}").status_code == 200
