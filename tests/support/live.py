"""Real processes for the tests: an engine and a dispatcher, started and stopped as users do."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import fork_server

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "service"
PATIENCE_SECONDS = 30.0
# Parameters for tests that hold with both launchers, and are about neither.
LAUNCHERS = ("zygote", pytest.param("process", marks=pytest.mark.slow))


def until(check: Callable[[], Any], what: str = "it", seconds: float = PATIENCE_SECONDS) -> Any:
    """Ask `check` until it gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.01)
    return found


def records(folder: Path) -> list[str]:
    """What a store of snippets holds: `<id>.pending`, `<id>.snippet` once that is confirmed."""
    if not (folder / "snippets.db").exists():
        return []
    with contextlib.closing(sqlite3.connect(folder / "snippets.db")) as db:
        rows = db.execute("SELECT id, confirmed FROM snippets ORDER BY id").fetchall()
    return [f"{id_}.{'snippet' if confirmed else 'pending'}" for id_, confirmed in rows]


def environment(home: Path, **settings: str) -> dict[str, str]:
    """This process's environment with fob's settings, and none that a developer has set."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FOB_", "MARATHON_"))}
    return kept | {"FOB_HOME": str(home)} | settings


# child processes that several tests share, so the test that started one may leave it
session_pids: set[int] = set()
# Servers are executed, as users start them, or forked, which is cheaper; conftest.py chooses.
executed = True


class Server:
    """A server process that says on a line of standard error that it is ready."""

    def __init__(self, command: list[str], env: dict[str, str], ready: str) -> None:
        start = subprocess.Popen if executed else fork_server.popen
        self.process = start(
            command,
            cwd=SERVICE,
            env=env,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        self._ready = re.compile(ready)
        self._found: re.Match[str] | None = None
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
            self._found = self._found or self._ready.search(line)
            if self._found:
                self._over.set()
        self._over.set()

    def ready(self) -> re.Match[str]:
        self._over.wait(PATIENCE_SECONDS)
        if self._found is None:
            self.kill()
            raise AssertionError("it did not start:\n" + "\n".join(self.log))
        return self._found

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self._wait()

    def kill(self) -> None:
        self.process.kill()
        self._wait()

    def _wait(self) -> int:
        status = self.process.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


class Engine(Server):
    """`python -m fob.engine` with its state in `home`, and a client for its API."""

    def __init__(self, home: Path, **settings: str) -> None:
        super().__init__(
            [sys.executable, "-m", "fob.engine"],
            environment(home, **settings),
            r"Engine ready at (\S+),",
        )
        self.home = home
        self.url = self.ready()[1]
        self.token = json.loads((home / "engine" / "engine.json").read_text())["token"]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token={self.token}"} | options.pop("headers", {})
        return requests.request(
            method, self.url + path, headers=headers, timeout=PATIENCE_SECONDS, **options
        )

    def get(self, path: str, **options: Any) -> Any:
        answer = self.ask("GET", path, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def app(self, app_id: str) -> Any:
        return self.get(f"/v2/apps{app_id}")["app"]

    def run(self, app_id: str, cmd: str, **more: Any) -> Any:
        """Create an app that fits easily; its 201 body."""
        definition = {"id": app_id, "cmd": cmd, "cpus": 0.01, "mem": 16, **more}
        answer = self.ask("POST", "/v2/apps", json=definition)
        assert answer.status_code == 201, (answer.status_code, answer.text)
        return answer.json()

    def running(self, app_id: str, number: int = 1) -> list[Any]:
        """The tasks of the app, once `number` of them and no others are there and run."""

        def tasks() -> Any:
            app = self.app(app_id)
            right = app["tasksRunning"] == number == len(app["tasks"])
            return [app["tasks"]] if right else None

        return until(tasks, f"{number} running tasks of {app_id}")[0]  # type: ignore[no-any-return]


class Dispatcher(Server):
    """`python fob_dispatcher.py` on a free port, with its state in `home`."""

    def __init__(self, home: Path, **settings: str) -> None:
        super().__init__(
            [sys.executable, "fob_dispatcher.py"],
            environment(home, **{"FOB_PORT": "0"} | settings),
            r"Listening on port (\d+)",
        )
        self.home = home
        self.url = f"http://127.0.0.1:{self.ready()[1]}"

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=PATIENCE_SECONDS, **options)

    def gen(self, source: str | bytes, query: str = "") -> str:
        """Register `source`; the function's id."""
        answer = self.ask("POST", f"/api/gen{query}", data=source)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return str(answer.json()["id"])

    def meta(self, function_id: str) -> tuple[str, int]:
        answer = self.ask("GET", f"/api/meta/{function_id}?wait=20")
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()["host"], answer.json()["port"]

    def call(self, function_id: str, **options: Any) -> requests.Response:
        """Call the function directly, where meta says it is."""
        host, port = self.meta(function_id)
        return requests.get(f"http://{host}:{port}/", timeout=PATIENCE_SECONDS, **options)

    @property
    def descriptors(self) -> int:
        """How many descriptors it and its engine have open."""
        return descriptors_of(self.process.pid) + descriptors_of(self.engine_pid)

    @property
    def engine_log(self) -> str:
        return (self.home / "engine" / "log").read_text()

    @property
    def engine_pid(self) -> int:
        return int(json.loads((self.home / "engine" / "engine.json").read_text())["pid"])


def waiting_in(folder: Path) -> int:
    """How many processes work in this very folder: what the engine keeps for itself."""
    return sum(f": {folder} " in told for told in processes_of(folder))


def processes_of(folder: Path) -> list[str]:
    """Every process on the machine that works in `folder` or was started for it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid() and str(folder) in _told_by(pid):
            found.append(f"{pid}: {_told_by(pid)}")
    return found


def runs(pid: str) -> bool:
    """False once it has ended, though it may not have been waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _told_by(pid: str) -> str:
    if not runs(pid):
        return ""
    try:
        words = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        said = b" ".join([os.fsencode(os.readlink(f"/proc/{pid}/cwd")), *words])
    except OSError:
        return ""
    return said.rstrip(b"\0").decode(errors="replace")


def descriptors_of(pid: int) -> int:
    """How many file descriptors the process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def listened_to_by(folder: Path) -> set[int]:
    """The TCP ports on which processes of `folder` listen."""
    sockets = set()
    for told in processes_of(folder):
        for fd in Path(f"/proc/{told.partition(':')[0]}/fd").iterdir():
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(fd))
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [line for line in lines if line[3] == "0A"]  # TCP_LISTEN
    return {int(x[1].partition(":")[2], 16) for x in listening if f"socket:[{x[9]}]" in sockets}
