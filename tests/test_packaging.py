"""Packages and deployment: metadata, the contents of the archives, systemd unit, compose file."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import live
from indexes import skip_if_unreachable

PROJECT = tomllib.loads((live.ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive and the wheel, built from the files that git tracks."""
    folder = tmp_path_factory.mktemp("packaging")
    listed = ["git", "ls-files", "-z"]
    tracked = subprocess.run(listed, cwd=live.ROOT, capture_output=True, check=True).stdout
    for name in filter(None, tracked.decode().split("\0")):
        target = folder / "tree" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (live.ROOT / name).is_file():
            shutil.copy(live.ROOT / name, target)
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "build"]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    skip_if_unreachable(installed.stderr)
    assert installed.returncode == 0, installed.stderr
    build = [python, "-m", "build", "--outdir", folder / "dist", folder / "tree"]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (source,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return source, wheel


@pytest.mark.slow
def test_the_source_archive_has_documentation_examples_and_tests(
    archives: tuple[Path, Path],
) -> None:
    with tarfile.open(archives[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"CHANGELOG.md", "SECURITY.md", "docs/api.md", "examples/plain.py", "Makefile"}
    assert wanted <= names
    assert {str(p.relative_to(live.ROOT)) for p in (live.ROOT / "docs").glob("*.md")} <= names


@pytest.mark.slow
def test_the_wheel_has_every_module_and_no_test(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = set(wheel.namelist())
    modules = {str(p.relative_to(live.SERVICE)) for p in (live.SERVICE / "fob").rglob("*.py")}
    assert modules <= names
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
def test_the_metadata_is_what_the_index_shows(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = wheel.read(name).decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert metadata.count("Project-URL: ") == len(PROJECT["urls"])
    assert metadata.count("Classifier: ") == len(PROJECT["classifiers"])


def test_the_classifiers_agree_with_the_python_that_is_required() -> None:
    versions = re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">=3.{min(map(int, versions))}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_the_systemd_unit_is_valid(tmp_path: Path) -> None:
    unit = (live.ROOT / "deploy" / "fob.service").read_text()
    command = tmp_path / "fob"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / "fob.service").write_text(unit.replace("/opt/fob/bin/fob", str(command)))
    verify = ["systemd-analyze", "verify", tmp_path / "fob.service"]
    checked = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_compose_file_publishes_the_port_of_the_image_on_this_machine_only() -> None:
    compose = (live.ROOT / "deploy" / "compose.yaml").read_text()
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", (live.ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f'"127.0.0.1:{exposed}:{exposed}"' in compose
    (volume,) = re.findall(r"^VOLUME (\S+)$", (live.ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"- state:{volume}\n" in compose
