"""A state folder of an older fob is taken over, with and without its functions still running.

`data/old_state.tar.gz` was written by commit aad311b, whose dispatcher and engine were killed with
SIGKILL while they ran three functions: `hello` with one instance, `twice` with two, and the
on-demand `sleeper`, which was idle. Only the engine's log is missing.
"""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import live
from fob.engine.runtime.resources import bind

ARCHIVE = Path(__file__).parent / "data" / "old_state.tar.gz"
HELLO, TWICE, SLEEPER = IDS = [
    "3adfbecd-57d8-4f99-8160-89307d439075",
    "a543b285-a751-4c1c-8cd4-8513d400bffb",
    "e927283f-0125-4974-91f3-194425495cd0",
]
SNIPPETS = {
    HELLO: 'def call_me():\n    print("Hello serverless world!")\n',
    TWICE: "import os\ndef handler(n: int = 1):"
    ' return {"twice": 2*n, "mood": os.environ["MOOD"]}\n',
    SLEEPER: 'def handler(): return "woken"\n',
}
RESPONSES = {
    HELLO: {"result": None, "output": "Hello serverless world!\n"},
    TWICE: {"result": {"twice": 8, "mood": "calm"}},
    SLEEPER: {"result": "woken"},
}
QUERIES = {HELLO: "", TWICE: "?n=4", SLEEPER: ""}
Start = Callable[..., live.Dispatcher]


class OldState:
    """The old folder, unpacked, with ports that are free on this machine in its records."""

    def __init__(self, home: Path) -> None:
        self.engine = home / "engine"
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(home, filter="tar")
        self._db = sqlite3.connect(self.engine / "engine.db")
        rows = self._db.execute("SELECT record FROM tasks").fetchall()
        self.tasks: list[dict[str, Any]] = [json.loads(record) for (record,) in rows]
        self.listeners = [bind("127.0.0.1", 0) for _ in self.tasks]
        for task, listener in zip(self.tasks, self.listeners, strict=True):
            task["ports"] = [listener.getsockname()[1]]

    def ports(self, id_: str) -> list[int]:
        return sorted(t["ports"][0] for t in self.tasks if t["app_id"].endswith(id_))

    def definition(self, task: dict[str, Any]) -> dict[str, Any]:
        """The stored definition, with the long values of its `env` joined."""
        query = "SELECT definition FROM versions WHERE app_id = ? AND version = ?"
        key = (task["app_id"], task["version"])
        definition: dict[str, Any] = json.loads(self._db.execute(query, key).fetchone()[0])
        chunks = dict(self._db.execute("SELECT number, content FROM pieces"))
        for name, value in definition["env"].items():
            if isinstance(value, list):
                definition["env"][name] = b"".join(chunks[number] for number in value).decode()
        return definition

    def save(self) -> None:
        """Write the task records, and free the ports of those without a process."""
        with self._db:
            rows = [(json.dumps(task), task["id"]) for task in self.tasks]
            self._db.executemany("UPDATE tasks SET record = ? WHERE id = ?", rows)
        self._db.close()
        for listener in self.listeners:
            listener.close()

    def run(self, task: dict[str, Any], listener: socket.socket) -> subprocess.Popen[bytes]:
        """Run the task as its engine did: its command and environment, its socket and pipes."""
        definition = self.definition(task)
        app, number = task["id"].split(".")
        folder = self.engine / "tasks" / app / number
        pipes = [os.open(folder / "pipes" / p, os.O_RDWR) for p in ("stdout", "stderr", "marks")]
        process = subprocess.Popen(
            ["/bin/sh", "-c", definition["cmd"]],
            cwd=folder / "sandbox",
            env={
                "PATH": os.environ["PATH"],
                "HOST": "127.0.0.1",
                "PORT0": str(task["ports"][0]),
                "MESOS_TASK_ID": task["id"],
                "FOB_LISTEN_FD": str(listener.fileno()),
                "FOB_NOTIFY_FD": str(pipes[2]),
                **definition["env"],
            },
            stdin=subprocess.DEVNULL,
            stdout=pipes[0],
            stderr=pipes[1],
            pass_fds=(listener.fileno(), pipes[2]),
            start_new_session=True,
        )
        for fd in pipes:
            os.close(fd)
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert task["handle"].keys() == {"pid", "started", "boot"}
        task["handle"] = {"pid": process.pid, "started": int(stat[19]), "boot": boot}
        return process


