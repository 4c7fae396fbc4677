"""Functions in all conventions, each served by a runner process of its own."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from talk import Serve

import live
from fob.source import dependencies
from indexes import skip_if_unreachable
from running import Runner, Start, launch

EXAMPLES = live.ROOT / "examples"
PACKAGES = live.ROOT / ".venv" / "examples"  # `make clean` removes it

__all__ = ["launch"]


@pytest.fixture
def serve(launch: Start) -> Serve:
    """Serve a source text or a file, with the packages it declares; keywords are environment."""

    def serve(source: str | Path, **env: str) -> Runner:
        text = source.read_text() if isinstance(source, Path) else source
        runner = launch(text, **packages_of(text), **env)
        assert runner.wait_for("listening"), runner.stderr
        return runner

    return serve


def packages_of(source: str) -> dict[str, str]:
    """The setting for the packages that a file declares, installed once for all test runs."""
    needs = dependencies.of_source(source)
    if not needs.requirements:
        return {}
    key = hashlib.sha256(f"{sys.version} {needs.requirements}".encode()).hexdigest()[:16]
    folder = PACKAGES / key
    if not folder.exists():
        install(list(needs.requirements), folder)
    return {"FOB_SITE_PACKAGES": str(folder)}


def install(requirements: list[str], folder: Path) -> None:
    PACKAGES.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="building-", dir=PACKAGES))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command = [*pip, "--target", str(building), *requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        skip_if_unreachable(done.stderr)
    assert done.returncode == 0, done.stderr
    try:
        building.rename(folder)
    except OSError:  # a test of another worker has just installed them
        shutil.rmtree(building)
