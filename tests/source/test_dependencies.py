import random
import re
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from fob.errors import BadRequest
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.source import dependencies
from fob.source.dependencies import Dependencies, of_requirements_file, of_source
from wheels import offline, wheel

# The regular expression of the specification, as the reference.
REFERENCE = r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$"


def block(*lines: str, before: str = "") -> str:
    return before + "\n".join(["# /// script", *(f"# {line}" for line in lines), "# ///", "x = 1"])


def refusal(source: str) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        of_source(source)
    assert caught.value.code == "bad_metadata"
    assert f"line {caught.value.details['line']} " in caught.value.message
    return caught.value


def test_a_file_declares_its_dependencies():
    source = block('requires-python = ">=3.11"', "dependencies = [", '  "requests<3",', '  "rich"]')
    assert of_source(source) == Dependencies(("requests<3", "rich"), ">=3.11")


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def f(): pass\n",
        "# /// script\n# ///\n",
        '# /// script\n# dependencies = ["a"]\n',
        '# /// script\n# dependencies = ["a"]\n\n# ///\n',
        ' # /// script\n # dependencies = ["a"]\n # ///\n',
        '# /// script \n# dependencies = ["a"]\n# ///\n',
        '# /// other\n# dependencies = ["a"]\n# ///\n',
        block('[tool.uv]\n# exclude-newer = "2020"'),
        block("dependencies = []"),
    ],
)
def test_a_file_without_a_block_or_with_an_empty_one_has_no_dependencies(source: str):
    assert not of_source(source)
    assert of_source(source).env() == {}


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_every_line_ending_is_accepted(ending: str):
    source = block('dependencies = ["a"]').replace("\n", ending)
    assert of_source(source).requirements == ("a",)


def test_the_blocks_are_those_of_the_specification():
    parts = [
        "# /// script",
        "# /// x-1",
        "# ///",
        "#",
        "# a = 1",
        "#b",
        "",
        "# /// ",
        "y = 2",
        "# ",
    ]
    chance = random.Random(723)
    for _ in range(3000):
        source = "\n".join(chance.choices(parts, k=chance.randrange(9)))
        expected = [
            (match["type"], "".join(line[2:] + "\n" for line in match["content"].splitlines()))
            for match in re.finditer(REFERENCE, source)
        ]
        found = [(b.kind, "".join(f"{t}\n" for t in b.toml)) for b in dependencies._blocks(source)]
        assert found == expected, source


def test_requirements_have_one_form_in_one_order():
    source = block(
        'dependencies = ["B_b[y,X] >= 1, <2", "a ; os_name == \'posix\'", "b.B[x,y]<2,>=1"]'
    )
    assert of_source(source).requirements == ('a; os_name == "posix"', "b-b[x,y]<2,>=1")


def spelt(found: Dependencies) -> list[str]:
    """Return the requirements without the blanks that versions of packaging write differently."""
    return [re.sub(r" *@ *", "@", requirement) for requirement in found.requirements]


def test_an_https_url_is_a_requirement():
    source = block('dependencies = ["a @ https://host/a-1.0-py3-none-any.whl"]')
    assert spelt(of_source(source)) == ["a@https://host/a-1.0-py3-none-any.whl"]


@pytest.mark.parametrize(
    ("lines", "line", "words"),
    [
        (["dependencies = ["], 3, "is not TOML"),
        (["x = 1", "dependencies = oops"], 4, "is not TOML: Invalid value"),
        (["x = 1", "x = 2"], 4, "is not TOML: Cannot overwrite a value"),
        (['dependencies = "a"'], 3, "needs a list of strings"),
        (["dependencies = [1]"], 3, "needs a list of strings"),
        (["dependencies = [", '"a",', '"not a name"]'], 5, "'not a name', which is not a requirem"),
        (['dependencies = ["--index-url=http://evil"]'], 3, "which is not a requirement"),
        (['dependencies = ["./here"]'], 3, "which is not a requirement"),
        (['dependencies = ["a @ file:///etc"]'], 3, "only https:// URLs are allowed"),
        (['dependencies = ["a @ git+https://host/a"]'], 3, "only https:// URLs are allowed"),
        (['dependencies = ["a @ http://host/a.whl"]'], 3, "only https:// URLs are allowed"),
        (['dependencies = ["a @ ../a"]'], 3, "'a @ ../a'"),
        (['requires-python = "3 or so"'], 3, "'3 or so', which is not a version range"),
        (["dependencies = [\"a; os_name == 'x\\n./y'\"]"], 3, "which is not a requirement"),
        (["requires-python = 3.11"], 3, "needs a string"),
        (["dependencies = [" + f"'{'a' * 99}'," * 170 + "]"], 3, "the limit is 16384"),
        (["x." * 30_000 + "x = 1"], 2, "a block of 60006 bytes; the limit is 20480"),
        (["dependencies = " + "[" * 5000 + "]" * 5000], 2, "nested too deeply"),
        (["x = " + "{y=" * 3000 + "1" + "}" * 3000], 2, "nested too deeply"),
        (
            ["dependencies = ['a; " + "(" * 3000 + "']"],
            3,
            "(((, which is ",
        ),  # nested too deeply, or no requirement: packaging decides
    ],
)
def test_wrong_metadata_is_refused_naming_the_line(lines: list[str], line: int, words: str):
    error = refusal(block(*lines, before="#!/usr/bin/env python\n"))
    assert error.details == {"line": line}
    assert words in error.message


def test_a_second_block_is_refused():
    assert refusal(block("x = 1") + "\n" + block("y = 1")).details == {"line": 5}


