"""What a function printed: read from its instances' sandboxes, told like `tail` does."""

import asyncio
import codecs
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass

from fob.errors import BadRequest, FobError, NotFound
from fob.marathon.task_info import TaskInfo

KEYS = ("tail", "follow", "stream", "task")
STREAMS = ("stdout", "stderr")
MOST_LINES = 10_000

# Mesos gives out 64 KiB at a time at most
CHUNK_BYTES = 32 * 1024
TAIL_BYTES = 512 * 1024
# a sandbox has no events, so a followed one is looked at this often (seconds)
LOOK_EVERY = 0.3
# ... and its function's instances are listed at every change, or else this often
LIST_EVERY = 5.0

ReadFile = Callable[[TaskInfo, str, int, int], Awaitable[tuple[str, int]]]


@dataclass(frozen=True)
class Wanted:
    """Which logs: the last `tail` lines of each of `streams`, of one `task` or of all ("")."""

    tail: int = 100
    follow: bool = False
    streams: tuple[str, ...] = STREAMS
    task: str = ""


def wanted(query: Mapping[str, list[str]]) -> Wanted:
    """What a query asks for; raises `BadRequest`."""
    value = {key: texts[-1] for key, texts in query.items()}
    tail = value.get("tail", str(Wanted.tail))
    if not (tail.isascii() and tail.isdigit() and len(tail) < 9 and int(tail) <= MOST_LINES):
        raise BadRequest(
            f"tail={tail[:50]!r} is not a number of lines from 0 to {MOST_LINES}",
            code="bad_option",
        )
    follow = value.get("follow", "false").lower()
    if follow not in ("", "1", "true", "0", "false"):
        raise BadRequest(f"follow={follow[:50]!r}: give true or false", code="bad_option")
    stream = value.get("stream", "")
    if stream not in ("", *STREAMS):
        raise BadRequest(f"stream={stream[:50]!r}: give stdout or stderr", code="bad_option")
    return Wanted(
        int(tail),
        follow in ("", "1", "true"),
        (stream,) if stream else STREAMS,
        value.get("task", ""),
    )


class _File:
    """One log of one instance, read on from where it was left."""

    def __init__(self, read: ReadFile, task: TaskInfo, name: str) -> None:
        self.title = f"{name} of {task.id}"
        self.problem: FobError | None = None
        self._read = read
        self._task = task
        self._name = name
        self._offset = 0
        self._characters = _UTF8("replace")

    async def tail(self, lines: int) -> str:
        """The last lines; from here on `more` goes on."""
        size = await self._size()
        self._offset = max(0, size - TAIL_BYTES)
        text = await self._until(size)
        return "".join(text.splitlines(keepends=True)[-lines:]) if lines else ""

    async def more(self) -> str:
        """What came since, or of very much the beginning."""
        size = await self._size()
        if size < self._offset:  # it was rotated away, and begun anew
            self._offset = 0
            self._characters.reset()
        return await self._until(min(size, self._offset + TAIL_BYTES))

    async def _size(self) -> int:
        try:
            return (await self._read(self._task, self._name, -1, 0))[1]
        except NotFound:
            return 0

    async def _until(self, size: int) -> str:
        # the way is counted in the bytes asked for: a text may have more or fewer than its file
        texts = []
        while self._offset < size:
            length = min(CHUNK_BYTES, size - self._offset)
            try:
                text, _ = await self._read(self._task, self._name, self._offset, length)
            except NotFound:  # it went away meanwhile
                break
            texts.append(self._characters.decode(_bytes(text)))
            self._offset += length
        return "".join(texts)


_UTF8 = codecs.getincrementaldecoder("utf-8")
# surrogates that stand for no byte
_STRAY = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def _bytes(text: str) -> bytes:
    """The bytes of a piece of a log, which may begin and end within a character."""
    return _STRAY.sub("\ufffd", text).encode("utf-8", "surrogateescape")


class LogReader:
    """Reads the logs of all instances; each piece under a title when there are several logs.

    `instances` lists the instances, `changed` is done at their next change or after a time.
    """

    def __init__(
        self,
        read: ReadFile,
        instances: Callable[[], Awaitable[list[TaskInfo]]],
        changed: Callable[[float], asyncio.Future[None]],
        wanted: Wanted,
    ) -> None:
        self._read = read
        self._instances = instances
        self._changed = changed
        self._wanted = wanted
        self._files: dict[str, _File] = {}
        self._title = ""
        self._change: asyncio.Future[None] | None = None

    async def start(self) -> str:
        """The tails of all logs, with a word in place of one that cannot be read.

        Raises `NotFound` when there is no such function, and what the first log does when none can
        be read.
        """
        files = await self._list()
        told = await self._read_all(files, [file.tail(self._wanted.tail) for file in files])
        if files and files[0].problem and all(file.problem for file in files):
            raise files[0].problem
        return told

    async def more(self) -> str:
        """What was printed since, maybe nothing; takes `LOOK_EVERY` seconds."""
        if self._change is None or self._change.done():
            self._change = self._changed(LIST_EVERY)
            await self._list()
        await asyncio.wait({self._change}, timeout=LOOK_EVERY)
        files = list(self._files.values())
        return await self._read_all(files, [file.more() for file in files])

    async def _list(self) -> list[_File]:
        """The logs there are; those of instances that are gone are forgotten."""
        kept = {}
        for task in await self._instances():
            for name in self._wanted.streams:
                file = _File(self._read, task, name)
                kept[file.title] = self._files.get(file.title, file)
        self._files = kept
        return list(kept.values())

    async def _read_all(self, files: list[_File], reading: list[Coroutine[None, None, str]]) -> str:
        return self._told(files, await asyncio.gather(*map(_text, files, reading)))

    def _told(self, files: list[_File], texts: list[str]) -> str:
        pieces = []
        for file, text in zip(files, texts, strict=True):
            if text and file.title != self._title and len(files) > 1:
                pieces.append(f"==> {file.title} <==\n")
            if text:
                self._title = file.title
                pieces.append(text)
        return "".join(pieces)


async def _text(file: _File, reading: Coroutine[None, None, str]) -> str:
    """What was read; or once, until it can be read again, why not."""
    try:
        text = await reading
    except FobError as error:
        known, file.problem = file.problem, error
        return "" if known else f"({error.message})\n"
    file.problem = None
    return text
