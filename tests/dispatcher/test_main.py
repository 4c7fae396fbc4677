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

pytestmark = pytest.mark.executed  # these tests are about start and stop

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d %s %s \[at line \d+\]"
NO_MARATHON = "http://127.0.0.1:1/service/marathon"


def refused(home: Path, **settings: str) -> str:
    """The error output of a dispatcher that cannot start."""
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
def dispatcher(start_dispatcher):
    """A dispatcher without a reachable Marathon."""
    return start_dispatcher(MARATHON_API=NO_MARATHON + "/", FOB_HOST="127.0.0.1")


def test_the_log_begins_with_the_published_lines(dispatcher):
    port = dispatcher.url.rpartition(":")[2]
    for line, text in zip(
        dispatcher.log,
        [
            "FOB dispatcher ready ===",
            f"Using Marathon API {NO_MARATHON}",
            f"Listening on port {port}",
        ],
        strict=False,
    ):
        assert re.fullmatch(LINE % ("INFO", re.escape(text)), line), line


def test_without_its_marathon_it_starts_and_every_registration_is_an_error(dispatcher):
    assert dispatcher.ask("GET", "/api/stats").json() == {"status": "fob up"}
    response = dispatcher.ask("POST", "/api/gen", data=b"def f(): 0")
    assert response.status_code in (502, 503, 504)
    assert response.json()["error"]["code"].startswith("marathon")
    assert live.records(dispatcher.home / "snippets") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(dispatcher, number):
    assert dispatcher.stop(number) == 0


def test_a_port_in_use_is_an_error_that_names_the_setting(home):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        output = refused(home, FOB_PORT=port, FOB_HOST="127.0.0.1", MARATHON_API=NO_MARATHON)
    assert port in output
    assert "FOB_PORT" in output


def test_an_address_of_another_machine_is_an_error_that_names_the_setting(home):
    output = refused(home, FOB_PORT="0", FOB_HOST="192.0.2.1", MARATHON_API=NO_MARATHON)
    assert "FOB_HOST" in output


def test_an_invalid_setting_is_an_error_that_names_it(home):
    assert "FOB_PORT='x'" in refused(home, FOB_PORT="x")


def test_a_second_dispatcher_on_the_folder_is_refused(dispatcher):
    output = refused(dispatcher.home, FOB_PORT="0", MARATHON_API=NO_MARATHON)
    assert str(dispatcher.home) in output
    assert "FOB_HOME" in output
    assert dispatcher.ask("GET", "/api/stats").status_code == 200


def test_a_folder_that_cannot_be_written_is_an_error_that_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    output = refused(tmp_path / "file" / "home", FOB_PORT="0", MARATHON_API=NO_MARATHON)
    assert "FOB_HOME" in output
    assert str(tmp_path / "file") in output


def test_listening_to_the_network_without_a_token_is_a_loud_warning(start_dispatcher):
    there = start_dispatcher(MARATHON_API=NO_MARATHON, FOB_HOST="0.0.0.0")
    live.until(lambda: any("WARNING ANYBODY" in line for line in there.log), "the warning")


@pytest.mark.parametrize("settings", [{"FOB_TOKEN": "t", "FOB_HOST": "0.0.0.0"}, {}])
def test_on_loopback_or_with_a_token_there_is_no_warning(start_dispatcher, settings):
    there = start_dispatcher(**{"MARATHON_API": NO_MARATHON, "FOB_HOST": "127.0.0.1"} | settings)
    there.ask("GET", "/api/stats")
    assert there.stop() == 0
    assert not any("ANYBODY" in line for line in there.log)


@pytest.fixture
def busy(start_dispatcher):
    """A dispatcher with a registration in flight, to which its Marathon never responds."""
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


def test_a_signal_that_comes_twice_is_one_stop(dispatcher):
    dispatcher.process.terminate()
    assert dispatcher.stop() == 0


@pytest.mark.slow
def test_a_stop_waits_for_a_request_in_flight_but_not_forever(busy):
    began = time.monotonic()
    assert busy.stop() == 0
    assert 5 < time.monotonic() - began < 25
    assert any("cut off" in line for line in busy.log)


def test_a_stop_finishes_the_call_in_flight(start_dispatcher):
    there = start_dispatcher()
    id_ = there.gen(b"import time\ndef f():\n    time.sleep(1)\n    return 'done'\n")
    there.meta(id_)
    responses: list[requests.Response] = []
    calling = threading.Thread(
        target=lambda: responses.append(there.ask("GET", f"/api/call/{id_}"))
    )
    calling.start()
    time.sleep(0.3)
    assert there.stop() == 0
    calling.join()
    assert responses[0].json() == {"result": "done"}


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
