"""fob under test: the service on an empty state folder, and one connection to it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import machine
from bench.generators import Target
from bench.load import Connection
from bench.peers import APPS, DIRECT, ROUTED

HELLO = (APPS / "hello.py").read_bytes()
PACKAGE = "fob_bench_package"
START_SECONDS = 60
STOP_SECONDS = 300  # with 10,000 functions
LIMITS = ("--cpus=100000", "--mem=100000000")  # what is promised to functions is no limit here


class Service:
    """The service's processes, and what is asked of it."""

    def __init__(self, home: str, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.home, self.port = home, port
        self._process = process
        self._connection = Connection("127.0.0.1", port)

    def ask(self, method: str, path: str, body: bytes = b"") -> Any:
        return json.loads(self._connection.ask(method, path, body))

    def gen(self, source: bytes = HELLO, query: str = "") -> str:
        return str(self.ask("POST", f"/api/gen{query}", source)["id"])

    def meta(self, id_: str) -> tuple[str, int]:
        where = self.ask("GET", f"/api/meta/{id_}?wait=60")
        return where["host"], where["port"]

    def call(self, id_: str) -> bytes:
        """A first answer from the function, on a connection of its own, where meta says it is."""
        with contextlib.closing(Connection(*self.meta(id_))) as function:
            return function.ask("GET", "/")

    def apps(self) -> int:
        """How many apps the engine lists with their tasks, asked as a dispatcher asks it."""
        engine = json.loads(Path(self.home, "engine", "engine.json").read_text())
        connection = http.client.HTTPConnection(engine["url"].removeprefix("http://"))
        with contextlib.closing(connection):
            token = {"Authorization": f"token={engine['token']}"}
            connection.request("GET", "/v2/apps?embed=apps.tasks&omit=long", headers=token)
            return len(json.loads(connection.getresponse().read())["apps"])

    def route(self, id_: str) -> bytes:
        """An answer from the function by way of the service, which waits for it to be there."""
        return self._connection.ask("GET", f"/api/call/{id_}")

    def remove(self, id_: str) -> None:
        self.ask("DELETE", f"/api/functions/{id_}")

    def control(self) -> dict[str, int]:
        """The processes of the control plane that stay."""
        engine = json.loads(Path(self.home, "engine", "engine.json").read_text())
        return {"dispatcher": self._process.pid, "engine": engine["pid"]}

    def functions(self) -> list[int]:
        """The processes that work in a sandbox of the engine."""
        return machine.working_in(f"{self.home}/engine/tasks")

    def pids(self) -> set[int]:
        return machine.family(self.control().values())

    def targets(self, id_: str) -> list[Target]:
        """A function called straight and through the service."""
        return [
            Target(DIRECT, *self.meta(id_), "/", self.pids),
            Target(ROUTED, "127.0.0.1", self.port, f"/api/call/{id_}", self.pids),
        ]

    def close(self) -> None:
        self._connection.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(STOP_SECONDS)


@contextlib.contextmanager
def service(*flags: str) -> Iterator[Service]:
    """Start the service with more `flags`; stop it, and all its functions, at the end."""
    with tempfile.TemporaryDirectory(prefix="fob-bench-", ignore_cleanup_errors=True) as home:
        _make_package(home)
        log = Path(home, "bench.log")
        process = _started(home, log, flags)
        try:
            running = Service(home, process, _port(process, log))
        except BaseException:
            process.kill()
            process.wait()
            raise
        try:
            yield running
        finally:
            running.close()


def _started(home: str, log: Path, more: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    flags = [f"--home={home}", "--host=127.0.0.1", "--port=0", "--marathon-api=", "--token="]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FOB_", "MARATHON_"))}
    with log.open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "fob", "serve", *flags, *LIMITS, *more],
            env=kept | {"PIP_FIND_LINKS": home, "UV_FIND_LINKS": home},
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )


def _port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    """The port that the service names in its log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if match := re.search(r"Listening on port (\d+)", log.read_text()):
            return int(match[1])
        time.sleep(0.01)
    raise SystemExit(f"the service did not start: {log.read_text()}")


def _make_package(folder: str) -> None:
    """A wheel of one empty module, so that measuring dependencies needs no network."""
    info = f"{PACKAGE}-1.0.dist-info"
    with zipfile.ZipFile(Path(folder, f"{PACKAGE}-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr(f"{PACKAGE}.py", "")
        head = f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n"
        wheel.writestr(f"{info}/METADATA", head)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
