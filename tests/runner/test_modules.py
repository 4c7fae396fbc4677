"""Functions of several files: their entry, and what they can import and read."""

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from fob.functions import app_definition
from fob.functions.options import Options
from fob.runner.features import modules
from zips import Raw, raw, zipped


@pytest.mark.parametrize(
    ("paths", "wanted", "found"),
    [
        (["handler.py", "main.py", "app.py"], "", ("handler", "")),
        (["__main__.py", "handler.py"], "", ("__main__", "")),
        (["util.py", "function.py", "lambda_function.py"], "", ("lambda_function", "")),
        (["any.py", "pkg/__init__.py", "data.json"], "", ("any", "")),
        (["pkg/__init__.py", "pkg/x.py"], "", ("pkg", "")),
        (["pkg/__init__.py", "pkg/app.py", "docs/a.txt"], "", ("pkg.app", "")),
        (["pkg/__init__.py", "pkg/__main__.py"], "", ("pkg.__main__", "")),
        (["a.py", "b.py"], "b", ("b", "")),
        (["a.py", "b.py"], "b:f", ("b", "f")),
        (["a.py", "b.py"], "b.f", ("b", "f")),
        (["a.py", "p/q.py"], "p.q", ("p.q", "")),
        (["a.py", "p/q.py"], "p.q:f", ("p.q", "f")),
        (["main.py", "b.py"], "f", ("main", "f")),
        (["main.py", "f.py"], "f", ("f", "")),
    ],
)
def test_the_entry_is_found_in_the_documented_order(paths: Any, wanted: str, found: Any) -> None:
    assert modules.entry_of(modules.modules_of(paths), wanted) == found


def test_a_package_hides_a_file_of_its_name() -> None:
    assert modules.modules_of(["a/__init__.py", "a.py"]) == {"a": "a/__init__.py"}


@pytest.mark.parametrize(
    ("paths", "wanted", "words"),
    [
        (["a.py", "b.py"], "", ["__main__.py, handler.py, main.py", "has a, b"]),
        (["data.json"], "", ["no entry module", "has none"]),
        (["p/__init__.py", "q/__init__.py"], "", ["has p, q"]),
        (["a.py"], "b:f", ["'b:f' is not a module", "has a"]),
        (["a.py"], "b.c", ["'b.c' is not a module", "has a"]),
    ],
)
def test_a_missing_entry_is_reported_with_what_was_tried_and_found(
    paths: list[str], wanted: str, words: list[str]
) -> None:
    with pytest.raises(modules.NoEntry) as caught:
        modules.entry_of(modules.modules_of(paths), wanted)
    assert all(word in str(caught.value) for word in words), caught.value
    assert caught.value.found == list(modules.modules_of(paths))


# running


