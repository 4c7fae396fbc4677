"""What is known of the cache: when it is trusted, and when Marathon is asked again."""

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
    """A Marathon that says which cache there are, once it may."""

    def __init__(self, *listed: dict[str, Any]) -> None:
        self.listed = list(listed)
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def apps(self, group: str) -> list[dict[str, Any]]:
        assert group == GROUP
        self.asked += 1
        self.was_asked.set()
        listed = list(self.listed)
        await self.may_answer.wait()
        return listed


def table(marathon: Scripted) -> AppCache:
    cache = AppCache(marathon, GROUP)  # type: ignore[arg-type]
    cache.on_attached()
    return cache


def tell(cache: AppCache, version: str, group: str = GROUP) -> None:
    cache.on_event(MarathonEvent("group_change_success", {"groupId": group, "version": version}))


async def names(cache: AppCache) -> list[str]:
    return sorted(each["id"].rpartition("/")[2] for each in await cache.all())


def run(test: Callable[[], Awaitable[Any]]) -> None:
    async def whole() -> None:
        await asyncio.wait_for(test(), 20)

    asyncio.run(whole())


def test_marathon_is_asked_once_while_nothing_changes() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"), app("b"))
        cache = table(marathon)
        assert await names(cache) == await names(cache) == ["a", "b"]
        assert marathon.asked == 1

    run(test)


def test_what_is_long_is_not_kept() -> None:
    async def test() -> None:
        (known,) = await table(Scripted(app("a"))).all()
        assert known["env"] == {"FOB_TIMEOUT": "60"}
        assert "cmd" not in known

    run(test)


@pytest.mark.parametrize("group", [GROUP, "/", f"{GROUP}/sub"])
def test_what_somebody_else_changed_is_asked_for(group: str) -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        marathon.listed.append(app("b", "v2"))
        tell(cache, "v2", group)
        assert await names(cache) == ["a", "b"]
        assert marathon.asked == 2

    run(test)


def test_changes_of_other_groups_are_not_ours() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        tell(cache, "v2", "/fob-aviary-too")
        await names(cache)
        assert marathon.asked == 1

    run(test)


@pytest.mark.parametrize("event_first", [True, False])
def test_what_we_changed_ourselves_is_known(event_first: bool) -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        if event_first:
            tell(cache, "v2")
        cache.created(app("b", "v2"))
        if not event_first:
            tell(cache, "v2")
        assert await names(cache) == ["a", "b"]
        if event_first:
            tell(cache, "v3")
        cache.removed(f"{GROUP}/a", {"version": "v3"})
        if not event_first:
            tell(cache, "v3")
        assert await names(cache) == ["b"]
        assert marathon.asked == 1

    run(test)


def test_one_event_vouches_for_one_change_of_ours() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        cache.created(app("b", "v2"))
        tell(cache, "v2")
        tell(cache, "v2")
        await names(cache)
        assert marathon.asked == 2

    run(test)


def test_what_came_while_marathon_was_asked_wins_over_its_answer() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"), app("b"))
        cache = table(marathon)
        marathon.may_answer.clear()
        asking = asyncio.create_task(names(cache))
        await marathon.was_asked.wait()
        cache.created(app("c", "v2"))
        cache.on_event(MarathonEvent("app_terminated_event", {"appId": f"{GROUP}/a"}))
        marathon.may_answer.set()
        assert await asking == ["b", "c"]

    run(test)


def test_an_old_answer_does_not_undo_a_newer_one() -> None:
    async def test() -> None:
        cache = table(Scripted(app("a")))
        await names(cache)
        cache.update(app("a", "v3", instances=5))
        cache.update(app("a", "v2", instances=1))
        (known,) = await cache.all()
        assert known["instances"] == 5

    run(test)


def test_without_a_stream_marathon_is_asked_each_time() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        cache.on_lost()
        await names(cache)
        await names(cache)
        assert marathon.asked == 3
        cache.on_attached()
        await names(cache)
        await names(cache)
        assert marathon.asked == 4

    run(test)


def test_a_stream_that_broke_while_marathon_was_asked_vouches_for_nothing() -> None:
    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        marathon.may_answer.clear()
        asking = asyncio.create_task(names(cache))
        await marathon.was_asked.wait()
        cache.on_lost()
        cache.on_attached()
        marathon.may_answer.set()
        await asking
        await names(cache)
        assert marathon.asked == 2

    run(test)


def test_what_is_old_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AGE_SECONDS", 0.0)

    async def test() -> None:
        marathon = Scripted(app("a"))
        cache = table(marathon)
        await names(cache)
        await names(cache)
        assert marathon.asked == 2

    run(test)