def test_dependencies_travel_in_an_app_and_back():
    required = Dependencies(("a", 'b; os_name == "posix"'), ">=3.11")
    assert dependencies.of_app({"env": {"X": "1", **required.env()}}) == required
    assert dependencies.of_app({"env": None}) == Dependencies()


def test_a_requirements_file_is_read_as_pip_does():
    text = "# all\nB_b==1  # why\n\na>=1,\\\n  <2\nc; os_name == 'posix'#not a comment\n"
    with pytest.raises(BadRequest):
        of_requirements_file(text)
    text = text.replace("#not a comment", "") + "d @ https://host/d.zip#sha256=00\nlast\\"
    assert spelt(of_requirements_file(text)) == [
        "a<2,>=1", "b-b==1", 'c; os_name == "posix"', "d@https://host/d.zip#sha256=00", "last",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "-r other.txt", "-e .", "--index-url https://host", "-c limits.txt", "--pre", "./a",
"../a.whl",
        "/etc/a.whl", "file:///a.whl", "a @ file:///a", "git+https://host/a", "https://host/a.whl",
        "a==1 --hash=sha256:00", "a b",
    ],
)  # fmt: skip
def test_a_requirements_file_may_contain_only_requirements(line: str):
    with pytest.raises(BadRequest) as caught:
        of_requirements_file(f"ok\n\\\n{line}\n")
    assert caught.value.code == "bad_requirements"
    assert caught.value.details == {"line": 2}


@pytest.mark.parametrize("text", ["\\\n" * 1_000_000, "# long\n" * 10_000])
def test_a_requirements_file_over_the_limit_is_refused(text: str):
    with pytest.raises(BadRequest, match=r"begins \d+ bytes; the limit is 65536"):
        of_requirements_file(text)


# On a cluster: the runner installs packages itself.

ID = "0e38b688-86e3-4966-9060-cf01eef59426"
SNIPPET = b"import one\ndef f(): return [one.VERSION, one.__file__]\n"
PYTHON = sys.executable
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Start]:
    """Start a function that requires `one`, as an agent without fob does."""
    processes = []

    def start(required: Dependencies, python: str = PYTHON, **more: str) -> "subprocess.Popen[str]":
        app = app_definition.app(ID, SNIPPET, Options(), "", PlacementSettings(), required)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python3").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
        (tmp_path / "bin" / "python3").chmod(0o755)
        env = offline(tmp_path / "wheels") | app["env"] | {"MESOS_SANDBOX": str(tmp_path)} | more
        env |= {"PATH": f"{tmp_path / 'bin'}:{env['PATH']}", "PORT0": str(free_port())}
        processes.append(
            subprocess.Popen(
                ["/bin/sh", "-c", app["cmd"]],
                env=env,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answer_of(process: "subprocess.Popen[str]") -> tuple[str, Any]:
    """Return what the function printed before it listened, and its response."""
    assert process.stderr is not None
    printed = ""
    for line in process.stderr:
        printed += line
        if found := re.search(r" on (127.0.0.1:\d+)$", line):
            return printed, requests.get(f"http://{found[1]}/", timeout=10).json()["result"]
    raise AssertionError(printed)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, printed = process.communicate(timeout=60)
    return process.returncode, printed


def test_a_task_without_an_engine_installs_packages_before_it_listens(
    started: Start, tmp_path: Path
):
    wheel(tmp_path / "wheels", "one", "1.5")
    printed, answer = answer_of(started(Dependencies(("one>=1",), ">=3.9")))
    assert answer == ["1.5", f"{tmp_path}/site-packages/one.py"]
    assert "Successfully installed one-1.5" in printed


def test_a_task_with_installed_packages_installs_nothing(started: Start, tmp_path: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "one.py").write_text("VERSION = 'mine'")
    required = Dependencies(("one>=1",), ">=3.99")
    _, answer = answer_of(started(required, FOB_SITE_PACKAGES=f"{tmp_path}/there"))
    assert answer == ["mine", f"{tmp_path}/there/one.py"]
    assert not (tmp_path / "site-packages").exists()


def test_a_pth_file_takes_effect(started: Start, tmp_path: Path):
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "there" / "deep.pth").write_text("deep\n")
    (tmp_path / "there" / "deep" / "one.py").write_text("VERSION = 'deep'")
    _, answer = answer_of(started(Dependencies(), FOB_SITE_PACKAGES=f"{tmp_path}/there"))
    assert answer[0] == "deep"


def test_a_task_that_cannot_install_packages_exits_with_the_installers_message(started: Start):
    status, printed = ended(started(Dependencies(("one>=1",))))
    assert status == 3
    assert "No matching distribution found for one>=1" in printed
    assert printed.endswith("cannot be imported: its dependencies cannot be installed\n")


def test_a_task_checks_the_python_it_runs_on(started: Start):
    status, printed = ended(started(Dependencies((), ">=3.99")))
    assert status == 3
    assert "fob: it requires Python >=3.99, and this is 3." in printed


def test_without_pip_it_says_so_when_packages_are_needed(started: Start, tmp_path: Path):
    status, printed = ended(started(Dependencies(("one",)), python=without_pip(tmp_path)))
    assert status == 3
    assert "has no pip; use an image that has" in printed


def test_without_pip_a_function_that_needs_no_packages_runs(started: Start, tmp_path: Path):
    process = started(Dependencies((), ">=3.9"), python=without_pip(tmp_path))
    assert "No module named 'one'" in ended(process)[1]


def without_pip(tmp_path: Path) -> str:
    """Return a Python without pip, from an empty virtual environment."""
    venv.create(tmp_path / "bare")
    return str(tmp_path / "bare" / "bin" / "python3")
