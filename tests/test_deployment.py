"""What is deployed: the app definition of the service itself, and the Makefile's first words."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import fob
import live

SCHEMAS = sorted((live.ROOT / "tests" / "schemas").glob("AppDefinition-*.json"))
SERVICE_APP = live.ROOT / "fob-service.json"


@pytest.fixture
def app() -> Any:
    return json.loads(SERVICE_APP.read_text())


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_every_marathon_version_takes_the_service(schema: Path, app: Any) -> None:
    jsonschema.Draft4Validator(json.loads(schema.read_text())).validate(app)


def test_there_is_a_schema_to_hold_it_to() -> None:
    assert len(SCHEMAS) == 4


def test_the_service_goes_to_the_public_agent_and_says_which_marathon(app: Any) -> None:
    assert app["id"] == "fob"
    assert app["acceptedResourceRoles"] == ["slave_public"]
    assert app["env"]["MARATHON_API"] == "http://marathon.mesos:8080"


def test_the_first_port_of_its_task_is_the_one_it_listens_on(app: Any) -> None:
    (mapping,) = app["container"]["docker"]["portMappings"]
    assert mapping["hostPort"] == 0
    assert str(mapping["containerPort"]) == app["env"]["FOB_PORT"] == "9999"
    (check,) = app["healthChecks"]
    assert (check["portIndex"], check["path"]) == (0, "/api/stats")


def test_the_image_is_that_of_this_version(app: Any) -> None:
    assert app["container"]["docker"]["image"].endswith(f":{fob.__version__}")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(live.ROOT / "Makefile", folder)
    # without the options of the make that runs this test
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )


def stub(folder: Path, script: str) -> str:
    """A program that stands in for Python."""
    path = folder / "stub"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_an_old_python_gets_a_sentence_saying_so(tmp_path: Path) -> None:
    script = """case "$*" in -V) echo Python 3.8.18 ;; *version_info*) exit 1 ;; esac"""
    done = make(tmp_path, "demo", f"PYTHON={stub(tmp_path, script)}")
    assert done.returncode != 0
    assert "fob needs Python 3.11 or newer" in done.stderr
    assert "is Python 3.8.18" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_gets_a_sentence_saying_so(tmp_path: Path) -> None:
    script = """case "$*" in *ensurepip*) exit 1 ;; esac"""
    done = make(tmp_path, "test", f"PYTHON={stub(tmp_path, script)}")
    assert done.returncode != 0
    assert "its venv module is missing" in done.stderr


def test_no_python_at_all_gets_a_sentence_saying_so(tmp_path: Path) -> None:
    done = make(tmp_path, "demo", f"PYTHON={tmp_path}/no-such-python")
    assert done.returncode != 0
    assert "does not run" in done.stderr


def test_what_is_set_up_is_not_set_up_again(tmp_path: Path) -> None:
    """Every path of the project is relative, so a folder with a space in its name will do too."""
    folder = tmp_path / "a folder"
    (folder / "service").mkdir(parents=True)
    (folder / ".venv").mkdir()
    for name in ("pyproject.toml", "requirements.txt", "service/requirements.txt"):
        shutil.copy(live.ROOT / name, folder / name)
    for stamp in ("made", "runtime", "development"):
        (folder / ".venv" / stamp).touch()
    assert make(folder, "-q", ".venv/development").returncode == 0
    os.utime(folder / "requirements.txt", (2e9, 2e9))
    assert make(folder, "-q", ".venv/development").returncode == 1
    assert make(folder, "-q", ".venv/runtime").returncode == 0
    os.utime(folder / "service" / "requirements.txt", (2e9, 2e9))
    assert make(folder, "-q", ".venv/runtime").returncode == 1


def test_help_names_every_target(tmp_path: Path) -> None:
    text = make(tmp_path, "help").stdout
    for target in ("demo", "test", "run", "lint", "bench", "clean"):
        assert f"make {target}" in text
