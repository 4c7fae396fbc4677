"""The README and docs/dcos.md are a contract: their commands, run as a reader would, print what the
pages say.

Port and Marathon's name are fixed there, so everything happens in network and mount namespaces that
the tests made, where both are free.
"""

import contextlib
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import live
from indexes import skip_if_unreachable
from readme import BLOCK, DCOS, ID, README, Step, steps

MARATHON = "pool-7830-elasticl-cv29rf2oafkv-1899442518.us-west-2.elb.amazonaws.com"

PUBLISHED_COMMANDS = f"""\
git clone https://github.com/mhausenblas/fob.git && cd fob/
dcos marathon app add fob-service.json
echo $DCOS_PUBLIC_AGENT
FOB_SERVICE_PORT="$(dcos marathon app show fob | jq .tasks[0].ports[0])"
echo $FOB_SERVICE_PORT
http POST $DCOS_PUBLIC_AGENT:$FOB_SERVICE_PORT/api/gen < py_example.py
cd service
virtualenv env
. env/bin/activate
pip install -r requirements.txt
export MARATHON_API=http://{MARATHON}/service/marathon
python fob_dispatcher.py
http http://localhost:9999/api/stats
http POST http://localhost:9999/api/gen < ../py_example.py
http http://localhost:9999/api/meta/0e38b688-86e3-4966-9060-cf01eef59426
"""


