"""A cache of the apps in one group, without long values; refreshed only after foreign changes.

For every change in a group Marathon sends a `group_change_success` event with the change's version.
Versions of our own changes are known. After any other version, without an event stream, and when
the cache is too old, the apps are requested again.
"""

import asyncio
import itertools
from typing import Any

from fob.marathon.client import Marathon
from fob.marathon.event_stream import MarathonEvent

KEPT_KEYS = ("id", "instances", "labels", "version", "versionInfo", "lastTaskFailure")
MAX_VALUE_CHARACTERS = 4096  # of a variable in `env`; longer ones are not kept
MAX_AGE_SECONDS = 300.0  # because events can get lost
MAX_OWN_VERSIONS = 1000


class AppCache:
    """The apps of a group. All methods run on the loop."""

    def __init__(self, marathon: Marathon, group: str) -> None:
        self._marathon = marathon
        self._group = group
        self._stream = 0  # number of the event stream; 0: there is none
        self._stream_numbers = itertools.count(1)
        self._apps: dict[str, dict[str, Any]] = {}
        # what became known during a refresh and may be newer than its response; None: removed
        self._newer: dict[str, dict[str, Any] | None] = {}
        self._valid_until = 0.0
        # An event may arrive before or after the response to our own change, so versions wait in
        # one of these two for their counterpart. Whatever stays in the first is a foreign change.
        self._event_versions: set[str] = set()
        self._own_versions: dict[str, None] = {}
        self._refreshing = asyncio.Lock()

    async def all(self) -> list[dict[str, Any]]:
        """Return every app: id, scale, labels, versions, last failure and short variables.

        Raises what `Marathon.apps` raises.
        """
        async with self._refreshing:
            if not self._valid():
                await self._refresh()
        return list(self._apps.values())

    def created(self, app: dict[str, Any]) -> None:
        """Note an app that we created, as Marathon returned it."""
        self.update(app)
        self.changed(str(app.get("version")))

    def removed(self, app_id: str, response: dict[str, Any]) -> None:
        """Note that we removed the app; `response` is Marathon's."""
        self._remove(app_id)
        self.changed(str(response.get("version")))

    def update(self, app: dict[str, Any]) -> None:
        """Note the app as Marathon just returned it, unless a newer version is known."""
        known = self._apps.get(app["id"], {})
        if str(known.get("version", "")) <= str(app.get("version")):
            self._apps[app["id"]] = self._newer[app["id"]] = _shortened(app)

    def changed(self, version: str) -> None:
        """Note that the change of this version was ours; what it changed is noted already."""
        if version in self._event_versions:
            self._event_versions.remove(version)
            return
        self._own_versions[version] = None
        if len(self._own_versions) > MAX_OWN_VERSIONS:
            del self._own_versions[next(iter(self._own_versions))]

    # called by the task table, which listens to the event stream

    def on_attached(self) -> None:
        self._stream = next(self._stream_numbers)
        self._valid_until = 0.0

    def on_event(self, event: MarathonEvent) -> None:
        if event.name == "group_change_success":
            self._group_changed(str(event.data.get("groupId")), str(event.data.get("version")))
        elif event.name == "app_terminated_event":
            self._remove(str(event.data.get("appId")))

    def on_lost(self) -> None:
        self._stream = 0
        self._own_versions.clear()

    def _group_changed(self, group: str, version: str) -> None:
        if not (group == "/" or self._group == group or group.startswith(self._group + "/")):
            return
        if version in self._own_versions:
            del self._own_versions[version]
        else:
            self._event_versions.add(version)

    def _valid(self) -> bool:
        fresh = asyncio.get_running_loop().time() < self._valid_until
        return bool(self._stream) and fresh and not self._event_versions

    async def _refresh(self) -> None:
        stream, self._valid_until = self._stream, 0.0
        self._event_versions.clear()
        self._newer.clear()
        received = {app["id"]: _shortened(app) for app in await self._marathon.apps(self._group)}
        merged = received | self._newer
        self._apps = {app_id: app for app_id, app in merged.items() if app is not None}
        if stream == self._stream:  # otherwise events may have been missed in between
            self._valid_until = asyncio.get_running_loop().time() + MAX_AGE_SECONDS

    def _remove(self, app_id: str) -> None:
        self._apps.pop(app_id, None)
        self._newer[app_id] = None


def _shortened(app: dict[str, Any]) -> dict[str, Any]:
    env = app.get("env") or {}
    short = {name: value for name, value in env.items() if len(value) < MAX_VALUE_CHARACTERS}
    return {key: app[key] for key in KEPT_KEYS if key in app} | {"env": short}