class Running:
    """A runner started by an app's command, with the function in its environment."""

    def __init__(self, body: bytes, entry: str, folder: Path, sandbox: bool) -> None:
        id_ = "0e38b688-86e3-4966-9060-cf01eef59426"
        options = Options(entry=entry or None)
        app = app_definition.app(
            id_, body, options, "2016-04-02T23:09:47.123Z", app_definition.PlacementSettings()
        )
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        env = {"PATH": os.environ["PATH"], "TMPDIR": str(folder), **app["env"]}
        env |= {"MESOS_SANDBOX": str(folder)} if sandbox else {}
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", app["cmd"]],
            env=env | {"FOB_LISTEN_FD": str(listener.fileno())},
            cwd=folder,
            stderr=subprocess.PIPE,
            pass_fds=(listener.fileno(),),
        )
        listener.close()

    def call(self, **fields: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", "/?" + urlencode(fields))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Return its exit code and standard error."""
        self.process.send_signal(number)
        said = self.process.communicate(timeout=20)[1].decode()
        return self.process.returncode, said


Run = Callable[..., Running]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start a function; `hand` starts it without a sandbox."""
    started: list[Running] = []

    def start(body: Any, entry: str = "", hand: bool = False) -> Running:
        body = body if isinstance(body, bytes) else zipped(body)
        started.append(Running(body, entry, tmp_path, not hand))
        return started[-1]

    yield start
    for running in started:
        if running.process.returncode is None:
            running.end()


PACKAGE = {
    "main.py": "from pkg import core\ndef main(n: int = 1): return core.double(n)\n",
    "pkg/__init__.py": "",
    "pkg/core.py": "from .more import TWO\ndef double(n): return n * TWO\n",
    "pkg/more.py": "TWO = 2\ndef boom():\n    raise ValueError('boom')\n",
}


def test_packages_and_relative_imports_work(run: Run) -> None:
    assert run(PACKAGE).call(n="21") == {"result": 42}


def test_the_entry_may_be_deep_in_a_package(run: Run) -> None:
    assert run(PACKAGE, "pkg.core:double").call(n="x") == {"result": "xx"}


def test_data_files_are_found_by_path_by_resource_and_in_the_working_folder(run: Run) -> None:
    source = (
        "from pathlib import Path\n"
        "from importlib import resources\n"
        "def handler():\n"
        "    return [Path(__file__).with_name('d.txt').read_text(), open('p/d.txt').read(),\n"
        "            resources.files('p').joinpath('d.txt').read_text()]\n"
    )
    held = {"handler.py": source, "d.txt": "1", "p/__init__.py": "", "p/d.txt": "2"}
    assert run(held).call() == {"result": ["1", "2", "2"]}


def test_files_are_in_the_sandbox_and_no_bytecode_is_written(run: Run, tmp_path: Path) -> None:
    run(PACKAGE).call()
    code = tmp_path / "code"
    found = {file.relative_to(code).as_posix() for file in code.rglob("*") if file.is_file()}
    assert found == set(PACKAGE)


def test_started_by_hand_the_files_are_gone_at_the_end(run: Run, tmp_path: Path) -> None:
    started = run(PACKAGE, hand=True)
    started.call()
    assert len(list(tmp_path.glob("fob-*/main.py"))) == 1
    assert started.end()[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_started_by_hand_the_files_are_gone_when_it_ends_during_the_import(
    run: Run, tmp_path: Path, number: int
) -> None:
    held = {"main.py": "import sys, time\nprint('up', file=sys.stderr)\ntime.sleep(60)\n"}
    held["main.py"] += "def main(): pass\n"
    started = run(held, hand=True)
    assert started.process.stderr is not None
    assert started.process.stderr.readline() == b"up\n"
    assert started.end(number) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_the_entry_module_is_imported_once_by_its_own_name(run: Run) -> None:
    held = {
        "main.py": "import other\nCALLS = []\ndef main():\n    return other.add()\n",
        "other.py": "def add():\n    from main import CALLS\n"
        "    CALLS.append(1)\n    return len(CALLS)\n",
    }
    running = run(held)
    assert [running.call()["result"] for _ in range(3)] == [1, 2, 3]


def test_a_main_module_is_a_script_run_anew_for_each_call(run: Run) -> None:
    held = {
        "__main__.py": "import sys, count\ncount.N += 1\nprint(__name__, count.N, sys.argv[0])\n",
        "count.py": "N = 0\n",
    }
    running = run(held)
    outputs = [running.call()["output"] for _ in range(2)]
    assert [output.split()[:2] for output in outputs] == [["__main__", "1"], ["__main__", "2"]]
    assert outputs[0].endswith("/code/__main__.py\n")


def test_a_main_module_of_a_package_can_import_its_neighbours(run: Run) -> None:
    held = {
        "p/__init__.py": "",
        "p/__main__.py": "from . import x\nprint(x.X)\n",
        "p/x.py": "X = 7",
    }
    assert run(held).call() == {"result": None, "output": "7\n"}


def test_an_entry_at_the_top_may_import_its_neighbours_as_relatives(run: Run) -> None:
    source = "from . import x\ndef handler():\n    from .x import X\n    return X + x.X\n"
    assert run({"function.py": source, "x.py": "X = 7"}).call() == {"result": 14}


def test_a_main_module_may_define_the_function(run: Run) -> None:
    source = (
        "def main(n: int):\n    return n + 1\nif __name__ == '__main__':\n    raise SystemExit\n"
    )
    assert run({"__main__.py": source}).call(n="1") == {"result": 2}


def test_a_traceback_has_the_lines_of_the_users_files_only(run: Run) -> None:
    source = "import json, pkg.more\ndef handler():\n    json.loads('1', object_hook=1, cls=Bad)\n"
    source += "def Bad(**k):\n    pkg.more.boom()\n"
    running = run({**PACKAGE, "handler.py": source})
    assert running.call()["error"]["details"]["traceback"] == [
        "handler.py line 3, in handler: json.loads('1', object_hook=1, cls=Bad)",
        "handler.py line 5, in Bad: pkg.more.boom()",
        "pkg/more.py line 3, in boom: raise ValueError('boom')",
    ]
    said = running.end()[1]
    assert 'File "pkg/more.py", line 3, in boom' in said
    assert "runner.py" not in said


def test_an_error_in_an_imported_file_ends_the_runner_and_is_shown(run: Run) -> None:
    running = run({"main.py": "import other\ndef main(): pass\n", "other.py": "1/0\n"})
    said = running.process.communicate(timeout=20)[1].decode()
    assert running.process.returncode == 3
    assert 'File "main.py", line 1' in said
    assert 'File "other.py", line 1' in said
    assert "ZeroDivisionError" in said


def test_a_module_named_like_one_of_pythons_own_is_rejected_with_a_reason(run: Run) -> None:
    running = run({"threading.py": "def f(): pass\n"})
    said = running.process.communicate(timeout=20)[1].decode()
    assert (running.process.returncode, "threading is a module of Python's own" in said) == (
        3,
        True,
    )


def test_a_hostile_archive_is_not_unpacked(run: Run, tmp_path: Path) -> None:
    running = run(raw(Raw(b"main.py", b"def main(): pass"), Raw(b"../out.py", b"")))
    said = running.process.communicate(timeout=20)[1].decode()
    assert running.process.returncode == 3
    assert "BadArchive: the name '../out.py' has a part that is empty, . or .." in said
    assert not (tmp_path / "code").exists()
