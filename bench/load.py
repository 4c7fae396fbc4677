"""The load generator in Python: keep-alive HTTP GETs over raw sockets, in a process of its own.

    python -m bench.load closed HOST PORT PATH CONNECTIONS SECONDS
    python -m bench.load open HOST PORT PATH CONNECTIONS SECONDS RATE SEED

*closed*: each connection asks again as soon as it is answered. *open*: requests are due at random
moments, RATE a second on average (a Poisson process), whether or not the server keeps up; one that
is due takes a free connection or waits for one, and its latency counts from when it was due. So a
server that stalls is charged for every request that it kept waiting.

Prints {"seconds", "latencies_us", "unanswered"} in JSON. Those not answered PATIENCE_SECONDS after
the last was due are given up, with the latency they have by then.
"""

import json
import random
import select
import socket
import sys
import time
from collections import deque
from typing import Any

RECEIVE_BYTES = 65536
PATIENCE_SECONDS = 5.0
SPIN_NS = 2_000_000  # before a request is due: epoll wakes up to a millisecond late


class Connection:
    """One connection, and the answer it is waiting for."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.since_ns = 0
        self._host = f"{host}:{port}"
        self._received = b""

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The body of the answer, which must be 200."""
        self.send(self.request(method, path, body))
        while (answer := self.answer()) is None:
            pass
        return answer

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        return f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{length}\r\n".encode() + body

    def send(self, request: bytes) -> None:
        self._received = b""
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """Take what has come: the body once it is whole. Raises `ValueError` unless 200."""
        piece = self.socket.recv(RECEIVE_BYTES)
        if not piece:
            raise ValueError(f"the connection was closed after {self._received[:200]!r}")
        self._received += piece
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or len(body) < _content_length(head):
            return None
        if not head.startswith(b"HTTP/1.1 200 "):
            status = head.partition(b"\r\n")[0] + b" " + body[:300]
            raise ValueError(f"answered {status.decode(errors='replace')}")
        return body

    def close(self) -> None:
        self.socket.close()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"no Content-Length in {head!r}")


class Load:
    """Connections to one server, and the latencies of what they asked."""

    def __init__(self, host: str, port: int, path: str, connections: int) -> None:
        self.latencies_us: list[float] = []
        self._free = deque(Connection(host, port) for _ in range(connections))
        self._request = self._free[0].request("GET", path)
        self._busy: dict[int, Connection] = {}
        self._epoll = select.epoll()
        for connection in self._free:
            self._epoll.register(connection.socket, select.EPOLLIN)

    def closed(self, seconds: float) -> float:
        """Keep every connection asking for `seconds`, and until one is answered; the seconds."""
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(seconds * 1e9)
        while (now_ns := time.monotonic_ns()) < end_ns or not self.latencies_us:
            while self._free:
                self._ask(time.monotonic_ns())
            self._take(0.1)
        return (now_ns - started_ns) / 1e9

    def open(self, seconds: float, rate: float, seed: int) -> int:
        """Ask at random moments for `seconds`; how many were never answered."""
        due = _due(time.monotonic_ns(), seconds, rate, random.Random(seed))
        end_ns = due[-1] + int(PATIENCE_SECONDS * 1e9)
        while (due or self._busy) and (now_ns := time.monotonic_ns()) < end_ns:
            while due and self._free and due[0] <= now_ns:
                self._ask(due.popleft())
            self._take(_pause(due[0] if due and self._free else None))
        waiting = [connection.since_ns for connection in self._busy.values()] + list(due)
        self.latencies_us += [(time.monotonic_ns() - since) / 1e3 for since in waiting]
        return len(waiting)

    def close(self) -> None:
        self._epoll.close()
        for connection in (*self._free, *self._busy.values()):
            connection.close()

    def _ask(self, since_ns: int) -> None:
        connection = self._free.popleft()
        connection.since_ns = since_ns
        connection.send(self._request)
        self._busy[connection.socket.fileno()] = connection

    def _take(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for answers, and note those that are whole."""
        for number, _ in self._epoll.poll(timeout):
            if self._busy[number].answer() is not None:
                connection = self._busy.pop(number)
                self.latencies_us.append((time.monotonic_ns() - connection.since_ns) / 1e3)
                self._free.append(connection)


def _due(start_ns: int, seconds: float, rate: float, draw: random.Random) -> deque[int]:
    """The moments of a Poisson process, at least one."""
    moments: deque[int] = deque()
    at = draw.expovariate(rate)
    while at < seconds or not moments:
        moments.append(start_ns + int(at * 1e9))
        at += draw.expovariate(rate)
    return moments


def _pause(next_ns: int | None) -> float:
    """Seconds that may be slept without missing the moment."""
    if next_ns is None:
        return 0.1
    return max(0.0, (next_ns - time.monotonic_ns() - SPIN_NS) / 1e9)


def run(how: str, host: str, port: int, path: str, connections: int, *options: str) -> Any:
    """A result as it is printed; `options` as on the command line."""
    load = Load(host, port, path, connections)
    try:
        seconds, unanswered = float(options[0]), 0
        if how == "open":
            unanswered = load.open(seconds, float(options[1]), int(options[2]))
        else:
            seconds = load.closed(seconds)
    finally:
        load.close()
    return {"seconds": seconds, "latencies_us": load.latencies_us, "unanswered": unanswered}


def main() -> None:
    how, host, port, path, connections, *options = sys.argv[1:]
    json.dump(run(how, host, int(port), path, int(connections), *options), sys.stdout)


if __name__ == "__main__":
    main()
