"""From a file to a function that store and Marathon both have, or to nothing at all."""

import asyncio
import functools
import logging
import time
import uuid
from typing import Any

from fob import appdef, archive, dependencies, source, timeline
from fob.appdef import Placement
from fob.errors import AppNotFound, FobError
from fob.marathon.client import Marathon
from fob.options import Options
from fob.snippets import Record, Snippets
from fob.timeline import Mark

log = logging.getLogger(__name__)

# a Marathon that kept silent, or gave up waiting, may carry a registration out this much later
UNSURE_SECONDS = 60.0

# Python's compiler lets nothing else run, in a thread neither: a short file is read at once
SMALL_BYTES = 8 * 1024

App = dict[str, Any]


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
            app = await self._definition(id_, body, options, created)
            record = Record(body, options.name, created)
            return app, await self._post(id_, app, record, [received])
        finally:
            self._in_hand.discard(id_)

    async def settle(self) -> None:
        """Undo registrations that nobody was told of: a crash, or a Marathon that kept silent."""
        for id_ in await asyncio.to_thread(self._snippets.pending):
            if id_ not in self._in_hand and not await self._stays(id_):
                await self._undo(id_)

    async def _definition(self, id_: str, body: bytes, options: Options, created: str) -> App:
        """The app definition of a file that can become a function."""
        make = functools.partial(_definition, id_, body, options, created, self._placement)
        if len(body) > SMALL_BYTES or archive.is_archive(body):
            return await asyncio.to_thread(make)
        return make()

    async def _post(self, id_: str, app: App, record: Record, marks: list[Mark]) -> App:
        def store() -> None:
            self._snippets.put(id_, record)
            marks.extend([timeline.now("stored"), timeline.now("posted")])

        try:
            made = await self._marathon.create(app, first=store)
        except FobError as error:
            if error.code == "marathon_unsure":
                self._unsure[id_] = time.monotonic() + UNSURE_SECONDS
            else:
                await asyncio.to_thread(self._snippets.remove, id_)
            raise
        marks.append(timeline.now("accepted"))
        try:
            await asyncio.to_thread(self._snippets.confirm, id_, *marks)
        except FobError:
            await self._undo(id_)
            raise
        return made

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


def _definition(
    id_: str, body: bytes, options: Options, created: str, placement: Placement
) -> dict[str, Any]:
    if archive.is_archive(body):
        opened = archive.check(body, options.entry)
        needs = opened.needs()
        read = source.check(opened.files[opened.entry], opened.name or None)
    else:
        read = source.check(body, options.entry)
        needs = dependencies.of_source(source.decode(body))
    return appdef.app(id_, body, options, created, placement, needs, read.convention)
