"""`make demo`, run as users run it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import live
from fob.cli import demo

SAMPLE = live.ROOT / "py_example.py"


def start(file: Path, folder: Path) -> subprocess.Popen[str]:
    """Start the demo with `file`; it creates its state folder in `folder`."""
    return subprocess.Popen(
        [sys.executable, "-m", "fob.cli.demo", str(file)],
        cwd=live.SERVICE,
        env=live.environment(folder / "not-this") | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_demo_shows_every_exchange_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(SAMPLE, tmp_path)
    shown, _ = process.communicate(timeout=live.PATIENCE_SECONDS)
    assert process.returncode == 0, shown
    for line in ("> POST /api/gen HTTP/1.1", "> def call_me():", "< HTTP/1.1 200 OK"):
        assert line in shown
    assert shown.count('< {"result": null, "output": "Hello serverless world!\\n"}') == 2
    assert "< HTTP/1.1 404 Not Found" in shown
    assert "Nothing is left" in shown
    assert os.listdir(tmp_path) == []


def test_an_invalid_file_fails_the_demo_and_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def broken(:\n")
    folder = tmp_path / "state"
    folder.mkdir()
    process = start(file, folder)
    shown, _ = process.communicate(timeout=live.PATIENCE_SECONDS)
    assert process.returncode == 1, shown
    assert "< HTTP/1.1 400 Bad Request" in shown
    assert "The demo failed" in shown
    assert os.listdir(folder) == []


def test_ctrl_c_stops_the_demo_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process = start(SAMPLE, tmp_path)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    next(line for line in lines if "POST /api/gen" in line)
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=live.PATIENCE_SECONDS)
    assert process.returncode == 130, shown
    assert os.listdir(tmp_path) == []


def test_a_process_left_behind_is_noticed(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as process:
        assert demo.processes_of(str(tmp_path)) == [str(process.pid)]
        process.kill()
    assert demo.processes_of(str(tmp_path)) == []
