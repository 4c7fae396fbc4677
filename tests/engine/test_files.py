import asyncio
import os
import stat
from pathlib import Path

from fob import timeline
from fob.engine.runtime.task_folders import (
    MAX_OUTPUT_BYTES,
    PARTS,
    REFILL_SECONDS,
    SPARES,
    TIMELINE_DELAY_SECONDS,
    TaskFolder,
    TaskFolders,
    Timeline,
)


def test_output_is_rotated_and_one_older_file_kept(folder: TaskFolder) -> None:
    chunk = b"x" * 65535 + b"\n"
    for _ in range(4 * MAX_OUTPUT_BYTES // len(chunk)):
        folder.append("stdout", chunk)
    sizes = {path.name: path.stat().st_size for path in folder.path.glob("stdout*")}
    assert set(sizes) == {"stdout", "stdout.1"}
    assert max(sizes.values()) <= MAX_OUTPUT_BYTES


def test_output_that_cannot_be_written_does_not_raise(tmp_path: Path) -> None:
    TaskFolder(tmp_path / "nowhere").append("stdout", b"x")


def test_the_tail_begins_with_a_whole_line(folder: TaskFolder) -> None:
    folder.append("stderr", b"first\nsecond\nthird\n")
    assert folder.tail("stderr", 10) == "third\n"
    assert folder.tail("stderr", 1000) == "first\nsecond\nthird\n"
    assert folder.tail("nothing", 10) == ""


def test_cleaning_keeps_the_output(folder: TaskFolder) -> None:
    folder.append("stdout", b"hi\n")
    folder.clean()
    assert folder.tail("stdout", 100) == "hi\n"
    assert not folder.sandbox.exists()
    assert not folder.pipe("stdout").parent.exists()
    folder.remove()
    assert not folder.path.exists()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_a_folder_is_the_same_whether_it_was_made_in_advance_or_not(tmp_path: Path) -> None:
    async def run() -> None:
        (tmp_path / "tasks").mkdir()
        folders = TaskFolders(tmp_path / "tasks", tmp_path / "spare")
        for number in range(SPARES + 2):
            folders.create(f"app.{number}")  # of one app
            folders.create(f"app{number}.1")  # the first of its app
            await asyncio.sleep(2 * REFILL_SECONDS)
        folders.close()

    asyncio.run(run())
    made = [path for app in (tmp_path / "tasks").iterdir() for path in app.iterdir()]
    assert len(made) == 2 * (SPARES + 2)
    assert not (tmp_path / "spare").exists()
    for path in made:
        assert {"pipes", "sandbox", "stdout", "stderr", "marks"} <= set(names(path))
        assert [stat.S_IMODE(os.stat(path / part).st_mode) for part in PARTS] == [0o700, 0o700]


def test_an_existing_folder_keeps_its_files_and_gets_the_missing_ones(tmp_path: Path) -> None:
    async def run() -> None:
        (tmp_path / "tasks").mkdir()
        folders = TaskFolders(tmp_path / "tasks", tmp_path / "spare")
        for _ in range(SPARES + 2):
            folders.create("app.1")
            folder = TaskFolder(folders.of_task("app.1"))
            folder.append("stdout", b"x\n")
            folder.clean()
            await asyncio.sleep(2 * REFILL_SECONDS)
        folders.close()
        assert folder.tail("stdout", 100) == "x\n" * (SPARES + 2)

    asyncio.run(run())


def test_spare_folders_of_an_earlier_engine_are_removed(tmp_path: Path) -> None:
    (tmp_path / "spare" / "left").mkdir(parents=True)
    TaskFolders(tmp_path / "tasks", tmp_path / "spare")
    assert not (tmp_path / "spare").exists()


def test_marks_of_a_start_are_written_together_or_after_a_delay(folder: TaskFolder) -> None:
    async def run() -> None:
        marks = Timeline(folder)
        marks.add(timeline.now("placed"), more_follows=True)
        assert folder.tail("timeline", 100) == ""
        marks.add(timeline.now("listening"))
        assert folder.tail("timeline", 200).count("\n") == 2
        marks.add(timeline.now("called"), more_follows=True)
        await asyncio.sleep(2 * TIMELINE_DELAY_SECONDS)

    asyncio.run(run())
    kept = timeline.parse(folder.tail("timeline", 1000))
    assert [mark.name for mark in kept] == ["placed", "listening", "called"]
