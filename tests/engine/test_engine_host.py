"""Where the engine and its tasks are to be found."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

import live

OTHER = "127.0.0.2"  # on this machine, and not where the engine is else
SAYS_WHERE = """
import os, time
print(os.environ["HOST"], flush=True)
os.write(int(os.environ["FOB_NOTIFY_FD"]), b"1 2016-04-02T02:41:44.123Z listening\\n")
time.sleep(1000)
"""
Start = Callable[..., live.Engine]


def refused(home: Path, **settings: str) -> str:
    """What `fob engine` says when it does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "fob", "engine"],
        cwd=live.SERVICE,
        env=live.environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((OTHER, 0)) as sock:
        yield sock.getsockname()[1]


def test_the_engine_and_its_tasks_are_at_its_address_and_nowhere_else(
    start_engine: Start, home: Path
) -> None:
    engine = start_engine(FOB_ENGINE_HOST=OTHER)
    assert engine.url.startswith(f"http://{OTHER}:")
    assert engine.get("/v2/info")["marathon_config"]["hostname"] == OTHER
    engine.run("/a", f"exec python3 -c '{SAYS_WHERE}'", labels={"FOB_ACTIVATION": "always"})
    (task,) = engine.running("/a")
    assert task["host"] == task["ipAddresses"][0]["ipAddress"] == OTHER
    assert next((home / "engine" / "tasks" / "a").glob("*/stdout")).read_text() == f"{OTHER}\n"
    for port in (int(engine.url.rpartition(":")[2]), task["ports"][0]):
        socket.create_connection((OTHER, port)).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_elsewhere_too_it_wants_its_token(start_engine: Start) -> None:
    engine = start_engine(FOB_ENGINE_HOST=OTHER)
    assert requests.get(f"{engine.url}/v2/apps", timeout=5).status_code == 401


def test_only_an_address_that_others_reach_is_warned_of(start_engine: Start) -> None:
    engine = start_engine(FOB_ENGINE_HOST=OTHER)
    engine.stop()
    assert not any("ANYBODY" in line for line in engine.log)


def test_a_dispatcher_hands_the_address_on_to_its_engine(
    start_dispatcher: Callable[..., live.Dispatcher],
) -> None:
    dispatcher = start_dispatcher(FOB_ENGINE_HOST=OTHER)
    id_ = dispatcher.gen("def f(): return 6 * 7")
    assert dispatcher.meta(id_)[0] == OTHER
    assert dispatcher.call(id_).json() == {"result": 42}
    assert dispatcher.ask("GET", f"/api/call/{id_}").json() == {"result": 42}


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "::1", "localhost"])
def test_what_is_not_one_address_is_refused(home: Path, address: str) -> None:
    said = refused(home, FOB_ENGINE_HOST=address)
    assert f"FOB_ENGINE_HOST='{address}'" in said
    assert "give the IPv4 address" in said


def test_an_address_of_another_machine_is_refused(home: Path) -> None:
    said = refused(home, FOB_ENGINE_HOST="192.0.2.1")
    assert "Cannot listen on 192.0.2.1: Cannot assign requested address" in said
    assert "Set FOB_ENGINE_HOST" in said


def test_a_port_of_ones_own_wins_over_the_one_it_had(start_engine: Start, taken: int) -> None:
    first = start_engine(FOB_ENGINE_HOST=OTHER)
    first.stop()
    # the port is somebody's on another address
    again = start_engine(FOB_ENGINE_PORT=str(taken))
    assert again.url == f"http://127.0.0.1:{taken}" != first.url
    assert json.loads((again.home / "engine" / "engine.json").read_text())["url"] == again.url


def test_a_port_that_is_taken_is_named(home: Path, taken: int) -> None:
    said = refused(home, FOB_ENGINE_HOST=OTHER, FOB_ENGINE_PORT=str(taken))
    assert f"port {taken} is already in use" in said
    assert "set FOB_ENGINE_PORT" in said
