"""Pipes from tasks to their engines."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from fob import timeline
from fob.engine.runtime.pipes import Pipes, peek
from fob.engine.runtime.task_folders import TaskFolder


def test_output_written_to_the_pipes_arrives_in_the_files(folder: TaskFolder) -> None:
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
        os.write(writer, b"without a reader\n")
        second = Pipes(folder, lambda mark: None)
        second.open()
        second.close()
        os.close(writer)

    asyncio.run(run())
    assert folder.tail("stdout", 100) == "without a reader\n"


def test_a_mark_that_an_engine_was_killed_while_handling_reaches_the_next(
    folder: TaskFolder,
) -> None:
    seen: list[str] = []

    async def killed_while_handling() -> None:
        def later(mark: timeline.Mark) -> None:  # in the same turn of the loop
            asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGKILL)

        pipes = Pipes(folder, later)
        pipes.open()
        await asyncio.sleep(1)

    async def next_one() -> None:
        pipes = Pipes(folder, lambda mark: seen.append(mark.name))
        pipes.open()
        await asyncio.sleep(0.1)
        pipes.close()

    task = os.open(folder.pipe("marks"), os.O_RDWR)
    os.write(task, timeline.now("listening").line().encode())
    pid = os.fork()
    if pid == 0:
        asyncio.run(killed_while_handling())
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    asyncio.run(next_one())
    asyncio.run(next_one())  # and only that one
    os.close(task)
    assert seen == ["listening"]


def test_marks_that_cannot_be_handled_are_removed_from_the_pipe(folder: TaskFolder) -> None:
    async def run() -> None:
        pipes = Pipes(folder, lambda mark: 1 / 0)
        pipes.open()
        task = pipes.task_end("marks")
        os.write(task, timeline.now("listening").line().encode())
        with pytest.raises(ZeroDivisionError):
            pipes.close()
        pipes.close()
        left = os.open(folder.pipe("marks"), os.O_RDONLY | os.O_NONBLOCK)
        with pytest.raises(BlockingIOError):
            peek(left)
        os.close(left)
        os.close(task)

    asyncio.run(run())


def test_data_that_was_peeked_at_can_still_be_read() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        peek(reader)
    data = bytes(range(256)) * 200
    for piece in (data[:70], data[70:5000], data[5000:]):
        os.write(writer, piece)
    assert peek(reader) == peek(reader) == data
    assert os.read(reader, len(data)) == data
    os.close(writer)
    assert peek(reader) == b""
    os.close(reader)


def test_peeking_at_a_file_that_is_no_pipe_says_why(tmp_path: Path) -> None:
    file = os.open(tmp_path / "no pipe", os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError, match="Invalid argument"):
        peek(file)
    os.close(file)
