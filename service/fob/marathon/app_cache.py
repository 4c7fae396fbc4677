"""The apps of one group, without what is long in them: asked for only when they may have changed.

Marathon tells of every change in a group with a `group_change_success` that carries the change's
version. Those that we made ourselves are known by it; after any other, or without a stream of
events, the apps are asked for anew.
"""

import asyncio
import itertools
from typing import Any

from fob.marathon.client import Marathon
from fob.marathon.event_stream import MarathonEvent

KEPT = ("id", "instances", "labels", "version", "versionInfo", "lastTaskFailure")
LONG = 4096  # characters of a value of env that is not kept
# events get lost
TRUSTED_SECONDS = 300.0
MADE_KEPT = 1000


class AppCache:
    """What is known of the apps; all of it on the loop."""

    def __init__(self, marathon: Marathon, group: str) -> None:
        self._marathon = marathon
        self._group = group
        self._stream = 0  # number of the stream that tells of changes; 0: there is none
        self._streams = itertools.count(1)
        self._known: dict[str, dict[str, Any]] = {}
        self._meanwhile: dict[str, dict[str, Any] | None] = {}  # what came while they are asked for
        self._trusted_until = 0.0
        self._heard: set[str] = set()  # versions of changes that somebody made
        self._made: dict[str, None] = {}  # versions of our own that Marathon has not told of yet
        self._asking = asyncio.Lock()

    async def all(self) -> list[dict[str, Any]]:
        """Every app of the group: its id, scale, labels, versions, last failure, short variables.

        Raises what `Marathon.apps` does.
        """
        async with self._asking:
            if not self._right():
                await self._ask()
        return list(self._known.values())

    def made(self, app: dict[str, Any]) -> None:
        """We have made this app, which Marathon has answered."""
        self.take(app)
        self.changed(str(app.get("version")))

    def removed(self, app_id: str, answer: dict[str, Any]) -> None:
        """We have removed the app, and Marathon has given this answer."""
        self._forget(app_id)
        self.changed(str(answer.get("version")))

    def take(self, app: dict[str, Any]) -> None:
        """An app as Marathon had it a moment ago."""
        known = self._known.get(app["id"], {})
        if str(known.get("version", "")) <= str(app.get("version")):
            self._known[app["id"]] = self._meanwhile[app["id"]] = _kept(app)

    def changed(self, version: str) -> None:
        """The change of this version was ours, and what came of it has been taken."""
        if version in self._heard:
            self._heard.remove(version)
            return
        self._made[version] = None
        if len(self._made) > MADE_KEPT:
            del self._made[next(iter(self._made))]

    # the stream's side, told by the table of tasks

    def attached(self) -> None:
        self._stream = next(self._streams)
        self._trusted_until = 0.0

    def heard(self, event: MarathonEvent) -> None:
        if event.name == "group_change_success":
            self._hear(str(event.data.get("groupId")), str(event.data.get("version")))
        elif event.name == "app_terminated_event":
            self._forget(str(event.data.get("appId")))

    def lost(self) -> None:
        self._stream = 0
        self._made.clear()

    def _hear(self, group: str, version: str) -> None:
        if not (group == "/" or self._group == group or group.startswith(self._group + "/")):
            return
        if version in self._made:
            del self._made[version]
        else:
            self._heard.add(version)

    def _right(self) -> bool:
        trusted = asyncio.get_running_loop().time() < self._trusted_until
        return bool(self._stream) and trusted and not self._heard

    async def _ask(self) -> None:
        stream, self._trusted_until = self._stream, 0.0
        self._heard.clear()
        self._meanwhile.clear()
        asked = {app["id"]: _kept(app) for app in await self._marathon.apps(self._group)}
        news = asked | self._meanwhile
        self._known = {app_id: app for app_id, app in news.items() if app is not None}
        if stream == self._stream:
            self._trusted_until = asyncio.get_running_loop().time() + TRUSTED_SECONDS

    def _forget(self, app_id: str) -> None:
        self._known.pop(app_id, None)
        self._meanwhile[app_id] = None


def _kept(app: dict[str, Any]) -> dict[str, Any]:
    env = app.get("env") or {}
    short = {name: value for name, value in env.items() if len(value) < LONG}
    return {key: app[key] for key in KEPT if key in app} | {"env": short}
