"""A runner process in a test: its port, its marks, its logs, its exit."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from fob.runner.linker import packing

# the runner as it travels
PROGRAM = packing.unpack(packing.PACKED.read_text()).rstrip(b"\0")
PATIENCE = 20.0  # seconds after which something that should happen has not


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        assert self.status == 200, self.body
        return self.json["result"]

    @property
    def error(self) -> Any:
        return self.json["error"]


@dataclass
class Runner:
    """A started runner: its process, its port, the marks it has sent."""

    process: subprocess.Popen[bytes]
    port: int
    notify: int
    folder: Path
    marks: list[str] = field(default_factory=list)
    prefix: str = ""  # of every path, when it is reached through something else

    def wait_for(self, mark: str) -> bool:
        """Read marks until `mark`; return False if the process closes the pipe before."""
        while mark not in self.marks:
            text = os.read(self.notify, 4096).decode()
            if not text:
                return False
            self.marks += [line.split(" ", 2)[2] for line in text.splitlines()]
        return True

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def call(self, target: str = "/", body: Any = None, method: str = "", **headers: str) -> Answer:
        """One call on a connection of its own; a body that is not bytes is sent as JSON."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            names.setdefault("Content-Type", "application/json")
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            method = method or ("GET" if body is None else "POST")
            connection.request(method, self.prefix + target, body, names)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """Send `data` and the end of the stream; read until the runner closes."""
        with self.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self) -> int:
        return self.process.wait(PATIENCE)


def read_all(sock: socket.socket) -> bytes:
    """Read until the peer closes or resets the connection."""
    data = b""
    while True:
        try:
            more = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def run_program(folder: Path, program: bytes = PROGRAM) -> list[str]:
    """The command that runs a program, which is written into `folder`."""
    file = folder / "runner.py"
    file.write_bytes(program)
    return [sys.executable, "-I", "-S", str(file)]


Start = Callable[..., Runner]
Command = Callable[..., list[str]]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """Start a runner for a snippet; keywords are environment variables."""
    started: list[Runner] = []

    def launch(snippet: str | bytes, command: list[str] | None = None, **env: str) -> Runner:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        notify, theirs = os.pipe()
        source = snippet.encode() if isinstance(snippet, str) else snippet
        env = {"PATH": os.environ["PATH"], "FOB_NOTIFY_FD": str(theirs)} | env
        env.setdefault("FOB_LISTEN_FD", str(listener.fileno()))
        with open(folder / "stdout", "wb") as out, open(folder / "stderr", "wb") as err:
            process = subprocess.Popen(
                command or run_program(tmp_path),
                env={os.fsencode(k): os.fsencode(v) for k, v in env.items()}
                | ({} if "FOB_FUNCTION" in env else {b"FOB_SNIPPET": source}),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                pass_fds=(listener.fileno(), theirs),
                start_new_session=True,
            )
        os.close(theirs)
        runner = Runner(process, listener.getsockname()[1], notify, folder)
        listener.close()
        started.append(runner)
        return runner

    yield launch
    for runner in started:
        if runner.process.poll() is None:
            os.killpg(runner.process.pid, signal.SIGKILL)
        runner.process.wait(PATIENCE)
        os.close(runner.notify)
