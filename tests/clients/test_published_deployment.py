"""The published deployment (docs/dcos.md), typed as written: the DC/OS command line, jq and HTTPie.

fob's engine serves as Marathon, with a real Docker engine.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from dcos import Dcos

import docker_engine
import live
from readme import DCOS, steps

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(bool(docker_engine.missing()), reason=docker_engine.missing() or "-"),
    pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed"),
]
TYPED = "== typed =="


class Shell:
    """A shell that a user types into."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._complaints = (folder / "complaints").open("w+")
        self._bash = subprocess.Popen(
            ["bash", "-e"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )

    def type(self, command: str) -> str:
        """Run a command and return its output; if it fails, so does the test."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        print(f"{{ {command}\n}} </dev/null; echo '{TYPED}'", file=self._bash.stdin, flush=True)
        printed = ""
        while not printed.endswith(f"{TYPED}\n"):
            line = self._bash.stdout.readline()
            assert line, f"{command}: {printed}{Path(self._complaints.name).read_text()}"
            printed += line
        return printed.removesuffix(f"{TYPED}\n").strip()

    def close(self) -> None:
        self._bash.communicate()
        self._complaints.close()


@contextmanager
def shell(folder: Path, environment: dict[str, str]) -> Iterator[Shell]:
    opened = Shell(folder, environment)
    try:
        yield opened
    finally:
        opened.close()


def clone(folder: Path, **env: str) -> None:
    """Copy the checkout, and change `fob-service.json` as docs/dcos.md says."""
    folder.mkdir()
    shutil.copy(live.ROOT / "py_example.py", folder)
    definition = json.loads((live.ROOT / "fob-service.json").read_text())
    definition["env"] |= env
    (folder / "fob-service.json").write_text(json.dumps(definition))


def users(dcos: Dcos, agent: str) -> dict[str, str]:
    """Return the environment of a user with the tools in PATH."""
    path = f"{dcos.environment['PATH']}:{Path(sys.executable).parent}"
    config = Path(dcos.environment["HOME"]) / ".config" / "httpie" / "config.json"
    config.parent.mkdir(parents=True)
    # otherwise it looks for a newer version of itself in the background
    config.write_text('{"disable_update_warnings": true}')
    return os.environ | dcos.environment | {"PATH": path, "DCOS_PUBLIC_AGENT": agent}


def healthy(marathon: live.Engine) -> bool:
    """Return whether the service's own health check has succeeded."""
    tasks = marathon.app("/fob")["tasks"]
    return any(result["alive"] for task in tasks for result in task.get("healthCheckResults", []))


@pytest.mark.parametrize(
    ("version", "functions"),
    [("0.4.0", ""), ("0.6.1", docker_engine.BASE)],
    ids=["0.4.0-processes", "0.6.1-containers"],
)
def test_the_published_commands_deploy_fob_and_a_function(
    docker: docker_engine.Engine,
    image: str,
    client: Callable[[str], Path],
    start_engine: Callable[..., live.Engine],
    tmp_path: Path,
    version: str,
    functions: str,
) -> None:
    there, add, whose, find, which, gen = (
        step.command for step in steps("Installing it on DC/OS", DCOS)
    )
    docker.docker("tag", image, "mhausenblas/fob:0.1.0")
    agent = docker.gateway()
    with docker.inside():
        marathon = start_engine(FOB_DOCKER_HOST=docker.host, FOB_ENGINE_HOST=agent)
        assert any(f"ANYBODY who reaches {agent}" in line for line in marathon.log)
        assert requests.get(f"{marathon.url}/v2/apps", timeout=5).status_code == 401
        dcos = Dcos(version, client(f"dcos-{version}"), tmp_path / "user", marathon)
        clone(
            tmp_path / "fob",
            MARATHON_API=f"{marathon.url}/service/marathon",
            FOB_MARATHON_TOKEN=marathon.token,
            FOB_IMAGE=functions,
        )
        with shell(tmp_path, users(dcos, agent)) as user:
            user.type(there.partition(" && ")[2])
            user.type(add)
            assert user.type(whose) == agent
            live.until(lambda: healthy(marathon), "its health check's success")
            user.type(find)
            (task,) = marathon.running("/fob")
            assert user.type(which) == str(task["ports"][0])
            made = json.loads(user.type(gen))["id"]
            use(user, made)
        function = marathon.app(f"/fob-aviary/{made}")
        assert function["tasks"][0]["host"] == agent
        assert bool(function["container"]) == bool(functions)
        assert len(docker.containers()) == 1 + bool(functions)
        marathon.stop()
    assert docker.containers() == []


def use(user: Shell, id_: str) -> None:
    """Get the endpoint, and call it directly and through the service, as docs/dcos.md does."""
    _, _, meta, direct, through = steps("Use it")
    user.type(f"ID={id_}")
    where = json.loads(user.type(_elsewhere(meta.command)))
    address = f"{where['host']}:{where['port']}"
    assert user.type(direct.command.replace("127.0.0.1:31000", address)) == direct.output.strip()
    assert user.type(_elsewhere(through.command)) == through.output.strip()


def _elsewhere(command: str) -> str:
    return command.replace("localhost:9999", "$DCOS_PUBLIC_AGENT:$FOB_SERVICE_PORT")
