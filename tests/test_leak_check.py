"""The leak check finds what a test leaves behind, and lets go of what it does not."""

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import live

PATHS = (live.SERVICE, Path(live.__file__).parent)
# Run by a pytest of its own, whose repository is the folder they are in.
PLANTS = """
import os, subprocess, sys, tempfile, threading
from pathlib import Path

import leak_check, live
import pytest

leak_check.PATIENCE_SECONDS = 0.3
kept = []
SLEEP = [sys.executable, "-c", "import time; time.sleep(1000)"]

def test_nothing(tmp_path): (tmp_path / "own").touch()
def test_child(): kept.append(subprocess.Popen(SLEEP))
def test_orphan(tmp_path):
    subprocess.run(["sh", "-c", '"$@" & echo $! > pid', "sh", *SLEEP], cwd=tmp_path)
def test_forked(tmp_path):
    live.executed = False
    kept.append(live.Engine(tmp_path / "home"))
def test_thread():
    waits = threading.Thread(target=threading.Event().wait, name="planted", daemon=True)
    waits.start()
def test_descriptor(): kept.append(os.open("/dev/null", os.O_RDONLY))
def test_garbage():
    cycle = [open("/dev/null")]
    cycle.append(cycle)
def test_temporary_file(): os.close(tempfile.mkstemp(prefix="planted-")[0])
def test_temporary_folder(): tempfile.mkdtemp(prefix="planted-")
def test_state(): Path(os.environ["XDG_STATE_HOME"], "fob").mkdir()
def test_repository(pytestconfig): (pytestconfig.rootpath / "docs" / "planted.txt").touch()
def test_cache(pytestconfig): (pytestconfig.rootpath / "docs" / "__pycache__").mkdir()
def test_removed(pytestconfig):
    (pytestconfig.rootpath / "docs" / "passing.txt").touch()
    (pytestconfig.rootpath / "docs" / "passing.txt").unlink()
def test_nothing_after_all(): pass
"""

FOUND = {
    "test_child": "child process",
    "test_orphan": "process",
    "test_forked": "process",
    "test_thread": "thread planted",
    "test_descriptor": "1 file descriptors",
    "test_garbage": "unclosed file",
    "test_temporary_file": "planted-",
    "test_temporary_folder": "planted-",
    "test_state": "/fob",
    "test_repository": "planted.txt",
}
CLEAN = {"test_nothing", "test_cache", "test_removed", "test_nothing_after_all"}


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the check has to say of each test that was run; nothing of those that left nothing."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "docs").mkdir()
    (folder / "plants.py").write_text(PLANTS)
    options = ["-p", "leak_check", "-W", "error", "--rootdir=.", "--basetemp=base"]
    environment = {
        "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--junit-xml=results.xml", "plants.py"],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    for told in live.processes_of(folder):
        os.kill(int(told.partition(":")[0]), signal.SIGKILL)
    live.until(lambda: not live.processes_of(folder), "the end of all that was planted")
    assert done.returncode == 1, done.stdout
    cases = ET.parse(folder / "results.xml").iter("testcase")
    return {case.attrib["name"]: "".join(case.itertext()) for case in cases}


@pytest.mark.parametrize(("plant", "found"), FOUND.items(), ids=FOUND)
def test_what_is_planted_is_found(faults: dict[str, str], plant: str, found: str) -> None:
    assert found in faults[plant]


def test_nothing_else_is_found(faults: dict[str, str]) -> None:
    assert {name for name, fault in faults.items() if not fault} == CLEAN
    assert faults.keys() == CLEAN | FOUND.keys()
