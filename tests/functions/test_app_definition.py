import base64
import json
import os
import subprocess
import zlib
from pathlib import Path

import jsonschema
import pytest

from fob.errors import FobError, NotFound, TooLarge
from fob.functions import app_definition
from fob.functions.app_definition import PlacementSettings
from fob.functions.options import Options
from fob.runner.linker import packing
from fob.source.dependencies import Dependencies

ID = "0e38b688-86e3-4966-9060-cf01eef59426"
CREATED = "2016-04-02T23:09:47.123Z"
SCHEMAS = sorted((Path(__file__).parents[1] / "schemas").glob("AppDefinition-*.json"))
SNIPPET = b"def f():\r\n    return '\xc3\xa9'  \n\n"


def make(snippet=SNIPPET, options=None, placement=None):
    return app_definition.app(
        ID, snippet, options or Options(), CREATED, placement or PlacementSettings()
    )


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "definition",
    [
        make(),
        make(options=Options("go", "my fn", 0.5, 128, 0, 0.5, 1, {"A_1": "x"}, "*")),
        make(placement=PlacementSettings("python:3-slim", ("slave_public", "*"))),
        app_definition.app(
            ID, SNIPPET, Options(), CREATED, PlacementSettings(), Dependencies(("six",), ">=3.9")
        ),
    ],
    ids=["plain", "options", "image", "needs"],
)
def test_every_definition_is_valid_for_every_version_of_marathon(schema, definition):
    validator = jsonschema.Draft4Validator(json.loads(schema.read_text()))
    assert [error.message for error in validator.iter_errors(definition)] == []


def test_a_function_with_dependencies_has_time_to_install_them():
    app = app_definition.app(
        ID, SNIPPET, Options(), CREATED, PlacementSettings(), Dependencies(("a", "b<2"), ">=3.9")
    )
    assert app["healthChecks"][0]["gracePeriodSeconds"] == 330
    assert app["env"]["FOB_REQUIREMENTS"] == "a\nb<2"
    assert app["env"]["FOB_REQUIRES_PYTHON"] == ">=3.9"
    assert app["cmd"] == make()["cmd"]


@pytest.mark.parametrize(
    ("remote", "needs", "options", "mem"),
    [
        (False, (), Options(), 64),
        (False, ("a",), Options(), 64),
        (True, (), Options(), 64),
        (True, ("a",), Options(), 256),
        (True, ("a",), Options(mem=64), 64),
    ],
)
def test_a_function_that_installs_its_packages_has_memory_for_that(remote, needs, options, mem):
    placement = PlacementSettings(remote=remote)
    app = app_definition.app(ID, SNIPPET, options, CREATED, placement, Dependencies(needs, ">=3.9"))
    assert app["mem"] == mem


def test_there_are_four_schemas():
    assert len(SCHEMAS) == 4


@pytest.mark.parametrize("snippet", [SNIPPET, b"x=1", b"\0\0def", bytes(range(256)) * 9])
def test_the_snippet_comes_back_byte_for_byte(snippet: bytes):
    assert app_definition.snippet_of(json.loads(json.dumps(make(snippet)))) == snippet


@pytest.mark.parametrize("placement", [PlacementSettings(), PlacementSettings("python:3-slim")])
def test_the_command_runs_the_runner_with_the_snippet(tmp_path, monkeypatch, placement):
    program = (
        b"import os\nprint(__name__, SNIPPET, 'FOB_FUNCTION' in os.environ, os.environ['PORT0'])"
    )
    packed = packing.pack(program), zlib.adler32(program + b"\0")
    monkeypatch.setattr(packing, "packed_runner", lambda: packed)
    definition = make(placement=placement)
    env = {"PATH": os.environ["PATH"], "PORT0": "31000", **definition["env"]}
    done = subprocess.run(
        ["/bin/sh", "-c", definition["cmd"]], env=env, capture_output=True, text=True, check=True
    )
    port = "8080" if placement.image else "31000"
    assert done.stdout == f"__main__ {SNIPPET!r} False {port}\n"
    assert done.stderr == ""


