"""Registration: a file becomes a function that both store and Marathon have, or nothing remains."""

import asyncio
import functools
import logging
import time
import uuid
from collections.abc import Callable
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

# After a timeout or a 503, Marathon may still create the app for this long.
UNSURE_SECONDS = 60.0

# Checking and packing a file up to this size takes about a millisecond.
SMALL_BYTES = 8 * 1024

App = dict[str, Any]


class Registration:
    """Registers functions, and undoes registrations that did not finish."""

    def __init__(
        self, marathon: Marathon, snippets: SnippetStore, placement: PlacementSettings
    ) -> None:
        self._marathon = marathon
        self._snippets = snippets
        self._placement = placement
        self._in_progress: set[str] = set()
        self._unsure: dict[str, float] = {}  # ids whose app may still appear, and until when

    async def register(self, body: bytes, options: Options, received: Mark) -> tuple[App, App]:
        """Register `body` under a new id; return the app as sent, and as Marathon has it.

        After a failure nothing remains on either side, except when Marathon does not say whether
        it has the app: then a pending record remains, which `settle` removes.
        """
        id_ = str(uuid.uuid4())
        created = timeline.utc_now()
        record = SnippetRecord(body, options.name, created)
        make_app = functools.partial(_app, id_, body, options, created, self._placement)
        posting = _Posting(id_, record, make_app, self._snippets, received)
        self._in_progress.add(id_)
        try:
            made = await self._post(posting)
            return posting.app, made
        except FobError as error:
            await self._clean_up(posting, error)
            raise
        finally:
            self._in_progress.discard(id_)

    async def settle(self) -> None:
        """Undo registrations that no client knows of, after a crash or a silent Marathon."""
        for id_ in await asyncio.to_thread(self._snippets.pending):
            if id_ not in self._in_progress and not await self._confirmed_late(id_):
                await self._undo(id_)

    async def _post(self, posting: "_Posting") -> App:
        if posting.is_slow:
            # Otherwise it would occupy one of the few threads that talk to Marathon.
            await asyncio.to_thread(lambda: posting.app)
        made = await self._marathon.create(app_definition.app_id(posting.id_), posting.post)
        if not posting.accepted:  # the response was lost, but Marathon has the app
            await asyncio.to_thread(posting.confirm)
        return made

    async def _clean_up(self, posting: "_Posting", error: FobError) -> None:
        """Remove what a failed registration left on either side."""
        if posting.accepted:
            await self._undo(posting.id_)
        elif error.code == "marathon_unsure":
            self._unsure[posting.id_] = time.monotonic() + UNSURE_SECONDS
        else:
            await asyncio.to_thread(self._snippets.remove, posting.id_)

    async def _confirmed_late(self, id_: str) -> bool:
        """Confirm a pending record if its app exists and a client may know of it.

        That can happen when the machine went down before the confirmation was on disk.
        """
        if not await asyncio.to_thread(self._snippets.perhaps_confirmed, id_):
            return False
        try:
            await self._marathon.app(app_definition.app_id(id_), whole=False)
        except AppNotFound:
            return False
        await asyncio.to_thread(self._snippets.confirm, id_)
        return True

    async def _undo(self, id_: str) -> None:
        """Remove the app and then the record, which stays while the app may still appear."""
        try:
            await self._marathon.delete(app_definition.app_id(id_))
        except AppNotFound:
            if time.monotonic() < self._unsure.get(id_, 0):
                return
        self._unsure.pop(id_, None)
        await asyncio.to_thread(self._snippets.remove, id_)
        log.info("removed %s, whose registration did not finish", id_)


class _Posting:
    """One registration on its way to store and Marathon. The methods block.

    The record is written before Marathon is asked, so that the next fob can clean up if this one
    crashes. It is synced to disk while Marathon works, and confirmed when both are done.
    """

    def __init__(
        self,
        id_: str,
        record: SnippetRecord,
        make_app: Callable[[], App],
        snippets: SnippetStore,
        received: Mark,
    ) -> None:
        self.id_ = id_
        self.accepted = False
        self._record = record
        self._make_app = functools.cache(make_app)
        self._snippets = snippets
        self._marks = [received]
        self._synced: Future[None] | None = None

    @property
    def app(self) -> App:
        """The app, made at the first use. Raises `BadRequest` or `TooLarge`."""
        return self._make_app()

    @property
    def is_slow(self) -> bool:
        """Whether making the app takes more than about a millisecond."""
        body = self._record.content
        return len(body) > SMALL_BYTES or archive.is_archive(body)

    def post(self, send: Callable[[bytes], App]) -> App:
        """Write the record, send the app, confirm the record; return Marathon's app.

        Called again when Marathon was too busy.
        """
        app = app_definition.to_json(self.app)
        if not self._synced:
            self._marks.append(self._snippets.put(self.id_, self._record))
            self._synced = self._snippets.begin_sync()
        self._marks[2:] = [timeline.now("posted")]
        made = send(app)
        self.confirm()
        return made

    def confirm(self) -> None:
        """Note that Marathon has the app; raises `StorageFailed` if the record is not on disk."""
        assert self._synced
        self.accepted = True
        self._synced.result()
        self._snippets.confirm(self.id_, *self._marks, timeline.now("accepted"))


def _app(
    id_: str, body: bytes, options: Options, created: str, placement: PlacementSettings
) -> App:
    """Check the file and make its app; raises `BadRequest` or `TooLarge`."""
    found = _check(body, options.entry)
    return app_definition.app(id_, body, options, created, placement, *found)


def _check(body: bytes, entry: str | None) -> tuple[Dependencies, Convention]:
    """Check that the file can become a function; return its dependencies and convention."""
    if archive.is_archive(body):
        opened = archive.check(body, entry)
        source = parsing.check(opened.files[opened.entry], opened.name or None)
        return opened.dependencies(), source.convention
    source = parsing.check(body, entry)
    return dependencies.of_source(parsing.decode(body)), source.convention
