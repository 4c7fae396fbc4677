"""Whom fob is measured against: the table, and starting and ending one of its rows."""

import json
import os
import re
import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from bench import install, peers, servers
from bench.install import Installed
from bench.load import Connection

ALL = (peers.FLOOR, peers.TWIN, *peers.PEERS)
KNOWN = {"port", "apps", "folder", "upstream", "config"}


@pytest.mark.parametrize("peer", ALL, ids=lambda peer: peer.name)
def test_a_row_names_files_that_are_there_and_blanks_that_are_filled(peer: peers.Peer) -> None:
    files = [peers.APPS / name for name in peer.files]
    values = [value for _, value in peer.variables]
    texts = [*peer.command, *values, *(file.read_text() for file in files)]
    named = re.findall(r"\{apps\}/(\w+\.\w+)", " ".join(texts))
    assert all((peers.APPS / name).exists() for name in named)
    assert set(re.findall(r"\{(\w+)\}", " ".join(texts))) <= KNOWN
    assert peer.said


def test_every_row_has_a_name_of_its_own() -> None:
    assert len({peer.name for peer in ALL}) == len(ALL)


def test_everybody_returns_what_fobs_function_returns() -> None:
    hello = runpy.run_path(str(peers.APPS / "hello.py"))["handler"]()
    floor = runpy.run_path(str(peers.APPS / "epoll_loop.py"))
    assert json.loads(floor["BODY"]) == hello
    assert str(hello["message"]) in (peers.APPS / "worker.js").read_text()


def test_a_server_answers_once_it_is_there_and_is_gone_after() -> None:
    with servers.running(peers.FLOOR, Installed.python()) as server:
        target = server.target(lambda: {1})
        connection = Connection(target.host, target.port)
        assert json.loads(connection.ask("GET", target.path)) == json.loads(server.answer)
        connection.close()
        assert target.pids() == server.pids() | {1} != {1}
        assert server.started_ms > 0
    with pytest.raises(ConnectionRefusedError):
        Connection(target.host, target.port)


def test_a_server_that_ends_is_quoted() -> None:
    command = ("python3", "-c", "raise SystemExit('it is Sunday')")
    with (
        pytest.raises(servers.NotStarted, match="it is Sunday"),
        servers.running(replace(peers.FLOOR, command=command), Installed.python()),
    ):
        pass


def test_what_cannot_be_installed_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(install, "CACHE", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(install, "_TOOLS", {"pip": _without_venv})
    with pytest.raises(install.NotInstalled, match="no-such-package-of-fobs"):
        install.install(install.Environment("none", "pip", ("no-such-package-of-fobs",)))
    assert not (tmp_path / "none" / "installed.json").exists()


def _without_venv(folder: Path, packages: list[str]) -> dict[str, str]:
    pip = [Installed.python().program("python"), "-m", "pip", "--disable-pip-version-check"]
    install._run([*pip, "install", "--target", str(folder), *packages])
    return {}


def test_what_is_installed_is_not_installed_again_until_the_row_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed: list[list[str]] = []

    def tool(folder: Path, packages: list[str]) -> dict[str, str]:
        installed.append(packages)
        return {"one": "1.0"}

    monkeypatch.setattr(install, "CACHE", tmp_path)
    monkeypatch.setattr(install, "_TOOLS", {"pip": tool})
    for packages in (("one",), ("one",), ("one", "two")):
        found = install.install(install.Environment("some", "pip", packages))
    assert installed == [["one"], ["one", "two"]]
    assert found.version("one") == "1.0"


def test_a_program_is_looked_for_in_the_environment_first(tmp_path: Path) -> None:
    own = tmp_path / "sh"
    own.write_text("")
    own.chmod(0o755)
    assert Installed(str(tmp_path)).program("sh") == str(own)
    assert os.path.basename(Installed("/nowhere").program("sh")) == "sh"
    with pytest.raises(install.NotInstalled, match="no-such-program"):
        Installed("/nowhere").program("no-such-program")
