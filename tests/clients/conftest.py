"""The clients, installed once for all tests that want one."""

from collections.abc import Callable
from pathlib import Path

import installing
import pytest
from dcos import Dcos

import live


@pytest.fixture(scope="session")
def installed() -> dict[str, Path | str]:
    return installing.install_all()


@pytest.fixture
def client(installed: dict[str, Path | str]) -> Callable[[str], Path]:
    """Where the client of a name is installed; the test is skipped when it cannot be had."""

    def find(name: str) -> Path:
        found = installed[name]
        if isinstance(found, str):
            pytest.skip(found)
        return found

    return find


@pytest.fixture
def dcos(version: str, client: Callable[[str], Path], tmp_path: Path, engine: live.Engine) -> Dcos:
    """The DC/OS command line of the version that the test is parametrised with."""
    return Dcos(version, client(f"dcos-{version}"), tmp_path / "user", engine)
