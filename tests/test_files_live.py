"""Functions of several files, end to end on the embedded engine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import live
from zips import Raw, raw, zipped

FILES = {
    "handler.py": "from pkg.core import double\ndef handler(n: int = 1): return double(n)\n",
    "pkg/__init__.py": "",
    "pkg/core.py": "from pathlib import Path\n"
    "def double(n): return n * int(Path(__file__).with_name('two.txt').read_text())\n"
    "def boom(): raise ValueError('boom')\n",
    "pkg/two.txt": "2\n",
}


@pytest.fixture(scope="module")
def fob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[live.Dispatcher]:
    dispatcher = live.Dispatcher(tmp_path_factory.mktemp("home"))
    yield dispatcher
    dispatcher.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files."""
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(content)
    return tmp_path


def curl(fob: live.Dispatcher, *arguments: str, cwd: Path) -> Any:
    command = ["curl", "-sS", *arguments, f"{fob.url}/api/gen"]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=live.PATIENCE_SECONDS)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cli(fob: live.Dispatcher, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fob", *arguments, "--url", fob.url],
        cwd=cwd,
        env=live.environment(cwd, PYTHONPATH=str(live.SERVICE)),
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )


def doubles(fob: live.Dispatcher, id_: str) -> bool:
    return bool(fob.call(id_, params={"n": "21"}).json() == {"result": 42})


def code(fob: live.Dispatcher, id_: str) -> requests.Response:
    return fob.ask("GET", f"/api/cs/{id_}")


@pytest.mark.parametrize("kind", ["application/zip", "application/octet-stream", ""])
def test_a_zip_becomes_a_function_and_is_kept_byte_for_byte(
    fob: live.Dispatcher, kind: str
) -> None:
    body = zipped(FILES)
    answer = fob.ask("POST", "/api/gen", data=body, headers={"Content-Type": kind})
    id_ = answer.json()["id"]
    assert doubles(fob, id_)
    assert code(fob, id_).content == body
    assert code(fob, id_).headers["Content-Type"] == "application/zip"


def test_the_single_folder_of_a_zip_from_github_is_left_out(fob: live.Dispatcher) -> None:
    inside = {f"repo-main/{path}": content for path, content in FILES.items()}
    assert doubles(fob, fob.gen(zipped({"repo-main/": "", **inside})))


def test_a_form_becomes_a_function(fob: live.Dispatcher, folder: Path) -> None:
    parts = [f"-Ff=@{path};filename={path}" for path in FILES]
    first, second = (curl(fob, *each, cwd=folder)["id"] for each in (parts, parts[::-1]))
    assert doubles(fob, first)
    assert code(fob, first).content == code(fob, second).content


def test_a_form_may_have_just_one_zip_or_file(fob: live.Dispatcher, folder: Path) -> None:
    body = zipped(FILES)
    (folder / "made.zip").write_bytes(body)
    assert code(fob, curl(fob, "-Ff=@made.zip", cwd=folder)["id"]).content == body
    (folder / "one.py").write_text("def one(): return 1\n")
    id_ = curl(fob, "-Ff=@one.py", cwd=folder)["id"]
    assert code(fob, id_).headers["Content-Type"] == "text/x-python"
    assert fob.call(id_).json() == {"result": 1}


def test_the_entry_may_be_a_function_of_any_module(fob: live.Dispatcher) -> None:
    id_ = fob.gen(zipped(FILES), "?entry=pkg.core:double")
    assert fob.call(id_, params={"n": "1"}).json() == {"result": "11"}
    assert fob.ask("GET", f"/api/functions/{id_}").json()["settings"]["entry"] == "pkg.core:double"


def test_an_error_shows_the_users_files_only(fob: live.Dispatcher) -> None:
    error = fob.call(fob.gen(zipped(FILES), "?entry=pkg.core:boom")).json()["error"]
    line = "pkg/core.py line 3, in boom: def boom(): raise ValueError('boom')"
    assert error["details"]["traceback"] == [line]


def test_a_failing_import_is_a_state_with_the_files_lines(fob: live.Dispatcher) -> None:
    id_ = fob.gen(
        zipped({"main.py": "import pkg.m\ndef main(): 1\n", "pkg/m.py": "import nowhere\n"})
    )

    def failure() -> Any:
        error = fob.ask("GET", f"/api/meta/{id_}").json()["error"]
        return error["details"]["last_failure"]

    message = live.until(failure, "its failure")["message"]
    assert 'File "pkg/m.py", line 1' in message
    assert "No module named 'nowhere'" in message


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (zipped(FILES)[:-9], 400, "bad_archive"),
        (raw(Raw(b"main.py", b"x = 1", crc=1)), 400, "bad_archive"),
        (raw(Raw(b"../main.py")), 400, "bad_archive"),
        (raw(Raw(b"main.py", b"/etc/passwd", mode=0o120777)), 400, "bad_archive"),
        (raw(Raw(b"main.py", b"x", flags=1)), 400, "bad_archive"),
        (zipped({}), 400, "bad_archive"),
        (zipped({"a.py": "", "b.py": ""}), 400, "no_entry"),
        (zipped({"main.py": "x = = 1"}), 400, "syntax_error"),
        (raw(Raw(b"x", bytes(11 << 20), method=8)), 413, "too_large"),
        (zipped({f"{n}": "" for n in range(1001)}), 413, "too_large"),
        (zipped({"main.py": "def main(): 1\n", "x": bytes(300 << 10)}, 0), 413, "too_large"),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(
    fob: live.Dispatcher, body: bytes, status: int, code: str
) -> None:
    before = fob.ask("GET", "/api/functions").json()
    answer = fob.ask("POST", "/api/gen", data=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert fob.ask("GET", "/api/functions").json() == before


def test_an_archive_that_does_not_fit_into_an_app_is_refused_with_the_numbers(
    fob: live.Dispatcher,
) -> None:
    held = {"main.py": "def main(): 1\n", "noise": os.urandom(90 << 10)}
    answer = fob.ask("POST", "/api/gen", data=zipped(held))
    details = answer.json()["error"]["details"]
    assert answer.status_code == 413
    assert details["bytes"] > details["limit"] == 96 << 10


def test_a_file_whose_newlines_curl_removed_is_refused_with_a_remedy(
    fob: live.Dispatcher, folder: Path
) -> None:
    (folder / "made.zip").write_bytes(zipped(FILES))
    error = curl(fob, "-d@made.zip", cwd=folder)["error"]
    assert "--data-binary" in error["message"]


def test_the_command_registers_a_folder_and_a_zip(fob: live.Dispatcher, folder: Path) -> None:
    registered = [cli(fob, "gen", ".", cwd=folder).stdout.strip() for _ in range(2)]
    (folder / "made.zip").write_bytes(code(fob, registered[0]).content)
    registered.append(cli(fob, "gen", "made.zip", cwd=folder).stdout.strip())
    assert all(doubles(fob, id_) for id_ in registered)
    assert len({code(fob, id_).content for id_ in registered}) == 1


def test_the_command_refuses_a_link_with_a_message(fob: live.Dispatcher, folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    done = cli(fob, "gen", ".", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert "link is a link or a special file" in done.stderr