@pytest.fixture
def old(home: Path) -> OldState:
    return OldState(home)


@pytest.fixture
def processes(old: OldState) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """The tasks that were running, by task id."""
    tasks = zip(old.tasks, old.listeners, strict=True)
    running = {task["id"]: old.run(task, sock) for task, sock in tasks if task["handle"]}
    old.save()
    yield running
    for process in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def responds(port: int, id_: str) -> bool:
    url = f"http://127.0.0.1:{port}/{QUERIES[id_]}"
    return bool(requests.get(url, timeout=live.PATIENCE_SECONDS).json() == RESPONSES[id_])


def details(fob: live.Dispatcher, id_: str) -> dict[str, Any]:
    return dict(fob.ask("GET", f"/api/functions/{id_}").json())


def check_functions(fob: live.Dispatcher, old: OldState) -> None:
    """Names, files, ports and responses are those of the old fob, through the service too."""
    listed = fob.ask("GET", "/api/functions").json()["functions"]
    assert [(f["id"], f["name"]) for f in listed] == list(
        zip(IDS, ["hello", "twice", "sleeper"], strict=True)
    )
    for id_ in IDS:
        assert fob.ask("GET", f"/api/cs/{id_}").text == SNIPPETS[id_]
        assert fob.meta(id_)[1] in old.ports(id_)
        live.until(lambda id_=id_: ports(fob, id_) == old.ports(id_), "its instances")
        assert all(responds(port, id_) for port in old.ports(id_))
        assert fob.ask("GET", f"/api/call/{id_}{QUERIES[id_]}").json() == RESPONSES[id_]


def ports(fob: live.Dispatcher, id_: str) -> list[int]:
    return sorted(each["port"] for each in details(fob, id_)["instances"] if each["ready"])


def is_idle(fob: live.Dispatcher) -> bool:
    [instance] = details(fob, SLEEPER)["instances"]
    return bool(instance["timeline"][-1]["mark"] == "exited")


def test_functions_come_back_with_ids_names_files_and_ports(
    old: OldState, start_dispatcher: Start
) -> None:
    old.save()
    fob = start_dispatcher()
    assert is_idle(fob), "nobody has called it"
    check_functions(fob, old)
    live.until(lambda: is_idle(fob), "its keep-alive time")
    assert responds(old.ports(SLEEPER)[0], SLEEPER)


def test_running_functions_are_taken_over_and_leave_nothing_when_deleted(
    old: OldState, processes: dict[str, subprocess.Popen[bytes]], start_dispatcher: Start
) -> None:
    assert len(processes) == 3
    fob = start_dispatcher()
    check_functions(fob, old)
    for id_ in (HELLO, TWICE):
        found = {each["task"] for each in details(fob, id_)["instances"]}
        assert found == {task for task in processes if id_ in task}
    assert all(process.poll() is None for process in processes.values())
    taken = {port for id_ in IDS for port in old.ports(id_)}
    assert live.listened_to_by(fob.home) >= taken
    for id_ in IDS:
        assert fob.ask("DELETE", f"/api/functions/{id_}").ok
    for process in processes.values():
        process.wait(live.PATIENCE_SECONDS)
    live.until(lambda: not live.listened_to_by(fob.home) & taken, "the end of their sockets")
    live.until(lambda: not any((old.engine / "tasks").iterdir()), "the end of their folders")
    assert fob.ask("GET", "/api/functions").json()["functions"] == []
    assert live.records(fob.home / "snippets") == []
