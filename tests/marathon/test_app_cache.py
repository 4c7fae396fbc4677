"""The cache of apps: when it is valid, and when the apps are requested again."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fob.marathon import app_cache as module
from fob.marathon.app_cache import AppCache
from fob.marathon.event_stream import MarathonEvent

GROUP = "/fob-aviary"


def app(name: str, version: str = "v1", **more: Any) -> dict[str, Any]:
    env = {"FOB_TIMEOUT": "60", "FOB_FUNCTION": "x" * 50_000}
    labels = {"FOB": "function"}
    about = {"id": f"{GROUP}/{name}", "instances": 1, "labels": labels, "env": env}
    return about | {"version": version, "cmd": "exec python3", **more}


class Scripted:
    """A Marathon with these apps; its response waits for `may_respond`."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.listed = list(listed)
        self.requests = 0
        self.requested = asyncio.Event()
        self.may_respond = asyncio.Event()
        self.may_respond.set()

    async def apps(self, group: str) -> list[dict[str, Any]]:
        assert group == GROUP
        self.requests += 1
        self.requested.set()
        listed = list(self.listed)
        await self.may_respond.wait()
        return listed


def make_cache(marathon: Scripted) -> AppCache:
    cache = AppCache(marathon, GROUP)  # type: ignore[arg-type]
    cache.on_attached()
    return cache


def send_event(cache: AppCache, version: str, group: str = GROUP) -> None:
    cache.on_event(MarathonEvent("group_change_success", {"groupId": group, "version": version}))


async def names(cache: AppCache) -> list[str]:
    return sorted(each["id"].rpartition("/")[2] for each in await cache.all())


def run(test: Callable[[], Awaitable[Any]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(whole())


def test_the_apps_are_requested_once_while_nothing_changes() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"), app("b"))
        cache = make_cache(marathon)
        assert await names(cache) == await names(cache) == ["a", "b"]
        assert marathon.requests == 1

    run(test)


def test_long_values_are_not_kept() -> None:
    async def test() -> None:
        (known,) = await make_cache(Scripted(app("a"))).all()
        assert known["env"] == {"FOB_TIMEOUT": "60"}
        assert "cmd" not in known

    run(test)


@pytest.mark.parametrize("group", [GROUP, "/", f"{GROUP}/sub"])
def test_a_foreign_change_makes_the_apps_requested_again(group: str) -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        marathon.listed.append(app("b", "v2"))
        send_event(cache, "v2", group)
        assert await names(cache) == ["a", "b"]
        assert marathon.requests == 2

    run(test)


def test_changes_of_other_groups_are_ignored() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        send_event(cache, "v2", "/fob-aviary-too")
        await names(cache)
        assert marathon.requests == 1

    run(test)


@pytest.mark.parametrize("event_first", [True, False])
def test_our_own_changes_cause_no_request(event_first: bool) -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        if event_first:
            send_event(cache, "v2")
        cache.created(app("b", "v2"))
        if not event_first:
            send_event(cache, "v2")
        assert await names(cache) == ["a", "b"]
        if event_first:
            send_event(cache, "v3")
        cache.removed(f"{GROUP}/a", {"version": "v3"})
        if not event_first:
            send_event(cache, "v3")
        assert await names(cache) == ["b"]
        assert marathon.requests == 1

    run(test)


def test_each_event_accounts_for_one_change_of_ours() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        cache.created(app("b", "v2"))
        send_event(cache, "v2")
        send_event(cache, "v2")
        await names(cache)
        assert marathon.requests == 2

    run(test)


def test_changes_during_a_request_override_its_response() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"), app("b"))
        cache = make_cache(marathon)
        marathon.may_respond.clear()
        asking = asyncio.create_task(names(cache))
        await marathon.requested.wait()
        cache.created(app("c", "v2"))
        cache.on_event(MarathonEvent("app_terminated_event", {"appId": f"{GROUP}/a"}))
        marathon.may_respond.set()
        assert await asking == ["b", "c"]

    run(test)


def test_an_older_version_does_not_replace_a_newer_one() -> None:
    async def test() -> None:
        cache = make_cache(Scripted(app("a")))
        await names(cache)
        cache.update(app("a", "v3", instances=5))
        cache.update(app("a", "v2", instances=1))
        (known,) = await cache.all()
        assert known["instances"] == 5

    run(test)


def test_without_an_event_stream_every_use_is_a_request() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        cache.on_lost()
        await names(cache)
        await names(cache)
        assert marathon.requests == 3
        cache.on_attached()
        await names(cache)
        await names(cache)
        assert marathon.requests == 4

    run(test)


def test_a_response_is_not_kept_if_the_stream_broke_meanwhile() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        marathon.may_respond.clear()
        asking = asyncio.create_task(names(cache))
        await marathon.requested.wait()
        cache.on_lost()
        cache.on_attached()
        marathon.may_respond.set()
        await asking
        await names(cache)
        assert marathon.requests == 2

    run(test)


def test_old_entries_are_requested_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE_SECONDS", 0.0)

    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = make_cache(marathon)
        await names(cache)
        await names(cache)
        assert marathon.requests == 2

    run(test)
