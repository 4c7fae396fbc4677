"""Marathon's clients, installed once for all tests that need one."""

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
    """Return the folder of an installed client; skip the test if it cannot be installed."""

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
