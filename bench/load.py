"""The load generator: keep-alive HTTP GETs over raw sockets, in a process of its own.

    python load.py HOST PORT PATH CONNECTIONS SECONDS COUNT

Each connection has one request under way at a time. Ends after SECONDS or COUNT answers, whichever
comes first (0: no such limit), and prints {"answers", "seconds", "latencies_ns"} in JSON; the
latencies are listed for one connection only, where nothing queues in the generator itself.
"""

import json
import selectors
import socket
import sys
import time

RECEIVE_BYTES = 65536


class Connection:
    """One connection and the answer it is waiting for."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self.socket = socket.create_connection((host, port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
        self._received = b""
        self.sent_ns = 0

    def ask(self) -> None:
        self._received = b""
        self.sent_ns = time.monotonic_ns()
        self.socket.sendall(self._request)

    def answered(self) -> bool:
        """Take what has come; True when the answer is whole. Raises `ValueError` unless 200."""
        piece = self.socket.recv(RECEIVE_BYTES)
        if not piece:
            raise ValueError("the connection was closed")
        self._received += piece
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank:
            return False
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(f"answered {self._received[:200]!r}")
        return len(body) == content_length(head)


def content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise ValueError(f"no Content-Length in {head!r}")


def run(connections: list[Connection], seconds: float, count: int) -> tuple[list[int], float]:
    """Ask until a limit is reached; latencies in ns, and the seconds it took."""
    latencies: list[int] = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(seconds * 1e9) if seconds else sys.maxsize
        for connection in connections:
            connection.ask()
        while (now_ns := time.monotonic_ns()) < end_ns and len(latencies) < (count or sys.maxsize):
            for key, _ in selector.select(timeout=10):
                if key.data.answered():
                    latencies.append(time.monotonic_ns() - key.data.sent_ns)
                    key.data.ask()
    return latencies, (now_ns - started_ns) / 1e9


def main() -> None:
    host, port, path, connections, seconds, count = sys.argv[1:]
    made = [Connection(host, int(port), path) for _ in range(int(connections))]
    run(made, 0, 20 * len(made))  # warm both ends up
    made = [Connection(host, int(port), path) for _ in range(int(connections))]
    latencies, took = run(made, float(seconds), int(count))
    result = {"answers": len(latencies), "seconds": took}
    if len(made) == 1:
        result["latencies_ns"] = latencies
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
