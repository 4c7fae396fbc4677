"""Starting, finding, watching and stopping an engine."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
import requests

import live
from fob.config import Settings
from fob.engine import discovery
from fob.errors import FobError, StorageFailed


def answers(found: discovery.RunningEngine) -> bool:
    headers = {"Authorization": f"token={found.token}"}
    return requests.get(f"{found.url}/v2/info", headers=headers, timeout=5).ok


def test_an_engine_is_started_and_found_again_and_stopped(home: Path) -> None:
    async def run() -> None:
        settings = Settings(home=str(home))
        first = await discovery.find_or_start(settings)
        assert first.managed
        assert answers(first)
        assert await discovery.find_or_start(settings) == first
        await discovery.stop(first)
        assert not live.processes_of(home)

    asyncio.run(run())


def test_an_engine_started_by_hand_is_found_and_not_managed(
    home: Path, engine: live.Engine
) -> None:
    found = asyncio.run(discovery.find_or_start(Settings(home=str(home))))
    assert not found.managed
    assert found.pid == engine.process.pid
    assert answers(found)


def test_the_end_of_an_engine_is_noticed(home: Path) -> None:
    async def run() -> None:
        settings = Settings(home=str(home))
        first = await discovery.find_or_start(settings)
        over = asyncio.ensure_future(discovery.wait_until_ended(first))
        await asyncio.sleep(0)
        os.kill(first.pid, signal.SIGKILL)
        await asyncio.wait_for(over, 10)
        again = await discovery.find_or_start(settings)
        assert again.pid != first.pid
        assert again.url == first.url
        assert again.token == first.token
        await discovery.stop(again)

    asyncio.run(run())


def test_the_error_says_why_an_engine_did_not_start(home: Path) -> None:
    (home / "engine").mkdir(parents=True)
    (home / "engine" / "engine.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(FobError, match=r"the engine did not start: .*not a database"):
        asyncio.run(discovery.find_or_start(Settings(home=str(home))))


def test_an_error_about_the_state_folder_names_the_setting(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StorageFailed, match="set FOB_HOME"):
        asyncio.run(discovery.find_or_start(Settings(home=str(file / "home"))))


def test_secrets_are_not_handed_to_the_engine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOB_TOKEN", "secret")

    async def run() -> None:
        found = await discovery.find_or_start(Settings(home=str(home)))
        environment = await asyncio.to_thread(Path(f"/proc/{found.pid}/environ").read_bytes)
        assert b"FOB_TOKEN" not in environment
        await discovery.stop(found)

    asyncio.run(run())
