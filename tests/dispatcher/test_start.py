"""What the dispatcher does before it serves, and what it logs on a terminal."""

import asyncio
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import live
from fob import config
from fob.dispatcher.assembly import next_step
from fob.dispatcher.kept_engine import KeptEngine
from fob.engine import discovery
from fob.errors import FobError

pytestmark = pytest.mark.executed  # these tests are about the start

NO_MARATHON = "http://127.0.0.1:1/service/marathon"


def log_on_terminal(home: Path, **settings: str) -> str:
    """What a dispatcher logs whose standard error is a terminal, until it listens and stops."""
    terminal, stderr = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "fob_dispatcher.py"],
        cwd=live.SERVICE,
        env=live.environment(home, MARATHON_API=NO_MARATHON, FOB_PORT="0", **settings),
        stderr=stderr,
    )
    os.close(stderr)
    log = b""
    try:
        while not re.search(rb"try: fob|ANYBODY", log):
            log += os.read(terminal, 4096)
    finally:
        process.terminate()
        try:
            while data := os.read(terminal, 4096):
                log += data
        except OSError:  # EIO: the last process that had the terminal open has ended
            pass
        os.close(terminal)
        assert process.wait(30) == 0
    return log.decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_on_a_terminal_a_line_after_the_published_three_says_what_to_do_next(tmp_path, host):
    lines = log_on_terminal(tmp_path, FOB_HOST=host).splitlines()
    port = re.search(r"Listening on port (\d+) ", lines[2])
    url = f"http://127.0.0.1:{port[1]}"
    assert f" INFO Serving on {url}; try: fob gen --url {url} py_example.py " in lines[3]


@pytest.mark.parametrize(
    ("host", "port", "hint"),
    [
        ("127.0.0.1", 9999, "Serving on http://127.0.0.1:9999; try: fob gen py_example.py"),
        ("0.0.0.0", 9999, "Serving on http://127.0.0.1:9999; try: fob gen py_example.py"),
        ("::", 9999, "Serving on http://127.0.0.1:9999; try: fob gen py_example.py"),
        ("::1", 80, "Serving on http://[::1]:80; try: fob gen --url http://[::1]:80 py_example.py"),
        ("a", 9999, "Serving on http://a:9999; try: fob gen --url http://a:9999 py_example.py"),
    ],
)
def test_the_hint_names_an_address_that_a_client_can_use(host, port, hint):
    assert next_step(host, port) == hint


def test_without_a_terminal_there_is_no_hint(start_dispatcher):
    dispatcher = start_dispatcher(MARATHON_API=NO_MARATHON, FOB_HOST="127.0.0.1")
    dispatcher.ask("GET", "/api/stats")
    assert dispatcher.stop() == 0
    assert not any("Serving on" in line for line in dispatcher.log)


def settings(home: Path, **environment: str) -> config.Settings:
    return config.from_environment(live.environment(home, **environment))


def test_an_engine_is_stopped_even_if_nothing_waited_for_it(tmp_path):
    async def start_and_fail() -> None:
        async with KeptEngine(settings(tmp_path)):
            raise RuntimeError("a part could not be built")

    with pytest.raises(RuntimeError):
        asyncio.run(start_and_fail())
    assert asyncio.run(discovery.find(settings(tmp_path))) is None


def test_an_engine_that_does_not_start_is_one_error(tmp_path):
    async def start() -> None:
        async with KeptEngine(settings(tmp_path, FOB_ENGINE_HOST="192.0.2.1")) as engine:
            await engine.link()

    with pytest.raises(FobError, match="FOB_ENGINE_HOST"):
        asyncio.run(start())
