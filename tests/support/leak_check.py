"""The check that no test leaves anything behind: a process, thread, descriptor, file or folder.

A pytest plugin (`-p leak_check`). Files are looked for where a test may forget one: the folder for
temporary files, the default state folder and the repository.
"""

import contextlib
import gc
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fork_server
import live

PATIENCE_SECONDS = 5.0  # for what ends by itself just after the test
IGNORED = ("__pycache__", "build", ".egg-info")  # made by tools; so are hidden files


def pytest_collection_finish() -> None:
    """Exempt the collected tests from garbage collection: walking all of them after each test took
    92 ms of CPU, more than most tests take themselves."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files, of this process and all that it starts, for no one else.

    Tests of other workers run at the same time, and what is in /tmp may be theirs.
    """
    tmp_path_factory.getbasetemp()  # stays where it would be
    folder = Path(tempfile.mkdtemp(prefix="fob-tests-"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv("TMPDIR", str(folder))
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def _folders(_temporary_folder: Path, pytestconfig: pytest.Config) -> "Folders":
    return Folders([_temporary_folder, *_source_folders(pytestconfig.rootpath)])


def _source_folders(root: Path) -> Iterator[Path]:
    for folder, names, _ in os.walk(root):
        names[:] = [name for name in names if not _is_ignored(name)]
        yield Path(folder)


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.endswith(IGNORED)


class Folders:
    """Finds new names in folders, by the folders' times of change: 60 calls of stat per test."""

    def __init__(self, folders: list[Path]) -> None:
        self._seen = {folder: (_changed_at(folder), _names(folder)) for folder in folders}

    def new(self) -> list[Path]:
        found = []
        for folder, (changed_at, names) in self._seen.items():
            if _changed_at(folder) != changed_at:
                found += [folder / name for name in sorted(_names(folder) - names)]
        return found

    def accept(self) -> None:
        """Find what is new by now no more: the next test has not left it."""
        for folder, (changed_at, _) in self._seen.items():
            if (now := _changed_at(folder)) != changed_at:
                self._seen[folder] = (now, _names(folder))


def _changed_at(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _names(folder: Path) -> set[str]:
    try:
        return {name for name in os.listdir(folder) if not _is_ignored(name)}
    except FileNotFoundError:
        return set()


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(tmp_path: Path, _folders: Folders) -> Iterator[None]:
    _folders.accept()
    before = Held()
    yield
    gc.collect()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := _left(before, tmp_path, _folders)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"the test left behind: {left}"


class Held:
    """What the test process has at a moment."""

    def __init__(self) -> None:
        self.threads = set(threading.enumerate())
        self.children = _children()
        self.descriptors = len(os.listdir("/proc/self/fd"))
        # the last pid that the kernel gave out, to a process or a thread
        self.newest_pid = Path("/proc/loadavg").read_text().split()[-1]


def _left(before: Held, folder: Path, folders: Folders) -> list[str]:
    now = Held()
    left = [f"thread {thread.name}" for thread in now.threads - before.threads]
    left += [f"child process {pid}" for pid in now.children - before.children]
    # reading every process of the machine is slow, and a test that started none cannot leave one
    if now.newest_pid != before.newest_pid:
        left += [f"process {told[:300]}" for told in live.processes_of(folder)]
    if now.descriptors > before.descriptors:
        number = now.descriptors - before.descriptors
        left.append(f"{number} file descriptors: {_descriptors()}")
    return left + [f"file {path}" for path in folders.new()]


def _children() -> set[str]:
    """The running processes that this one has started."""
    children = set()
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(FileNotFoundError):  # it has ended
            children |= set(Path(f"/proc/self/task/{thread}/children").read_text().split())
    shared = live.session_pids | {fork_server.pid}
    return {pid for pid in children if int(pid) not in shared and live.runs(pid)}


def _descriptors() -> list[str]:
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return names
