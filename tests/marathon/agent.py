"""A Mesos agent as functions see it: it runs commands and serves their sandboxes."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PACE_SECONDS = 0.01
KILL_SECONDS = 3.0
App = dict[str, Any]


class Agent:
    """Runs tasks in folders below `folder`; a thread watches each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._watchers: list[threading.Thread] = []

    def run(
        self, app: App, task: App, well: Callable[[], None], over: Callable[[int], None]
    ) -> None:
        """Start the task's command; `well` is called once its port is open, `over` at its end."""
        sandbox = self._folder / task["id"]
        sandbox.mkdir(parents=True)
        with (sandbox / "stdout").open("wb") as out, (sandbox / "stderr").open("wb") as err:
            process = subprocess.Popen(
                ["/bin/sh", "-c", app["cmd"]],
                cwd=sandbox,
                env=_environment(app, task, sandbox),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        self._running[task["id"]] = process
        watcher = threading.Thread(target=_watch, args=(process, task["ports"][0], well, over))
        self._watchers.append(watcher)
        watcher.start()

    def kill(self, task_id: str) -> None:
        """Terminate the task, then kill it."""
        process = self._running.pop(task_id)
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(KILL_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def close(self) -> None:
        for task_id in list(self._running):
            self.kill(task_id)
        for watcher in self._watchers:
            watcher.join()

    @property
    def sandboxes(self) -> Path:
        return self._folder

    def runs(self, task_id: str) -> bool:
        return task_id in self._running


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _environment(app: App, task: App, sandbox: Path) -> dict[str, str]:
    port = str(task["ports"][0])
    return {
        "PATH": os.environ["PATH"],
        "HOST": task["host"],
        "PORT": port,
        "PORT0": port,
        "PORTS": port,
        "MESOS_TASK_ID": task["id"],
        "MESOS_SANDBOX": str(sandbox),
        "MARATHON_APP_ID": app["id"],
        **app["env"],
    }


def _watch(
    process: subprocess.Popen[bytes],
    port: int,
    well: Callable[[], None],
    over: Callable[[int], None],
) -> None:
    answers = False
    while process.poll() is None:
        if not answers and (answers := _answers(port)):
            well()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PACE_SECONDS if not answers else None)
    over(process.returncode)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
