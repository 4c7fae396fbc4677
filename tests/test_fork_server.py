"""A forked program cannot be told from an executed one, by itself or by who watches it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fork_server
import live

LOOK = """
import json, os, signal, sys, threading
print("x" * 100_000, file=sys.stderr)
seen = {
    "name": __name__,
    "arguments": sys.argv,
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "descriptors": sorted(os.listdir("/proc/self/fd"), key=int)[:-1],  # the last one lists them
    "leads a session": os.getsid(0) == os.getpid(),
    "threads": threading.active_count(),
    "mask": os.umask(0o22),
    "signals": {n.name: str(signal.getsignal(n)).split(" at ")[0] for n in signal.valid_signals()
                if isinstance(n, signal.Signals)},
    "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "limits": __import__("resource").getrlimit(7),
}
os.write(int(sys.argv[1]), json.dumps(seen).encode())
"""
Start = Callable[..., Any]
starts = pytest.mark.parametrize("start", [subprocess.Popen, fork_server.popen])


def run(start: Start, program: Path, *arguments: str, **options: Any) -> Any:
    return start(
        [sys.executable, str(program), *arguments],
        cwd=program.parent,
        env=live.environment(program.parent / "home", COLOUR="gr\u00fcn"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


def end(process: Any) -> tuple[int, str]:
    said = process.stderr.read()
    process.stderr.close()
    return process.wait(live.PATIENCE_SECONDS), said


@pytest.mark.parametrize("session", [False, True])
def test_it_finds_itself_as_if_it_had_been_executed(program: Path, session: bool) -> None:
    program.write_text(LOOK)
    seen = []
    for start in (subprocess.Popen, fork_server.popen):
        reading, writing = os.pipe()
        process = run(start, program, str(writing), pass_fds=(writing,), start_new_session=session)
        os.close(writing)
        assert end(process) == (0, "x" * 100_000 + "\n")
        with os.fdopen(reading) as stream:
            seen.append(json.load(stream))
    assert seen[1] == seen[0]


@starts
@pytest.mark.parametrize(
    ("ending", "status", "said"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no')", 1, "no\n"),
        ("raise ValueError(7)", 1, "ValueError: 7\n"),
        ("os.kill(os.getpid(), 9)", -9, ""),
        ("threading.Thread(target=lambda: (time.sleep(0.1), print(1, file=sys.stderr))).start()",
         0, "1\n"),
        ("atexit.register(print, 2, file=sys.stderr)", 0, "2\n"),
    ],
)  # fmt: skip
def test_its_end_is_that_of_an_executed_one(
    program: Path, start: Start, ending: str, status: int, said: str
) -> None:
    program.write_text(f"import atexit, os, sys, threading, time\n{ending}\n")
    ended, printed = end(run(start, program))
    assert ended == status
    assert printed.endswith(said)
    assert bool(printed) == bool(said)


@starts
def test_signals_reach_it_and_its_end_is_waited_for(program: Path, start: Start) -> None:
    program.write_text("import sys, time\nprint(file=sys.stderr, flush=True)\ntime.sleep(1000)\n")
    process = run(start, program)
    process.stderr.readline()
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    process.terminate()
    assert end(process) == (-signal.SIGTERM, "")
    assert process.poll() == process.returncode == -signal.SIGTERM
    process.kill()  # which has nothing to do


@starts
def test_it_is_found_by_its_folder_and_its_environment(program: Path, start: Start) -> None:
    program.write_text("import sys, time\nprint(file=sys.stderr, flush=True)\ntime.sleep(1000)\n")
    process = run(start, program)
    process.stderr.readline()
    for told in (program.parent, program.parent / "home"):
        (found,) = live.processes_of(told)
        assert found.startswith(f"{process.pid}: ")
    process.kill()
    end(process)
    assert not live.processes_of(program.parent)


def test_the_engine_of_a_forked_dispatcher_is_forked_too(
    start_dispatcher: Callable[[], live.Dispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "executed", False)  # even with --executed
    dispatcher = start_dispatcher()
    assert Path(f"/proc/{dispatcher.engine_pid}/cmdline").read_bytes() == (
        Path(f"/proc/{dispatcher.process.pid}/cmdline").read_bytes()
    )


@pytest.mark.executed
def test_a_test_about_start_up_gets_executed_servers(dispatcher: live.Dispatcher) -> None:
    commands = [
        Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:3]
        for pid in (dispatcher.process.pid, dispatcher.engine_pid)
    ]
    assert commands == [[b"fob_dispatcher.py", b""], [b"-m", b"fob.engine"]]
