"""The folder of a task: its sandbox, its output with rotation, its timeline.

    <task id>/sandbox/            the working folder of the task
    <task id>/stdout, stdout.1    its output; .1 is the older half
    <task id>/stderr, stderr.1
    <task id>/timeline            its marks, as lines of fob.timeline
    <task id>/pipes/              named pipes for its stdout, stderr and marks

Sandbox and pipes exist only while the task has a process.
"""

# The pipes have names so that a task outlives its engine. The task holds them open for reading as
# well as writing: without an engine its writes do not fail (EPIPE) but fill the pipe, and the next
# engine opens the pipe by its name.

import asyncio
import contextlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from fob import timeline

MAX_OUTPUT_BYTES = 2**20  # of stdout or stderr before it is rotated; one older file is kept
MAX_TIMELINE_BYTES = 2**13  # small, because it is always served as a whole
TAIL_BYTES = 4096  # of standard error, in the reason of a failure
CHUNK_BYTES = 2**16
PIPES = ("stdout", "stderr", "marks")
PARTS = ("sandbox", "pipes")  # of the folder, while its task has a process
SPARES = 2  # folders made in advance
SPARE_TASK = "task"  # the name of a task's folder in such a folder
REFILL_SECONDS = 0.02  # after one is used: the task that has just started needs the CPU first
TIMELINE_DELAY_SECONDS = 0.05  # in which marks are collected for one write
MAX_ENDED = 3  # folders of ended tasks kept for each app, for their logs
# the files that the API serves
READABLE = frozenset({"stdout", "stdout.1", "stderr", "stderr.1", "timeline", "timeline.1"})


class TaskFolder:
    """The folder of one task."""

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def sandbox(self) -> Path:
        return self.path / "sandbox"

    def create(self) -> None:
        """Create it with sandbox and pipes, and empty files for what every task writes."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.sandbox.mkdir(mode=0o700)
        (self.path / "pipes").mkdir(mode=0o700)
        for name in PIPES:
            os.mkfifo(self.pipe(name), 0o600)
        for name in ("timeline", "stderr"):
            self.append(name, b"")

    def pipe(self, name: str) -> Path:
        return self.path / "pipes" / name

    def append(self, name: str, data: bytes, limit: int = MAX_OUTPUT_BYTES) -> None:
        """Append `data` to the file `name`; rotate the file first when it would grow too large.

        On a full disk the data is lost: a task must not stop because its output cannot be kept.
        """
        path = self.path / name
        try:
            with path.open("ab") as file:
                if file.tell() + len(data) <= limit or not file.tell():
                    file.write(data)
                    return
            path.rename(path.with_name(name + ".1"))
            path.write_bytes(data)
        except OSError:
            return

    def tail(self, name: str, limit: int) -> str:
        """The last `limit` bytes of the file `name` as text, whole lines where possible."""
        try:
            with (self.path / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - limit))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return text.split("\n", 1)[-1] if size > limit else text

    def with_stderr_tail(self, reason: str) -> str:
        """`reason`, and the end of standard error, which often says more."""
        tail = self.tail("stderr", TAIL_BYTES)
        return f"{reason}\n{tail}".rstrip() if tail else reason

    def clean(self) -> None:
        """Remove what only a running task needs; its output and timeline stay."""
        shutil.rmtree(self.sandbox, ignore_errors=True)
        shutil.rmtree(self.path / "pipes", ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Timeline:
    """Writes the marks of a task into its folder.

    The marks of a start are written together, because a write takes as long as a step that is
    marked.
    """

    __slots__ = ("_folder", "_lines", "_timer")

    def __init__(self, folder: TaskFolder) -> None:
        self._folder = folder
        self._lines = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, mark: timeline.Mark, more_follows: bool = False) -> None:
        """Write `mark` now, or if `more_follows` within TIMELINE_DELAY_SECONDS."""
        self._lines += mark.line()
        if not more_follows:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TIMELINE_DELAY_SECONDS, self.write)

    def write(self) -> None:
        """Write the marks that are not written yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, ""
        if lines:
            self._folder.append("timeline", lines.encode(), MAX_TIMELINE_BYTES)


class SpareFolders:
    """Folders for future apps, made in advance in `root`, each with a folder for a future task.

    On ext4 it takes 0.1 ms or more to create a file, and a task needs nine; to rename a folder
    takes a fifth of that.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ready: deque[Path] = deque()
        self._used: list[Path] = []  # without their parts
        self._refilling = False
        self.clear()

    def take(self, path: Path) -> None:
        """Create the folder `path` of a task, and its app's; in one that exists, only `PARTS`."""
        spare = self._ready.popleft() if self._ready else self._make()
        self._refill_soon()
        if path.parent.exists():
            path.mkdir(exist_ok=True)
            for part in PARTS:
                (spare / SPARE_TASK / part).rename(path / part)
            self._used.append(spare)
        else:
            spare.rename(path.parent)
            (path.parent / SPARE_TASK).rename(path)

    def clear(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._ready.clear()
        self._used.clear()

    def _refill_soon(self) -> None:
        if not self._refilling:
            self._refilling = True
            asyncio.get_running_loop().call_later(REFILL_SECONDS, self._refill)

    def _refill(self) -> None:
        self._refilling = False
        with contextlib.suppress(OSError):  # take() will make one itself, and raise this
            while len(self._ready) < SPARES:
                self._ready.append(self._make())

    def _make(self) -> Path:
        spare = self._used.pop() if self._used else self._root / uuid.uuid4().hex
        TaskFolder(spare / SPARE_TASK).create()
        return spare


class TaskFolders:
    """The folders of all tasks: `<root>/<app>/<task>`. `spares` is a folder beside `root`."""

    def __init__(self, root: Path, spares: Path) -> None:
        self._root = root
        self._spares = SpareFolders(spares)

    def create(self, task_id: str) -> None:
        """Create what the task needs in its folder before it has a process."""
        self._spares.take(self.of_task(task_id))

    def close(self) -> None:
        """Remove the spare folders."""
        self._spares.clear()

    def of_app(self, app_id: str) -> Path:
        return self._root / app_id[1:].replace("/", "_")

    def of_task(self, task_id: str) -> Path:
        """The folder of the task with this id, `<app>.<number>`, whether it exists or not."""
        app_name, _, number = task_id.rpartition(".")
        return self._root / app_name / number

    def remove(self, app_id: str) -> None:
        shutil.rmtree(self.of_app(app_id), ignore_errors=True)

    def prune(self, app_id: str, running: Iterable[str]) -> None:
        """Remove the folders of the app's ended tasks except the newest; `running` are the ids of
        all others."""
        live = {self.of_task(task_id) for task_id in running}
        ended = [path for path in self.of_app(app_id).glob("*") if path not in live]
        ended.sort(key=lambda path: path.stat().st_mtime)
        for path in ended[:-MAX_ENDED]:
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, app_ids: Iterable[str]) -> None:
        """Remove the folders of all other apps."""
        kept = {self.of_app(app_id) for app_id in app_ids}
        for path in set(self._root.iterdir()) - kept:
            shutil.rmtree(path, ignore_errors=True)