@pytest.mark.parametrize("env", [{}, {"A": 'ö"\\\n', "Z": "x" * 100_000}])
def test_an_app_is_sent_as_its_json(env):
    definition = make(options=Options(env=env))
    assert app_definition.to_json(definition) == json.dumps(definition).encode()


def test_a_snippet_that_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(TooLarge) as caught:
        make(os.urandom(80_000))
    assert caught.value.details["limit"] == 98304
    assert caught.value.details["bytes"] > 98304
    assert "98304" in caught.value.message


def test_a_large_snippet_that_packs_well_fits():
    make(b"x = 1\n" * 40_000)


def test_settings_show_no_values_of_the_environment():
    options = Options("go", "my fn", 0.5, 128, 3, 2.5, 4, {"B": "secret", "A": "x"}, "*")
    assert app_definition.settings_of(make(options=options)) == {
        "name": "my fn",
        "entry": "go",
        "cpus": 0.5,
        "mem": 128,
        "instances": 3,
        "timeout": 2.5,
        "concurrency": 4,
        "cors": "*",
        "activation": "always",
        "keep_alive": 60,
        "env": ["A", "B"],
    }


def test_a_change_sends_all_of_env_and_labels():
    app = make(options=Options(name="old", env={"A": "1", "B": "2"}))
    body = app_definition.change(
        app,
        {"instances": 3, "timeout": 5.0, "name": "new", "env": {"A": None, "C": "3"}, "cors": "*"},
    )
    assert set(body) == {"instances", "env", "labels", "upgradeStrategy"}
    assert body["env"] == {
        "B": "2",
        "C": "3",
        "FOB_FUNCTION": app["env"]["FOB_FUNCTION"],
        "FOB_TIMEOUT": "5",
        "FOB_CONCURRENCY": "16",
        "FOB_CORS": "*",
    }
    assert body["labels"]["FOB_NAME"] == "new"
    assert body["labels"]["FOB"] == "function"


def test_a_change_of_instances_sends_nothing_else():
    assert app_definition.change(make(), {"instances": 0}) == {"instances": 0}


def test_a_change_gives_an_older_function_the_upgrade_strategy_too():
    whole = {"minimumHealthCapacity": 1, "maximumOverCapacity": 1}
    assert make()["upgradeStrategy"] == whole
    older = make() | {"upgradeStrategy": {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}}
    assert app_definition.change(older, {"mem": 65}) == {"mem": 65, "upgradeStrategy": whole}


@pytest.mark.parametrize(
    "spoil",
    [
        {"env": {}},
        {"env": None},
        {"env": {"FOB_FUNCTION": "%%%"}},
        {"env": {"FOB_FUNCTION": "AAAA"}},
        {"env": {"FOB_FUNCTION": make(b"other")["env"]["FOB_FUNCTION"]}},
        {"env": {"FOB_FUNCTION": "eJw="}},
        {"env": {"FOB_FUNCTION": base64.b64encode(zlib.compress(bytes(9_000_000))).decode()}},
    ],
)
def test_an_app_changed_by_others_is_damaged(spoil):
    with pytest.raises(FobError) as caught:
        app_definition.snippet_of(make() | spoil)
    assert caught.value.code == "damaged"


@pytest.mark.parametrize(
    "text", ["", "x", ID.upper(), ID + "/", "../" + ID, ID + "\n", "restart", "*"]
)
def test_only_a_uuid_is_an_id(text: str):
    with pytest.raises(NotFound) as caught:
        app_definition.app_id(text)
    assert caught.value.code == "not_an_id"


def test_only_our_own_apps_are_functions():
    app = make()
    assert app_definition.is_function(app)
    assert app_definition.function_id(app) == ID
    assert not app_definition.is_function(app | {"id": f"/other/{ID}"})
    assert not app_definition.is_function(app | {"id": "/fob-aviary/web"})
    assert not app_definition.is_function(app | {"labels": {}})
    assert not app_definition.is_function(app | {"labels": None})
