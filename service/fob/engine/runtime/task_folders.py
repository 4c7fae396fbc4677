"""What a task leaves on disk: its sandbox, its output with rotation, its timeline.

    <task id>/sandbox/            the task's working folder, its own
    <task id>/stdout, stdout.1    what it printed; .1 is the older half
    <task id>/stderr, stderr.1
    <task id>/timeline            fob.timeline's lines
    <task id>/pipes/              named pipes for its stdout, stderr and marks

Sandbox and pipes are there while it has a process.

The pipes have names so that a task outlives its engine: it holds them open for reading and writing,
so its writes never fail while nobody reads, and the next engine opens them again.
"""

import asyncio
import contextlib
import os
import shutil
import uuid
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from fob import timeline

MAX_OUTPUT_BYTES = 2**20  # of a file of output before it is rotated; one older is kept
MAX_TIMELINE_BYTES = 2**13  # which whoever asks gets whole
TAIL_BYTES = 4096  # of standard error, in the reason of a failure
CHUNK_BYTES = 2**16
PIPES = ("stdout", "stderr", "marks")
PARTS = ("sandbox", "pipes")  # of the folder, while its task has a process
SPARES = 2  # folders made ahead
SPARE_TASK = "task"  # what such a folder is called until it is somebody's
REFILL_SECONDS = 0.02  # after one is taken: what has just started goes first
TIMELINE_DELAY_SECONDS = 0.05
MAX_ENDED = 3  # folders of ended tasks kept for each app, for their logs
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
        """Make it, with all that a task needs in it, and empty files for what all will write."""
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
        """Add `data` to the file `name`, rotating it first when it has grown too large.

        A full disk loses the data: a task must not stop because its output cannot be kept.
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
        """`reason` with the end of standard error, for who asks why the task failed."""
        tail = self.tail("stderr", TAIL_BYTES)
        return f"{reason}\n{tail}".rstrip() if tail else reason

    def clean(self) -> None:
        """Remove what only a living task needs; its output and timeline stay."""
        shutil.rmtree(self.sandbox, ignore_errors=True)
        shutil.rmtree(self.path / "pipes", ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class Timeline:
    """Writes the marks of a task into its folder: those of a start together, for each write costs
    as much as what is marked."""

    __slots__ = ("_folder", "_lines", "_timer")

    def __init__(self, folder: TaskFolder) -> None:
        self._folder = folder
        self._lines = ""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, mark: timeline.Mark, more_follows: bool = False) -> None:
        """Write it at once; or in a moment, if `more_follows`."""
        self._lines += mark.line()
        if not more_follows:
            self.write()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TIMELINE_DELAY_SECONDS, self.write)

    def write(self) -> None:
        """Write what has been marked so far."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, ""
        if lines:
            self._folder.append("timeline", lines.encode(), MAX_TIMELINE_BYTES)


class SpareFolders:
    """Folders of apps to come, in `root`, each with the folder of a task to come.

    To make a file takes ext4 a tenth of a millisecond and more, to rename a folder a fifth of that.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ready: deque[Path] = deque()
        self._spent: list[Path] = []  # whose parts were taken
        self._refilling = False
        self.clear()

    def take(self, path: Path) -> None:
        """Make the folder at `path`, and that of its app, or what they lack where they are."""
        spare = self._ready.popleft() if self._ready else self._made()
        self._refill_soon()
        if path.parent.exists():
            path.mkdir(exist_ok=True)
            for part in PARTS:
                (spare / SPARE_TASK / part).rename(path / part)
            self._spent.append(spare)
        else:
            spare.rename(path.parent)
            (path.parent / SPARE_TASK).rename(path)

    def clear(self) -> None:
        """Remove them all."""
        shutil.rmtree(self._root, ignore_errors=True)
        self._ready.clear()
        self._spent.clear()

    def _refill_soon(self) -> None:
        if not self._refilling:
            self._refilling = True
            asyncio.get_running_loop().call_later(REFILL_SECONDS, self._refill)

    def _refill(self) -> None:
        self._refilling = False
        with contextlib.suppress(OSError):  # who needs one is told why there is none
            while len(self._ready) < SPARES:
                self._ready.append(self._made())

    def _made(self) -> Path:
        spare = self._spent.pop() if self._spent else self._root / uuid.uuid4().hex
        TaskFolder(spare / SPARE_TASK).create()
        return spare


class TaskFolders:
    """The folders of all tasks, `<root>/<app>/<task>`, by the ids of apps and tasks; and `spares`
    beside them."""

    def __init__(self, root: Path, spares: Path) -> None:
        self._root = root
        self._spares = SpareFolders(spares)

    def create(self, task_id: str) -> None:
        """Make what the task needs in its folder to have a process."""
        self._spares.take(self.of_task(task_id))

    def close(self) -> None:
        """Remove what no task needs."""
        self._spares.clear()

    def of_app(self, app_id: str) -> Path:
        return self._root / app_id[1:].replace("/", "_")

    def of_task(self, task_id: str) -> Path:
        """Where a task of this id, `<app>.<number>`, has or had its files."""
        app_name, _, number = task_id.rpartition(".")
        return self._root / app_name / number

    def remove(self, app_id: str) -> None:
        shutil.rmtree(self.of_app(app_id), ignore_errors=True)

    def prune(self, app_id: str, living: Iterable[str]) -> None:
        """Remove all but the newest few of the app's tasks that are not `living` (task ids)."""
        live = {self.of_task(task_id) for task_id in living}
        ended = [path for path in self.of_app(app_id).glob("*") if path not in live]
        ended.sort(key=lambda path: path.stat().st_mtime)
        for path in ended[:-MAX_ENDED]:
            shutil.rmtree(path, ignore_errors=True)

    def keep_only(self, app_ids: Iterable[str]) -> None:
        """Remove the folders of all other apps."""
        kept = {self.of_app(app_id) for app_id in app_ids}
        for path in set(self._root.iterdir()) - kept:
            shutil.rmtree(path, ignore_errors=True)
