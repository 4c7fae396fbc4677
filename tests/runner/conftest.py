"""A real runner process for each test, on a socket the test has bound."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import PATIENCE, RUNNER, Command, Runner, Start


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Start]:
    """Start a runner for a snippet; keywords are its environment, `command` replaces its start."""
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
                command or [sys.executable, "-I", "-S", str(RUNNER)],
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


@pytest.fixture
def serve(launch: Start) -> Start:
    """Start a runner and wait until it serves."""

    def serve(snippet: str | bytes, command: list[str] | None = None, **env: str) -> Runner:
        runner = launch(snippet, command, **env)
        assert runner.wait_for("listening"), runner.stderr
        return runner

    return serve


@pytest.fixture
def patched(tmp_path: Path) -> Command:
    """The command of a runner whose constants have other values, to wait less in tests."""

    def patched(**constants: float) -> list[str]:
        lines = RUNNER.read_text().splitlines(keepends=True)
        for name, value in constants.items():
            index = next(i for i, line in enumerate(lines) if line.startswith(f"{name} = "))
            lines[index] = f"{name} = {value}\n"
        copy = tmp_path / "runner.py"
        copy.write_text("".join(lines))
        return [sys.executable, "-I", "-S", str(copy)]

    return patched