def masked(text: str) -> str:
    """The text without what differs from run to run: dates, ids, ports, versions."""
    for pattern, mark in (
        (ID, "<id>"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ", "<time> "),
        (r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", "<date>"),
        (r"at line \d+", "at line <n>"),
        (r"TornadoServer/[\d.]+", "TornadoServer/<n>"),
        (r'127\.0\.0\.1(:|", "port": )\d+', r"127.0.0.1\1<port>"),
    ):
        text = re.sub(pattern, mark, text)
    return text.strip()


class Machine:
    """A machine with its own localhost, on which the README's Marathon has its published name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {MARATHON}\n")
        inside = f'ip link set lo up && mount --bind "{hosts}" /etc/hosts && echo up && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", inside],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self.is_up = self._holder.stdout.readline() == b"up\n"

    def stop(self) -> None:
        self._holder.communicate()

    def start(self, script: str, folder: Path, **streams: object) -> "subprocess.Popen[bytes]":
        """Run a script in bash, in `folder`, as the leader of a session of its own."""
        join = ["nsenter", f"--target={self._holder.pid}", "--net", "--mount", f"--wd={folder}"]
        environment = live.environment(self.folder / "home") | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "TERM": "xterm",
        }
        return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
            [*join, "bash", "-e", "-c", script], env=environment, start_new_session=True, **streams
        )

    def typed(self, command: str, folder: Path) -> str:
        """What a command shows on a terminal, without its colours."""
        ours, theirs = pty.openpty()
        process = self.start(command, folder, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the last one has closed the terminal
            while piece := os.read(ours, 65536):
                shown += piece
        os.close(ours)
        assert process.wait(live.PATIENCE_SECONDS) == 0, shown.decode()
        return re.sub(r"\x1b\[[0-9;]*m|\r", "", shown.decode())

    @contextlib.contextmanager
    def running(self, script: str, folder: Path, ready: str) -> Iterator[list[str]]:
        """A program in another terminal, until Ctrl-C; what it says up to the line with `ready`."""
        process = self.start(
            script,
            folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        lines: list[str] = []
        try:
            while not lines or ready not in lines[-1]:
                lines.append(process.stdout.readline().decode())
                assert lines[-1], "".join(lines)
            yield lines
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=live.PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("machine")
    config = folder / ".config" / "httpie"
    config.mkdir(parents=True)
    # it would look for a newer version of itself in the background
    (config / "config.json").write_text('{"disable_update_warnings": true}')
    machine = Machine(folder)
    if not machine.is_up:
        machine.stop()
        pytest.skip(
            "the README's fixed port wants a network namespace, and this user may make none"
        )
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with the README's virtual environment, made by its commands."""
    tree = tmp_path_factory.mktemp("fob") / "fob"
    tree.mkdir()
    shutil.copy(live.ROOT / "py_example.py", tree)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "env")
    shutil.copytree(live.SERVICE, tree / "service", ignore=ignore)
    script = "\n".join(step.command for step in local()[:4])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tree,
        env=os.environ | {"PATH": path},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return tree


def local() -> list[Step]:
    return steps("Local testing, step by step", DCOS)


def shell_state() -> str:
    """Of the walk-through's set-up, what only changes the shell."""
    return "\n".join(step.command for step in local()[:4] if step.command.startswith(("cd ", ". ")))


def test_every_published_command_is_there() -> None:
    commands = [part for block in BLOCK.findall(DCOS) for part in block.splitlines()]
    missing = [c for c in PUBLISHED_COMMANDS.splitlines() if f"$ {c}" not in commands]
    assert missing == []


def test_every_make_target_it_names_exists() -> None:
    makefile = (live.ROOT / "Makefile").read_text()
    for target in re.findall(r"^\$ make (\w+)", README, re.M):
        assert f"\n{target}:" in makefile


def test_the_walk_through_with_a_marathon_prints_what_it_says(machine: Machine, tree: Path) -> None:
    *_, export, start, stats, gen, meta = local()
    server = f"{shell_state()}\n{export.command}\n{start.command}"
    marathon = f"python {live.ROOT}/tests/support/readme_marathon.py 80"
    with (
        machine.running(marathon, tree, "ready"),
        machine.running(server, tree, "Listening on") as log,
    ):
        assert masked("".join(log)) == masked(start.output)
        folder = tree / "service"
        assert masked(machine.typed(stats.command, folder)) == masked(stats.output)
        made = machine.typed(gen.command, folder)
        assert masked(made) == masked(gen.output)
        asked = ID.sub(ID.findall(made)[0], meta.command)
        assert masked(machine.typed(asked, folder)) == masked(meta.output)


def test_the_walk_through_without_a_marathon_runs_the_function_here(
    machine: Machine, tree: Path
) -> None:
    *_, start, stats, gen, _ = local()
    server = f"{shell_state()}\n{start.command}"
    with machine.running(server, tree, "Listening on") as log:
        shape = [re.sub(r"API \S+", "API <url>", line) for line in masked(start.output).split("\n")]
        assert re.sub(r"API \S+", "API <url>", masked("".join(log))).split("\n") == shape
        folder = tree / "service"
        assert masked(machine.typed(stats.command, folder)) == masked(stats.output)
        assert masked(machine.typed(gen.command, folder)) == masked(gen.output)
        follow(machine, tree, steps("Use it"))
        follow(machine, tree, steps("The command line"))


def follow(machine: Machine, folder: Path, walk: list[Step]) -> None:
    """Type each command, with the variables and the port from those before it, and compare."""
    variables, port = "", ""
    assert walk
    for step in walk:
        command = variables + step.command.replace(":31000", f":{port}")
        if assigned := re.match(r"(\w+)=", step.command):
            value = machine.typed(f'{command}; printf %s "${assigned[1]}"', folder)
            variables += f"{assigned[1]}={shlex.quote(value)}; "
            continue
        shown = machine.typed(command, folder)
        assert masked(shown) == masked(step.output), step.command
        if found := re.search(r'"port": (\d+)', shown):
            port = found[1]


def test_the_quickstart_needs_nothing_but_pip(machine: Machine, tmp_path: Path) -> None:
    install, serve = steps("Start the service")
    for name in ("pyproject.toml", "README.md", "py_example.py"):
        shutil.copy(live.ROOT / name, tmp_path)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "env")
    shutil.copytree(live.SERVICE, tmp_path / "service", ignore=ignore)
    script = f"{sys.executable} -m venv env && . env/bin/activate && {install.command}"
    command = ["bash", "-e", "-c", script]
    installed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    skip_if_unreachable(installed.stderr)
    assert installed.returncode == 0, installed.stderr
    with machine.running(
        f". env/bin/activate\n{serve.command}", tmp_path, "Listening on port 9999"
    ):
        called = "fob gen py_example.py --name quick --wait >/dev/null; fob call quick"
        shown = machine.typed(f". env/bin/activate; {called}", tmp_path)
        assert shown == "Hello serverless world!\n"
