"""From a file to a function that store and Marathon both have, or to nothing at all."""

import asyncio
import functools
import logging
import time
import uuid
from concurrent.futures import Future
from typing import Any

from fob import timeline
from fob.errors import AppNotFound, FobError
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.functions.store import SnippetRecord, SnippetStore
from fob.marathon.client import Marathon
from fob.source import archive, dependencies, parsing
from fob.source.conventions import Convention
from fob.source.dependencies import Dependencies
from fob.timeline import Mark

log = logging.getLogger(__name__)

# a Marathon that kept silent, or gave up waiting, may carry a registration out this much later
UNSURE_SECONDS = 60.0

# a shorter file is read in no time
SMALL_BYTES = 8 * 1024

App = dict[str, Any]


class Registration:
    """Makes functions, and undoes what was begun and not finished."""

    def __init__(
        self, marathon: Marathon, snippets: SnippetStore, placement: PlacementSettings
    ) -> None:
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
            posting = _Posting(
                id_, SnippetRecord(body, options.name, created), self._snippets, received
            )
            app = functools.cache(lambda: _app(id_, body, options, created, self._placement))
            try:
                if _takes_a_while(body):  # and no connection to Marathon should have to wait for it
                    await asyncio.to_thread(app)
                made = await self._marathon.create(
                    app_definition.app_id(id_),
                    lambda: app_definition.to_json(app()),
                    posting.first,
                    posting.then,
                )
                return app(), made
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
            await asyncio.to_thread(self._snippets.remove, posting.id_)

    async def _stays(self, id_: str) -> bool:
        """Confirm an app that is there, if somebody may have been told of it; whether it is so."""
        if not await asyncio.to_thread(self._snippets.perhaps_confirmed, id_):
            return False
        try:
            await self._marathon.app(app_definition.app_id(id_), whole=False)
        except AppNotFound:
            return False
        await asyncio.to_thread(self._snippets.confirm, id_)
        return True

    async def _undo(self, id_: str) -> None:
        """Remove the app, and then the record: as long as there may be one to remove."""
        try:
            await self._marathon.delete(app_definition.app_id(id_))
        except AppNotFound:
            if time.monotonic() < self._unsure.get(id_, 0):
                return
        self._unsure.pop(id_, None)
        await asyncio.to_thread(self._snippets.remove, id_)
        log.info("removed %s, whose registration did not finish", id_)


class _Posting:
    """A registration's record: written before Marathon is asked, on the disk before anybody is told
    that Marathon has the app. The methods block."""

    def __init__(
        self, id_: str, record: SnippetRecord, snippets: SnippetStore, received: Mark
    ) -> None:
        self.id_ = id_
        self.accepted = False
        self._record = record
        self._snippets = snippets
        self._marks = [received]
        self._on_disk: Future[None] | None = None

    def first(self) -> None:
        """Leave the record to the next fob, should this one crash when it has asked Marathon."""
        if not self._on_disk:  # and not asked before
            self._marks.append(self._snippets.put(self.id_, self._record))
            self._on_disk = self._snippets.begin_sync()
        self._marks[2:] = [timeline.now("posted")]

    def then(self) -> None:
        """Marathon has it too."""
        assert self._on_disk
        self.accepted = True
        self._on_disk.result()
        self._snippets.confirm(self.id_, *self._marks, timeline.now("accepted"))


def _takes_a_while(body: bytes) -> bool:
    return len(body) > SMALL_BYTES or archive.is_archive(body) or not app_definition.prepared()


def _app(
    id_: str, body: bytes, options: Options, created: str, placement: PlacementSettings
) -> App:
    """The app of a file that can become a function; raises `BadRequest` or `TooLarge`."""
    needs, convention = _checked(body, options.entry)
    return app_definition.app(id_, body, options, created, placement, needs, convention)


def _checked(body: bytes, entry: str | None) -> tuple[Dependencies, Convention]:
    """What a file that can become a function needs, and whose convention it follows."""
    if archive.is_archive(body):
        opened = archive.check(body, entry)
        needs = opened.needs()
        read = parsing.check(opened.files[opened.entry], opened.name or None)
    else:
        read = parsing.check(body, entry)
        needs = dependencies.of_source(parsing.decode(body))
    return needs, read.convention
