"""Bad input, end to end on the embedded engine: a clear error, and nothing else is affected."""

import contextlib
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import live

MAX_KEPT = 10  # descriptors, by all tests together
GOOD = "def handler():\n    return 'good'\n"


@pytest.fixture(scope="module", params=live.LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def service(launcher: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Dispatcher]:
    """A service for all tests here, with one function."""
    dispatcher = live.Dispatcher(tmp_path_factory.mktemp("home"), FOB_LAUNCHER=launcher)
    good = dispatcher.gen(GOOD)
    if launcher == "zygote":
        live.until(lambda: "zygote is ready" in dispatcher.engine_log)
    assert dispatcher.call(good).json() == {"result": "good"}
    yield dispatcher
    dispatcher.stop()


@pytest.fixture(scope="module")
def max_descriptors(service: live.Dispatcher) -> int:
    """How many the service may have open when idle: a few connections are kept for reuse."""
    return service.descriptors + MAX_KEPT


@pytest.fixture
def fob(service: live.Dispatcher, max_descriptors: int) -> Iterator[live.Dispatcher]:
    """The service; its function must still work after the test, and no descriptor leak."""
    (good,) = ids_of(service)
    yield service
    for id_ in ids_of(service):
        assert id_ == good or service.ask("DELETE", f"/api/functions/{id_}").ok
    assert service.call(good).json() == {"result": "good"}
    live.until(lambda: service.descriptors <= max_descriptors, "the release of descriptors")


def error(answer: requests.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}
    return body["error"]


def refused(fob: live.Dispatcher, source: bytes | str, status: int, query: str = "") -> Any:
    before = ids_of(fob)
    found = error(fob.ask("POST", f"/api/gen{query}", data=source), status)
    assert ids_of(fob) == before
    return found


def ids_of(fob: live.Dispatcher) -> list[str]:
    return [function["id"] for function in fob.ask("GET", "/api/functions").json()["functions"]]


def not_ready(fob: live.Dispatcher, id_: str) -> Any:
    """Return the error of a function that has failed."""

    def failed() -> Any:
        answer = fob.ask("GET", f"/api/meta/{id_}")
        found = error(answer, 503)
        assert int(answer.headers["Retry-After"]) >= 0
        return found if found["details"]["state"] == "failed" else None

    return live.until(failed, "its failure")


def test_a_body_that_is_not_python_is_refused(fob: live.Dispatcher) -> None:
    refused(fob, b"", 400)
    refused(fob, b"   \n", 400)
    assert "NUL" in refused(fob, b"a = 1\0\n", 400)["message"]
    syntax = refused(fob, "def handler():\n    return (1\n", 400)
    assert "line 2" in syntax["message"]
    assert syntax["details"]["line"] == 2
    assert syntax["details"]["column"]
    names = refused(fob, "def one(): pass\ndef two(): pass\n", 400)
    assert "one" in names["message"]
    assert "two" in names["message"]


def test_ten_megabytes_are_too_large(fob: live.Dispatcher) -> None:
    found = refused(fob, b"#" * 10_000_000, 413)
    assert any(character.isdigit() for character in found["message"])


def test_latin_1_needs_a_coding_line(fob: live.Dispatcher) -> None:
    source = "def handler():\n    return 'Käse'\n".encode("latin-1")
    assert "coding" in refused(fob, source, 400)["message"]
    id_ = fob.gen(b"# -*- coding: latin-1 -*-\n" + source)
    assert fob.call(id_).json() == {"result": "Käse"}
    assert fob.ask("GET", f"/api/cs/{id_}").content == b"# -*- coding: latin-1 -*-\n" + source


@pytest.mark.parametrize(
    ("source", "query", "words"),
    [
        ("raise ValueError('no luck')\ndef handler(): pass\n", "", "ValueError: no luck"),
        ("import sys\nsys.exit(5)\ndef handler(): pass\n", "", "SystemExit"),
        ("import no_such_module\ndef handler(): pass\n", "", "no_such_module"),
        ("handler = 5\n", "?entry=handler", "handler"),
    ],
)
def test_a_file_that_cannot_be_imported_fails_with_its_reason(
    fob: live.Dispatcher, source: str, query: str, words: str
) -> None:
    id_ = fob.gen(source, query)
    found = not_ready(fob, id_)
    assert words in str(found["details"])
    assert words in fob.ask("GET", f"/api/functions/{id_}/logs").text
    first = fob.ask("GET", f"/api/functions/{id_}").json()
    time.sleep(1.5)  # a restart storm would have begun by now
    again = fob.ask("GET", f"/api/functions/{id_}").json()
    assert len(again["failures"]) == len(first["failures"]) == 1


def test_a_function_in_an_endless_import_is_starting_and_can_be_removed(
    fob: live.Dispatcher,
) -> None:
    id_ = fob.gen("while True: pass\ndef handler(): pass\n")
    found = error(fob.ask("GET", f"/api/meta/{id_}?wait=1"), 503)
    assert found["details"]["state"] == "starting"
    assert fob.ask("DELETE", f"/api/functions/{id_}").ok
    live.until(lambda: not [p for p in live.processes_of(fob.home) if id_ in p], "its end")


def test_ten_megabytes_of_output_are_cut(fob: live.Dispatcher) -> None:
    id_ = fob.gen("def handler():\n    print('x' * 10_000_000)\n    return 1\n")
    body = fob.call(id_).json()
    assert body["result"] == 1
    assert body["output_truncated"]
    assert len(body["output"]) < 2_000_000


def test_a_result_that_is_not_json_is_named(fob: live.Dispatcher) -> None:
    id_ = fob.gen("def handler():\n    return {1, 2}\n")
    assert "set" in error_of_call(fob.call(id_))["message"]


def error_of_call(answer: requests.Response) -> Any:
    assert answer.status_code == 500
    return answer.json()["error"]


def test_a_function_that_kills_its_process_is_restarted(fob: live.Dispatcher) -> None:
    id_ = fob.gen("import os\n\ndef handler(die: bool = False):\n    return die and os._exit(9)\n")
    found = error(fob.ask("GET", f"/api/call/{id_}?die=true"), 502)
    assert found["code"] == "call_failed"
    live.until(lambda: fob.ask("GET", f"/api/call/{id_}").ok, "its return")
    failures = fob.ask("GET", f"/api/functions/{id_}").json()["failures"]
    assert "status 9" in failures[-1]["message"]


def test_unknown_ids_are_404(fob: live.Dispatcher) -> None:
    for id_ in ("x", str(uuid.uuid4()), "..", "%2e%2e", "A" * 5000, "é"):
        for path in (f"/api/meta/{id_}", f"/api/cs/{id_}", f"/api/functions/{id_}"):
            error(fob.ask("GET", path), 404)
        error(fob.ask("GET", f"/api/call/{id_}"), 404)
        error(fob.ask("DELETE", f"/api/functions/{id_}"), 404)


def test_foreign_apps_are_left_alone(
    engine: live.Engine, start_dispatcher: Callable[..., live.Dispatcher]
) -> None:
    fob = start_dispatcher()
    id_ = str(uuid.uuid4())
    engine.run(f"/fob-aviary/{id_}", "exec sleep 1000")  # in fob's group, but not a function
    engine.run(f"/{id_}", "exec sleep 1000")
    error(fob.ask("DELETE", f"/api/functions/{id_}"), 404)
    error(fob.ask("GET", f"/api/meta/{id_}"), 404)
    assert fob.ask("GET", "/api/functions").json()["functions"] == []
    assert len(engine.get("/v2/apps")["apps"]) == 2


def test_a_second_dispatcher_on_the_same_folder_is_refused(fob: live.Dispatcher) -> None:
    with pytest.raises(AssertionError, match=r"(?s)state folder.*FOB_HOME"):
        live.Dispatcher(fob.home)


def test_a_second_dispatcher_on_the_same_port_is_refused(
    fob: live.Dispatcher, tmp_path: Path
) -> None:
    port = fob.url.rpartition(":")[2]
    with pytest.raises(AssertionError, match=rf"(?s){port}.*FOB_PORT"):
        live.Dispatcher(tmp_path / "other", FOB_PORT=port)
    assert not live.processes_of(tmp_path / "other")


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AssertionError, match=r"(?s)cannot be used.*FOB_HOME"):
        live.Dispatcher(tmp_path / "file" / "home")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a file system here (not root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_reported_and_nothing_is_lost(
    small_disk: Path, start_dispatcher: Callable[..., live.Dispatcher]
) -> None:
    fob = start_dispatcher(small_disk / "home")
    before = fob.gen(GOOD)
    assert fob.call(before).json() == {"result": "good"}
    filler = small_disk / "filler"
    fill(filler)
    answer = fob.ask("POST", "/api/gen", data=GOOD)
    assert answer.status_code in (502, 507), answer.text
    assert "full" in answer.text or "No space left" in answer.text
    filler.unlink()
    assert ids_of(fob) == [before]
    assert fob.call(before).json() == {"result": "good"}
    assert fob.call(fob.gen(GOOD)).json() == {"result": "good"}
    assert all(name.endswith(".snippet") for name in live.records(small_disk / "home" / "snippets"))


def fill(path: Path) -> None:
    """Write until the disk is full, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
