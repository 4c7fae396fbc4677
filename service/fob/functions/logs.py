"""The output of a function, read from its instances' sandboxes and formatted as `tail` does."""

import asyncio
import codecs
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass

from fob.errors import BadRequest, FobError, NotFound
from fob.marathon.task_info import TaskInfo

KEYS = ("tail", "follow", "stream", "task")
STREAMS = ("stdout", "stderr")
MAX_LINES = 10_000

CHUNK_BYTES = 32 * 1024  # Mesos returns at most 64 KiB at a time
MAX_TAIL_BYTES = 512 * 1024
# A sandbox has no events, so a followed one is polled this often (seconds).
POLL_SECONDS = 0.3
# The function's instances are listed after every change, and at least this often (seconds).
LIST_SECONDS = 5.0

ReadFile = Callable[[TaskInfo, str, int, int], Awaitable[tuple[str, int]]]


@dataclass(frozen=True)
class LogQuery:
    """Which logs: the last `tail` lines of each of `streams`, of one `task` or of all ("")."""

    tail: int = 100
    follow: bool = False
    streams: tuple[str, ...] = STREAMS
    task: str = ""


def from_query(query: Mapping[str, list[str]]) -> LogQuery:
    """Read a query string; raises `BadRequest`."""
    value = {key: texts[-1] for key, texts in query.items()}
    tail = value.get("tail", str(LogQuery.tail))
    if not (tail.isascii() and tail.isdigit() and len(tail) < 9 and int(tail) <= MAX_LINES):
        raise BadRequest(
            f"tail={tail[:50]!r} is not a number of lines from 0 to {MAX_LINES}",
            code="bad_option",
        )
    follow = value.get("follow", "false").lower()
    if follow not in ("", "1", "true", "0", "false"):
        raise BadRequest(f"follow={follow[:50]!r}: give true or false", code="bad_option")
    stream = value.get("stream", "")
    if stream not in ("", *STREAMS):
        raise BadRequest(f"stream={stream[:50]!r}: give stdout or stderr", code="bad_option")
    return LogQuery(
        int(tail),
        follow in ("", "1", "true"),
        (stream,) if stream else STREAMS,
        value.get("task", ""),
    )


class _File:
    """One log of one instance, which remembers how far it was read."""

    def __init__(self, read: ReadFile, task: TaskInfo, name: str) -> None:
        self.title = f"{name} of {task.id}"
        self.problem: FobError | None = None
        self._read = read
        self._task = task
        self._name = name
        self._offset = 0
        self._decoder = _UTF8("replace")

    async def tail(self, lines: int) -> str:
        """Return the last lines; `more` continues after them."""
        size = await self._size()
        self._offset = max(0, size - MAX_TAIL_BYTES)
        text = await self._until(size)
        return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""

    async def more(self) -> str:
        """Return what was added since, up to `MAX_TAIL_BYTES`."""
        size = await self._size()
        if size < self._offset:  # it was rotated, and a new one begun
            self._offset = 0
            self._decoder.reset()
        return await self._until(min(size, self._offset + MAX_TAIL_BYTES))

    async def _size(self) -> int:
        try:
            return (await self._read(self._task, self._name, -1, 0))[1]
        except NotFound:
            return 0

    async def _until(self, size: int) -> str:
        # The offset advances by the bytes requested: Mesos returns text, whose length in bytes can
        # differ from the file's where that is not UTF-8.
        texts = []
        while self._offset < size:
            length = min(CHUNK_BYTES, size - self._offset)
            try:
                text, _ = await self._read(self._task, self._name, self._offset, length)
            except NotFound:  # it was removed meanwhile
                break
            texts.append(self._decoder.decode(_bytes(text)))
            self._offset += length
        return "".join(texts)


_UTF8 = codecs.getincrementaldecoder("utf-8")
# Surrogates that do not stand for a byte (PEP 383).
_STRAY = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _bytes(text: str) -> bytes:
    """Return the bytes of a part of a log, which may begin and end within a character."""
    return _STRAY.sub("\ufffd", text).encode("utf-8", "surrogateescape")


class LogReader:
    """Reads the logs of all instances; if there are several, each part has a title.

    `instances` lists the instances. `next_change` returns a future that is done at their next
    change, or after the given number of seconds.
    """

    def __init__(
        self,
        read: ReadFile,
        instances: Callable[[], Awaitable[list[TaskInfo]]],
        next_change: Callable[[float], asyncio.Future[None]],
        query: LogQuery,
    ) -> None:
        self._read = read
        self._instances = instances
        self._next_change = next_change
        self._query = query
        self._files: dict[str, _File] = {}
        self._title = ""
        self._change: asyncio.Future[None] | None = None

    async def start(self) -> str:
        """Return the tails of all logs, with an error message in place of an unreadable one.

        Raises `NotFound` if there is no such function, and the first log's error if none can be
        read.
        """
        files = await self._list()
        text = await self._read_all(files, [file.tail(self._query.tail) for file in files])
        if files and files[0].problem and all(file.problem for file in files):
            raise files[0].problem
        return text

    async def more(self) -> str:
        """Return what was printed since, perhaps nothing, after up to `POLL_SECONDS`."""
        if self._change is None or self._change.done():
            self._change = self._next_change(LIST_SECONDS)
            await self._list()
        await asyncio.wait({self._change}, timeout=POLL_SECONDS)
        files = list(self._files.values())
        return await self._read_all(files, [file.more() for file in files])

    async def _list(self) -> list[_File]:
        """List the current logs, and forget those of instances that are gone."""
        kept = {}
        for task in await self._instances():
            for name in self._query.streams:
                file = _File(self._read, task, name)
                kept[file.title] = self._files.get(file.title, file)
        self._files = kept
        return list(kept.values())

    async def _read_all(self, files: list[_File], reading: list[Coroutine[None, None, str]]) -> str:
        return self._joined(files, await asyncio.gather(*map(_text, files, reading)))

    def _joined(self, files: list[_File], texts: list[str]) -> str:
        parts = []
        for file, text in zip(files, texts, strict=True):
            if text and file.title != self._title and len(files) > 1:
                parts.append(f"==> {file.title} <==\n")
            if text:
                self._title = file.title
                parts.append(text)
        return "".join(parts)


async def _text(file: _File, reading: Coroutine[None, None, str]) -> str:
    """Return what was read; after an error its message, once until reading works again."""
    try:
        text = await reading
    except FobError as error:
        known, file.problem = file.problem, error
        return "" if known else f"({error.message})\n"
    file.problem = None
    return text
