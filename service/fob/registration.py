"""From a file to a function that store and Marathon both have, or to nothing at all."""

import asyncio
import contextlib
import functools
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from fob import appdef, archive, dependencies, source, timeline
from fob.appdef import Placement
from fob.dependencies import Needs
from fob.errors import AppNotFound, FobError, StorageFailed
from fob.marathon.client import Marathon
from fob.options import Options
from fob.recognition import Convention
from fob.snippets import Record, Snippets
from fob.timeline import Mark

log = logging.getLogger(__name__)

# a Marathon that kept silent, or gave up waiting, may carry a registration out this much later
UNSURE_SECONDS = 60.0

# Python's compiler lets nothing else run, in a thread neither: a short file is read at once
SMALL_BYTES = 8 * 1024

App = dict[str, Any]
T = TypeVar("T")


class Registration:
    """Makes functions, and undoes what was begun and not finished."""

    def __init__(self, marathon: Marathon, snippets: Snippets, placement: Placement) -> None:
        self._marathon = marathon
        self._snippets = snippets
        self._placement = placement
        self._in_hand: set[str] = set()
        self._unsure: dict[str, float] = {}  # ids whose app may appear yet, and until when

    async def make(self, body: bytes, options: Options, received: Mark) -> tuple[App, App]:
        """Register `body` under a new id; answers the app as it was sent, and as Marathon has it.

        When anything fails, nothing is left on either side, or (when Marathon does not even say
        whether it has the app) a pending record that `settle` clears up.
        """
        id_ = str(uuid.uuid4())
        self._in_hand.add(id_)
        try:
            created = timeline.utc_now()
            posting = _Posting(id_, Record(body, options.name, created), self._snippets, received)
            app = functools.partial(appdef.app, id_, body, options, created, self._placement)
            try:
                sent = await _off_the_loop(body, lambda: app(*_checked(body, options.entry)))
                return sent, await self._marathon.create(sent, posting.first, posting.then)
            except FobError as error:
                await self._failed(posting, error)
                raise
        finally:
            self._in_hand.discard(id_)

    async def settle(self) -> None:
        """Undo registrations that nobody was told of: a crash, or a Marathon that kept silent."""
        for id_ in await asyncio.to_thread(self._snippets.pending):
            if id_ not in self._in_hand and not await self._stays(id_):
                await self._undo(id_)

    async def _failed(self, posting: "_Posting", error: FobError) -> None:
        """Leave nothing of a registration on either side."""
        if posting.accepted:
            await self._undo(posting.id_)
        elif error.code == "marathon_unsure":
            self._unsure[posting.id_] = time.monotonic() + UNSURE_SECONDS
        else:
            await asyncio.to_thread(posting.forget)

    async def _stays(self, id_: str) -> bool:
        """Confirm an app that is there, if somebody may have been told of it; whether it is so."""
        if not await asyncio.to_thread(self._snippets.perhaps_confirmed, id_):
            return False
        try:
            await self._marathon.app(appdef.app_id(id_), whole=False)
        except AppNotFound:
            return False
        await asyncio.to_thread(self._snippets.confirm, id_)
        return True

    async def _undo(self, id_: str) -> None:
        """Remove the app, and then the record: as long as there may be one to remove."""
        try:
            await self._marathon.delete(appdef.app_id(id_))
        except AppNotFound:
            if time.monotonic() < self._unsure.get(id_, 0):
                return
        self._unsure.pop(id_, None)
        await asyncio.to_thread(self._snippets.remove, id_)
        log.info("removed %s, whose registration did not finish", id_)


class _Posting:
    """A registration's record: it is stored while the file is read and its app made, which takes
    about as long, and confirmed when Marathon has that. The methods block."""

    def __init__(self, id_: str, record: Record, snippets: Snippets, received: Mark) -> None:
        self.id_ = id_
        self.accepted = False
        self._snippets = snippets
        self._stored = snippets.begin_put(id_, record)
        self._marks = [received]

    def first(self) -> None:
        """Marathon is not asked before the record is on the disk."""
        self._marks[1:] = [self._stored.result(), timeline.now("posted")]

    def then(self) -> None:
        """Marathon has it too."""
        self.accepted = True
        self._snippets.confirm(self.id_, *self._marks, timeline.now("accepted"))

    def forget(self) -> None:
        """Remove the record, when it is written."""
        with contextlib.suppress(StorageFailed):  # that has left nothing
            self._stored.result()
        self._snippets.remove(self.id_)


async def _off_the_loop(body: bytes, call: Callable[[], T]) -> T:
    """What `call` makes of the body: at once, or in a thread when that takes a while."""
    if len(body) > SMALL_BYTES or archive.is_archive(body) or not appdef.prepared():
        return await asyncio.to_thread(call)
    return call()


def _checked(body: bytes, entry: str | None) -> tuple[Needs, Convention]:
    """What a file that can become a function needs, and whose convention it follows."""
    if archive.is_archive(body):
        opened = archive.check(body, entry)
        needs = opened.needs()
        read = source.check(opened.files[opened.entry], opened.name or None)
    else:
        read = source.check(body, entry)
        needs = dependencies.of_source(source.decode(body))
    return needs, read.convention
