"""The command `fob`, run as users run it, against a running service."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import live
from fob import config
from fob.cli import errors

Done: TypeAlias = "subprocess.CompletedProcess[str]"
Fob = Callable[..., Done]

ADD = "def add(a: int, b: int = 2):\n    return {'sum': a + b}\n"
KINDS = "def kinds(a, b=None):\n    return [type(a).__name__, type(b).__name__]\n"
GREETING = (live.ROOT / "py_example.py").read_text()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running service."""
    dispatcher = live.Dispatcher(tmp_path_factory.mktemp("home"))
    yield dispatcher.url
    dispatcher.stop()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fob", *arguments]


def run(folder: Path, *arguments: str, input_: str = "", **env: str) -> Done:
    return subprocess.run(
        command(*arguments),
        cwd=live.SERVICE,
        env=live.environment(folder, **env),
        input=input_,
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )


@pytest.fixture
def fob(url: str, tmp_path: Path) -> Iterator[Fob]:
    """Run the command; functions it registered are removed at the end."""

    def call(*arguments: str, input_: str = "", **env: str) -> Done:
        return run(tmp_path, *arguments, input_=input_, **{"FOB_URL": url} | env)

    yield call
    ids = [function["id"] for function in json.loads(call("list", "--json").stdout)]
    assert not ids or call("rm", *ids).returncode == 0


def test_gen_prints_the_id_and_call_prints_the_output(fob: Fob, tmp_path: Path) -> None:
    file = tmp_path / "greeting.py"
    file.write_text(GREETING)
    made = fob("gen", str(file), "--wait")
    assert (made.returncode, made.stderr) == (0, "")
    called = fob("call", made.stdout.strip())
    assert (called.returncode, called.stdout, called.stderr) == (0, "Hello serverless world!\n", "")


def test_json_prints_the_responses_of_the_service(fob: Fob) -> None:
    made = json.loads(fob("gen", "-", "--wait", "--json", input_=GREETING).stdout)
    assert made.keys() == {"id", "host", "port"}
    where = json.loads(fob("meta", made["id"], "--json").stdout)
    assert where == {"host": made["host"], "port": made["port"]}
    answer = json.loads(fob("call", made["id"], "--json").stdout)
    assert answer == {"result": None, "output": "Hello serverless world!\n"}
    assert [f["id"] for f in json.loads(fob("list", "--json").stdout)] == [made["id"]]
    assert json.loads(fob("rm", made["id"], "--json").stdout) == [made["id"]]


def test_every_option_of_gen_arrives(fob: Fob) -> None:
    options = ["--entry", "add", "--cpus", "0.2", "--mem", "80", "--timeout", "7"]
    more = ["--concurrency", "3", "--instances", "2", "--env", "A=b=c", "--name", "adder"]
    made = fob("gen", "-", *options, *more, input_=ADD)
    assert made.returncode == 0, made.stderr
    (listed,) = json.loads(fob("list", "--json").stdout)
    assert (listed["name"], listed["instances_wanted"]) == ("adder", 2)


def test_meta_prints_host_and_port(fob: Fob) -> None:
    id_ = fob("gen", "-", input_=GREETING).stdout.strip()
    host, _, port = fob("meta", id_, "--wait", "20").stdout.strip().rpartition(":")
    assert host == "127.0.0.1"
    assert port.isdecimal()


def test_arguments_are_sent_as_text_or_as_json(fob: Fob) -> None:
    fob("gen", "-", "--wait", "--name", "kinds", input_=KINDS)
    assert fob("call", "kinds", "a=1").stdout == '["str", "NoneType"]\n'
    assert fob("call", "kinds", "a:=1", "b:=[2]").stdout == '["int", "list"]\n'
    assert fob("call", "kinds", "a=1", "b:=2.5").stdout == '["str", "float"]\n'


def test_a_body_is_read_from_the_command_line_a_file_or_standard_input(
    fob: Fob, tmp_path: Path
) -> None:
    fob("gen", "-", "--wait", "--name", "add", input_=ADD)
    file = tmp_path / "body.json"
    file.write_text('{"a": 40}')
    assert fob("call", "add", "--data", '{"a": 1}').stdout == '{"sum": 3}\n'
    assert fob("call", "add", "--data", f"@{file}").stdout == '{"sum": 42}\n'
    assert fob("call", "add", "--data", "@-", input_='{"a": 3}').stdout == '{"sum": 5}\n'


def test_a_function_is_found_by_its_name_or_the_beginning_of_its_id(fob: Fob) -> None:
    id_ = fob("gen", "-", "--wait", "--name", "add", input_=ADD).stdout.strip()
    for short in ("add", id_[:8], id_):
        assert fob("call", short, "a=1").stdout == '{"sum": 3}\n'


def test_an_ambiguous_name_lists_the_candidates(fob: Fob) -> None:
    ids = [fob("gen", "-", "--name", "twin", input_=ADD).stdout.strip() for _ in range(2)]
    done = fob("meta", "twin")
    assert done.returncode == 1
    assert all(id_ in done.stderr for id_ in ids)


