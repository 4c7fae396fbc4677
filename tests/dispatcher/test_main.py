import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import requests

import live
from fob import process

pytestmark = pytest.mark.executed  # this is about how it starts and ends

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d %s %s \[at line \d+\]"
NOBODY = "http://127.0.0.1:1/service/marathon"


def refused(home: Path, **settings: str) -> str:
    """What a dispatcher says that cannot start."""
    done = subprocess.run(
        [sys.executable, "fob_dispatcher.py"],
        cwd=live.SERVICE,
        env=live.environment(home, **settings),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def lonely(start_dispatcher):
    """A dispatcher whose Marathon is not there."""
    return start_dispatcher(MARATHON_API=NOBODY + "/", FOB_HOST="127.0.0.1")


def test_the_log_begins_with_the_published_lines(lonely):
    port = lonely.url.rpartition(":")[2]
    for line, text in zip(
        lonely.log,
        ["FOB dispatcher ready ===", f"Using Marathon API {NOBODY}", f"Listening on port {port}"],
        strict=False,
    ):
        assert re.fullmatch(LINE % ("INFO", re.escape(text)), line), line


def test_without_its_marathon_it_starts_and_says_so_to_every_request(lonely):
    assert lonely.ask("GET", "/api/stats").json() == {"status": "fob up"}
    answer = lonely.ask("POST", "/api/gen", data=b"def f(): 0")
    assert answer.status_code in (502, 503, 504)
    assert answer.json()["error"]["code"].startswith("marathon")
    assert live.records(lonely.home / "snippets") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_good_order(lonely, number):
    assert lonely.stop(number) == 0


def test_a_port_that_is_taken_is_told(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(home, FOB_PORT=port, FOB_HOST="127.0.0.1", MARATHON_API=NOBODY)
    assert port in said
    assert "FOB_PORT" in said


def test_an_address_that_is_not_ours_is_told(home):
    said = refused(home, FOB_PORT="0", FOB_HOST="192.0.2.1", MARATHON_API=NOBODY)
    assert "FOB_HOST" in said


def test_a_setting_that_is_wrong_is_told(home):
    assert "FOB_PORT='x'" in refused(home, FOB_PORT="x")


def test_a_second_dispatcher_on_the_folder_is_refused(lonely):
    said = refused(lonely.home, FOB_PORT="0", MARATHON_API=NOBODY)
    assert str(lonely.home) in said
    assert "FOB_HOME" in said
    assert lonely.ask("GET", "/api/stats").status_code == 200


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    said = refused(tmp_path / "file" / "home", FOB_PORT="0", MARATHON_API=NOBODY)
    assert "FOB_HOME" in said
    assert str(tmp_path / "file") in said


def test_open_to_the_network_without_a_token_is_told_loudly(start_dispatcher):
    there = start_dispatcher(MARATHON_API=NOBODY, FOB_HOST="0.0.0.0")
    live.until(lambda: any("WARNING ANYBODY" in line for line in there.log), "the warning")


@pytest.mark.parametrize("settings", [{"FOB_TOKEN": "t", "FOB_HOST": "0.0.0.0"}, {}])
def test_closed_or_with_a_token_there_is_nothing_to_warn_of(start_dispatcher, settings):
    there = start_dispatcher(**{"MARATHON_API": NOBODY, "FOB_HOST": "127.0.0.1"} | settings)
    there.ask("GET", "/api/stats")
    assert there.stop() == 0
    assert not any("ANYBODY" in line for line in there.log)


@pytest.fixture
def busy(start_dispatcher):
    """A dispatcher with a registration in hand that its Marathon does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = start_dispatcher(
            MARATHON_API=f"http://127.0.0.1:{silent.getsockname()[1]}", FOB_HOST="127.0.0.1"
        )
        asking = threading.Thread(target=_gen, args=(there,))
        asking.start()
        live.until(lambda: live.records(there.home / "snippets"), "the registration")
        yield there
        there.kill()
        asking.join()


def _gen(there: live.Dispatcher) -> None:
    try:
        there.ask("POST", "/api/gen", data=b"def f(): 0")
    except requests.RequestException:
        return


def test_a_second_signal_ends_it_at_once(busy):
    busy.process.terminate()
    time.sleep(process.ECHO_SECONDS + 0.3)
    began = time.monotonic()
    assert busy.stop() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 5


def test_a_signal_that_comes_twice_is_one_stop(lonely):
    lonely.process.terminate()
    assert lonely.stop() == 0


@pytest.mark.slow
def test_a_stop_waits_for_a_request_in_hand_but_not_for_ever(busy):
    began = time.monotonic()
    assert busy.stop() == 0
    assert 5 < time.monotonic() - began < 25
    assert any("cut off" in line for line in busy.log)


def test_a_stop_finishes_the_call_in_hand(start_dispatcher):
    there = start_dispatcher()
    id_ = there.gen(b"import time\ndef f():\n    time.sleep(1)\n    return 'done'\n")
    there.meta(id_)
    answers: list[requests.Response] = []
    calling = threading.Thread(target=lambda: answers.append(there.ask("GET", f"/api/call/{id_}")))
    calling.start()
    time.sleep(0.3)
    assert there.stop() == 0
    calling.join()
    assert answers[0].json() == {"result": "done"}


def test_an_engine_that_dies_is_started_again(start_dispatcher):
    there = start_dispatcher()
    id_ = there.gen(b"def f(): return 1")
    before = there.meta(id_)
    os.kill(there.engine_pid, signal.SIGKILL)
    live.until(
        lambda: there.ask("GET", f"/api/functions/{id_}").status_code == 200, "the new engine"
    )
    assert there.meta(id_) == before
    assert there.ask("GET", f"/api/call/{id_}").json() == {"result": 1}
