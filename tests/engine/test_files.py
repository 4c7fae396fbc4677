import asyncio
import os
from pathlib import Path

import pytest

from fob import timeline
from fob.engine.machine.files import OUTPUT_LIMIT_BYTES, Pipes, TaskFolder


@pytest.fixture
def folder(tmp_path: Path) -> TaskFolder:
    folder = TaskFolder(tmp_path / "task")
    folder.create()
    return folder


def test_output_is_rotated_and_one_older_file_kept(folder: TaskFolder) -> None:
    chunk = b"x" * 65535 + b"\n"
    for _ in range(4 * OUTPUT_LIMIT_BYTES // len(chunk)):
        folder.append("stdout", chunk)
    sizes = {path.name: path.stat().st_size for path in folder.path.glob("stdout*")}
    assert set(sizes) == {"stdout", "stdout.1"}
    assert max(sizes.values()) <= OUTPUT_LIMIT_BYTES


def test_output_that_cannot_be_kept_does_not_raise(tmp_path: Path) -> None:
    TaskFolder(tmp_path / "nowhere").append("stdout", b"x")


def test_the_tail_begins_with_a_whole_line(folder: TaskFolder) -> None:
    folder.append("stderr", b"first\nsecond\nthird\n")
    assert folder.tail("stderr", 10) == "third\n"
    assert folder.tail("stderr", 1000) == "first\nsecond\nthird\n"
    assert folder.tail("nothing", 10) == ""


def test_cleaning_keeps_what_was_printed(folder: TaskFolder) -> None:
    folder.append("stdout", b"hi\n")
    folder.clean()
    assert [path.name for path in folder.path.iterdir()] == ["stdout"]
    folder.remove()
    assert not folder.path.exists()


def test_what_is_written_to_the_pipes_arrives_in_the_files(folder: TaskFolder) -> None:
    marks: list[timeline.Mark] = []

    async def run() -> None:
        pipes = Pipes(folder, marks.append)
        pipes.open()
        ends = {name: pipes.task_end(name) for name in ("stdout", "stderr", "marks")}
        os.write(ends["stdout"], b"out\n")
        os.write(ends["stderr"], b"err\n")
        line = timeline.now("listening").line().encode()
        os.write(ends["marks"], line[:10])
        await asyncio.sleep(0)
        os.write(ends["marks"], line[10:] + b"nonsense\n")
        for fd in ends.values():
            os.close(fd)
        pipes.close()

    asyncio.run(run())
    assert folder.tail("stdout", 100) == "out\n"
    assert folder.tail("stderr", 100) == "err\n"
    assert [mark.name for mark in marks] == ["listening"]


def test_a_writer_outlives_its_reader(folder: TaskFolder) -> None:
    async def run() -> None:
        first = Pipes(folder, lambda mark: None)
        first.open()
        writer = first.task_end("stdout")
        first.close()
        os.write(writer, b"while nobody reads\n")
        second = Pipes(folder, lambda mark: None)
        second.open()
        second.close()
        os.close(writer)

    asyncio.run(run())
    assert folder.tail("stdout", 100) == "while nobody reads\n"
