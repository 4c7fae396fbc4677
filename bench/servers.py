"""A peer as a running process: started on a free port, asked until it answers, ended with its
children."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import machine
from bench.generators import Target
from bench.install import Installed
from bench.load import Connection
from bench.peers import APPS, Peer

PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.001  # between attempts to connect to a server that starts
# below the ports that the system gives to clients: a connection to one of those that is not
# listened to yet may meet itself
PORTS = range(20000, 30000)


class NotStarted(Exception):
    """The server did not answer; the message says what it printed."""


class Server:
    """A running peer; `started_ms` is from its start to its first answer."""

    def __init__(self, peer: Peer, installed: Installed, folder: str, upstream: str = "") -> None:
        self.peer = peer
        self.port = free_port()
        self._log = Path(folder, "log")
        values = {"port": str(self.port), "apps": str(APPS), "folder": folder, "upstream": upstream}
        if peer.files:
            values["config"] = str(Path(folder, peer.files[0]))
        for name in peer.files:
            Path(folder, name).write_text(_filled((APPS / name).read_text(), values))
        began_ns = time.monotonic_ns()
        self._process = self._start(installed, values)
        try:
            self.answer = self._first_answer()
        except BaseException:
            self.stop()
            raise
        self.started_ms = (time.monotonic_ns() - began_ns) / 1e6

    def pids(self) -> set[int]:
        return machine.family([self._process.pid])

    def target(self, behind: Callable[[], set[int]] = set) -> Target:
        """Calling it, with the processes `behind` it that work for the same calls."""
        return Target(self.peer.name, "127.0.0.1", self.port, "/", lambda: self.pids() | behind())

    def stop(self) -> None:
        """End it and all that it has started; nothing of it is worth waiting for."""
        family = self.pids()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(PATIENCE_SECONDS)

    def _start(self, installed: Installed, values: dict[str, str]) -> "subprocess.Popen[bytes]":
        program, *arguments = (_filled(word, values) for word in self.peer.command)
        variables = {name: _filled(value, values) for name, value in self.peer.variables}
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [installed.program(program), *arguments],
                env=os.environ | installed.variables | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _first_answer(self) -> bytes:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                connection = Connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                time.sleep(PAUSE_SECONDS)
                continue
            with contextlib.closing(connection), contextlib.suppress(ConnectionError):
                return connection.ask("GET", "/")
        said = " ".join(self._log.read_text(errors="replace").split())[-300:]
        raise NotStarted(f"it does not answer, and says: {said}")


@contextlib.contextmanager
def running(peer: Peer, installed: Installed, upstream: str = "") -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="fob-bench-", ignore_cleanup_errors=True) as folder:
        server = Server(peer, installed, folder, upstream)
        try:
            yield server
        finally:
            server.stop()


def free_port() -> int:
    """A port that nobody listens to now, for a server that cannot say which one it took."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise NotStarted("no port is free")


def _filled(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text