def test_list_prints_a_table(fob: Fob) -> None:
    id_ = fob("gen", "-", "--wait", "--name", "add", input_=ADD).stdout.strip()
    head, line = fob("list").stdout.splitlines()
    assert head.split() == ["ID", "STATE", "READY", "CREATED", "NAME"]
    assert line.split()[:3] == [id_, "running", "1"]
    assert line.endswith("add")


def test_logs_prints_the_output_of_the_function(fob: Fob) -> None:
    fob("gen", "-", "--wait", "--name", "greeting", input_=GREETING)
    fob("call", "greeting")
    assert "Hello serverless world!\n" in fob("logs", "greeting").stdout


def test_followed_logs_are_printed_as_they_arrive_until_ctrl_c(
    fob: Fob, url: str, tmp_path: Path
) -> None:
    fob("gen", "-", "--wait", "--name", "greeting", input_=GREETING)
    with subprocess.Popen(
        command("logs", "-f", "greeting"),
        cwd=live.SERVICE,
        env=live.environment(tmp_path, FOB_URL=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        fob("call", "greeting")
        assert any("Hello serverless world!" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(live.PATIENCE_SECONDS) == 130


def test_rm_removes_and_prints_the_ids(fob: Fob) -> None:
    ids = [fob("gen", "-", input_=ADD).stdout.strip() for _ in range(2)]
    assert fob("rm", *ids).stdout.split() == ids
    assert fob("list").stdout.count("\n") == 1
    assert fob("rm", ids[0]).returncode == 1


def test_a_function_that_raises_is_exit_code_3_and_shows_its_line(fob: Fob) -> None:
    fob("gen", "-", "--wait", "--name", "bad", input_="def bad():\n    raise ValueError('no')\n")
    done = fob("call", "bad")
    assert done.returncode == 3
    assert "ValueError: no" in done.stderr
    assert "line 2, in bad" in done.stderr


def test_a_function_that_dies_is_exit_code_3(fob: Fob) -> None:
    source = "import os\ndef die():\n    os._exit(1)\n"
    fob("gen", "-", "--wait", "--name", "die", input_=source)
    assert fob("call", "die").returncode == 3


def test_a_file_that_cannot_be_imported_is_exit_code_3_with_the_traceback(fob: Fob) -> None:
    done = fob("gen", "-", "--wait", "--json", input_="import nowhere\ndef f(): pass\n")
    assert done.returncode == 3
    assert json.loads(done.stdout).keys() == {"id"}
    assert json.loads(done.stderr)["error"]["code"] == "not_ready"
    id_ = json.loads(done.stdout)["id"]
    for again in (fob("meta", id_, "--wait", "20"), fob("call", id_)):
        assert again.returncode == 3
        assert "ModuleNotFoundError: No module named 'nowhere'" in again.stderr


def test_an_error_of_the_service_is_exit_code_1_with_its_message(fob: Fob) -> None:
    done = fob("gen", "-", input_="def f(:")
    assert done.returncode == 1
    assert "line 1" in done.stderr
    assert "Traceback" not in done.stderr


def test_errors_name_flags_and_commands_and_not_queries_and_routes(fob: Fob) -> None:
    two = "def a(): pass\ndef b(): pass\n"
    ambiguous = fob("gen", "-", input_=two)
    assert (ambiguous.returncode, "?" in ambiguous.stderr) == (1, False)
    assert "with --entry NAME" in ambiguous.stderr
    in_json = json.loads(fob("gen", "-", "--json", input_=two).stderr)["error"]["message"]
    assert "?entry=NAME" in in_json, "with --json it is the API's own error"
    missing = fob("meta", "0" * 8 + "-0000" * 3 + "-" + "0" * 12)
    assert missing.returncode == 1
    assert "`fob list`" in missing.stderr
    assert "/api/" not in missing.stderr


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("allow it more with ?timeout=", "allow it more with --timeout"),
        ("name one with ?entry=MODULE or ?entry=MODULE:NAME", None),
        ("set ?keep_alive=5", "set --keep-alive 5"),
        ("logs (GET /api/functions/<id>/logs) may", "logs (`fob logs ID`) may"),
        ("cannot open http://host/?entry=x", "cannot open http://host/?entry=x"),
    ],
)
def test_queries_become_flags_except_in_urls(message: str, shown: str | None) -> None:
    shown = shown or "name one with --entry MODULE or --entry MODULE:NAME"
    assert errors.in_cli_terms(message) == shown


def test_a_wrong_argument_is_exit_code_1_and_names_the_signature(fob: Fob) -> None:
    fob("gen", "-", "--wait", "--name", "add", input_=ADD)
    done = fob("call", "add", "c=1")
    assert done.returncode == 1
    assert "add(a: int, b: int = 2)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("call", "x" * 36, "nonsense"), "KEY=VALUE"),
        (("call", "x" * 36, "a:=nonsense"), "not JSON"),
        (("call", "x" * 36, "a:=1", "--data", "{}"), "not as both"),
        (("gen", "/no/such/file.py"), "cannot read /no/such/file.py"),
        (("meta", "no-such-function"), "no-such-function"),
        (("list", "--url", "ftp://somewhere"), "not a URL"),
    ],
)
def test_wrong_usage_gets_one_line_that_names_the_remedy(
    fob: Fob, arguments: tuple[str, ...], words: str
) -> None:
    done = fob(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_a_service_the_error_says_how_to_start_one(tmp_path: Path) -> None:
    done = run(tmp_path, "list", FOB_PORT="1")
    assert done.returncode == 1
    assert "http://127.0.0.1:1" in done.stderr
    assert "fob serve" in done.stderr


def test_an_unknown_command_is_exit_code_2(tmp_path: Path) -> None:
    assert run(tmp_path, "fly").returncode == 2
    assert run(tmp_path).returncode == 2


def test_the_token_is_sent(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    url = start_dispatcher(FOB_TOKEN="sesame").url
    refused = run(tmp_path, "gen", "-", input_=ADD, FOB_URL=url)
    assert refused.returncode == 1
    assert "token" in refused.stderr
    assert run(tmp_path, "gen", "-", input_=ADD, FOB_URL=url, FOB_TOKEN="sesame").returncode == 0
    done = run(tmp_path, "gen", "-", "--token", "sesame", input_=ADD, FOB_URL=url)
    assert done.returncode == 0


def test_a_closed_pipe_is_not_an_error(fob: Fob, url: str, tmp_path: Path) -> None:
    fob("gen", "-", "--wait", "--name", "greeting", input_=GREETING)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            command("call", "greeting"),
            cwd=live.SERVICE,
            env=live.environment(tmp_path, FOB_URL=url),
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_shows_progress_while_waiting(fob: Fob, url: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    fob("gen", "-", "--name", "slow", input_=f"import os, time\n{waits}\ndef f(): pass\n")
    ours, theirs = pty.openpty()
    waiting = subprocess.Popen(
        command("meta", "slow", "--wait", "20"),
        cwd=live.SERVICE,
        env=live.environment(tmp_path, FOB_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = ""
    while "starting" not in shown:
        shown += os.read(ours, 65536).decode()
    go.touch()
    with contextlib.suppress(OSError):  # EIO: the command has ended
        while True:
            shown += os.read(ours, 65536).decode()
    os.close(ours)
    assert waiting.wait(live.PATIENCE_SECONDS) == 0
    assert shown.endswith("\r\x1b[K"), "the line is erased"


def test_help_names_every_setting_and_its_default(tmp_path: Path) -> None:
    text = " ".join(run(tmp_path, "serve", "--help", COLUMNS="200").stdout.split())
    for name, default, allowed, meaning in config.table():
        if name != "FOB_URL":  # the client's own
            assert f"{name} {meaning} ({allowed}; default: " in text
            assert default in text


def test_client_commands_do_not_import_the_servers_packages(tmp_path: Path) -> None:
    listed = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fob", "list", "--url", "http://127.0.0.1:1"],
        cwd=live.SERVICE,
        env=live.environment(tmp_path),
        capture_output=True,
        text=True,
    ).stderr
    imported = {line.rpartition("|")[2].strip() for line in listed.splitlines()}
    assert "fob.cli.service" in imported
    assert imported.isdisjoint(
        {"asyncio", "requests", "tornado", "urllib3", "sqlite3", "fob.dispatcher.main"}
    )


def test_flags_of_serve_take_precedence_over_the_environment(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("serve", "--port", "0", "--home", str(tmp_path / "there")),
        cwd=live.SERVICE,
        env=live.environment(tmp_path / "not-here", FOB_PORT="1"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Listening on port" in line)
        assert "Listening on port 1 " not in line
        process.send_signal(signal.SIGINT)
        assert process.wait(live.PATIENCE_SECONDS) == 0
    assert os.listdir(tmp_path) == ["there"]


@pytest.mark.parametrize("flag", ["--host", "--port", "--token"])
def test_engine_rejects_flags_that_concern_only_the_service(tmp_path: Path, flag: str) -> None:
    done = subprocess.run(
        command("engine", "--home", str(tmp_path), flag, "1"),
        cwd=live.SERVICE,
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )
    assert done.returncode == 2
    assert f"unrecognized arguments: {flag}" in done.stderr


def test_engine_runs_until_it_is_terminated(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("engine", "--home", str(tmp_path)),
        cwd=live.SERVICE,
        env=live.environment(tmp_path / "not-here"),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert any("Engine ready at http://127.0.0.1:" in line for line in process.stderr)
        process.terminate()
        assert process.wait(live.PATIENCE_SECONDS) == 0
