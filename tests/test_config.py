import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import live
from fob import config
from fob.config import Settings
from fob.engine.runtime.docker.parameters import PRIVILEGED, VOLUMES
from fob.errors import BadRequest
from fob.functions import options


def test_nothing_set_means_this_machine_only() -> None:
    settings = config.from_environment({"HOME": "/home/me"})
    assert settings.embedded
    assert (settings.host, settings.port) == ("127.0.0.1", 9999)
    assert settings.home_folder == Path("/home/me/.local/state/fob")


def test_with_a_marathon_it_listens_everywhere() -> None:
    settings = config.from_environment({"HOME": "/h", "MARATHON_API": "http://m:8080/"})
    assert not settings.embedded
    assert settings.host == "0.0.0.0"
    assert settings.marathon_api == "http://m:8080"


def test_the_state_folder_follows_xdg_and_is_absolute() -> None:
    xdg = {"HOME": "/h", "XDG_STATE_HOME": "/state"}
    assert config.from_environment(xdg).home == "/state/fob"
    assert config.from_environment(xdg | {"FOB_HOME": "here"}).home_folder.is_absolute()


def test_a_flag_overrides_the_environment_and_none_does_not() -> None:
    environ = {"HOME": "/h", "FOB_PORT": "1234"}
    assert config.from_environment(environ, port=1).port == 1
    assert config.from_environment(environ, port=None).port == 1234


NOT_ALLOWED = {
    "FOB_PORT": ("many", "65536", "-1", "80.5"),
    "FOB_LAUNCHER": ("zygot", "Process", "docker"),
    "FOB_ACTIVATION": ("never", "on demand"),
    "FOB_KEEP_ALIVE": ("-1", "long", "nan", "inf"),
    "FOB_ENGINE_HOST": ("0.0.0.0", "224.0.0.1", "localhost", "::1", "10.0.0.256"),
    "FOB_ENGINE_PORT": ("any", "65536", "-1"),
    "FOB_DOCKER_ALLOW": ("everything", "privileged,network"),
    "FOB_CPUS": ("-1", "two", "nan"),
    "FOB_MEM": ("-1", "1GB", "inf"),
    "FOB_BUILD_SECONDS": ("0", "-1", "1m"),
    "FOB_BUILD_MIB": ("0", "-1", "1G"),
    "FOB_FETCH_SECONDS": ("0", "-1", "1m"),
    "FOB_FETCH_MIB": ("0", "-1", "1G"),
    "FOB_ATTRIBUTES": ("rack", "rack:", ":7", "rack:7;zone"),
    "FOB_LOG": ("loud", "TRACE"),
}
# The service checks these where it uses them: Marathon's URL and certificates, addresses, folders.
CHECKED_LATER = {
    "MARATHON_API",
    "FOB_HOST",
    "FOB_HOME",
    "FOB_TOKEN",
    "FOB_MARATHON_TOKEN",
    "FOB_MARATHON_USER",
    "FOB_MARATHON_PASSWORD",
    "FOB_MARATHON_CA",
    "FOB_IMAGE",
    "FOB_ROLE",
    "FOB_DOCKER_HOST",
    "FOB_URL",
}


def allowed(name: str) -> str:
    return next(allowed for each, _, allowed, _ in config.table() if each == name)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NOT_ALLOWED.items() for value in values]
)
def test_a_value_that_is_not_allowed_is_named_with_those_that_are(name: str, value: str) -> None:
    with pytest.raises(BadRequest) as raised:
        config.from_environment({"HOME": "/h", name: value})
    assert raised.value.message == f"{name}={value!r} is not allowed; give {allowed(name)}"


def test_every_setting_has_a_bad_value_or_is_checked_later() -> None:
    names = {name for name, _, _, _ in config.table()}
    assert names == NOT_ALLOWED.keys() | CHECKED_LATER
    assert not NOT_ALLOWED.keys() & CHECKED_LATER


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("port", " 0 ", 0),
        ("engine_port", "65535", 65535),
        ("keep_alive", "0", 0),
        ("cpus", "0.5", 0.5),
        ("launcher", "process", "process"),
        ("activation", "on-demand", "on-demand"),
        ("engine_host", "192.0.2.1", "192.0.2.1"),
        ("docker_allow", "privileged, volumes", "privileged, volumes"),
        ("attributes", "rack:7;@zone:a;", "rack:7;@zone:a;"),
        ("log", "debug", "DEBUG"),
        ("url", "http://fob:9999/", "http://fob:9999"),
    ],
)
def test_a_value_that_is_allowed_is_read_alike_from_variable_and_flag(
    name: str, value: str, read: object
) -> None:
    variable = f"FOB_{name.upper()}"
    from_variable = config.from_environment({"HOME": "/h", variable: value})
    from_flag = config.from_environment({"HOME": "/h"}, **{name: value})
    assert getattr(from_variable, name) == getattr(from_flag, name) == read


def test_the_choices_are_those_that_the_engine_knows() -> None:
    assert {PRIVILEGED, VOLUMES} == {*config.DOCKER_PERMISSIONS}
    assert options.from_query({"activation": ["on-demand"]}).activation in config.ACTIVATIONS


@pytest.mark.parametrize("command", [["fob_dispatcher.py"], ["-m", "fob.engine"]])
def test_a_server_refuses_a_bad_setting_in_one_line(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=live.SERVICE,
        env=live.environment(tmp_path / "home", FOB_CPUS="many"),
        capture_output=True,
        text=True,
        timeout=live.PATIENCE_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr == "FOB_CPUS='many' is not allowed; give a number, at least 0\n"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("command", ["serve", "engine"])
def test_a_command_refuses_a_bad_setting_before_it_starts_anything(
    command: str, tmp_path: Path
) -> None:
    for flags, settings, named in (
        ([], {"FOB_LAUNCHER": "zygot"}, "FOB_LAUNCHER='zygot'"),
        (["--launcher", "zygot"], {}, "--launcher='zygot'"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "fob", command, *flags],
            cwd=live.SERVICE,
            env=live.environment(tmp_path / "home", **settings),
            capture_output=True,
            text=True,
            timeout=live.PATIENCE_SECONDS,
        )
        assert done.returncode == 1
        assert done.stderr == f"fob: {named} is not allowed; give zygote or process\n"
        assert not (tmp_path / "home").exists()


def test_an_empty_variable_is_an_unset_one() -> None:
    assert config.from_environment({"HOME": "/h", "FOB_PORT": ""}).port == 9999


def test_every_setting_is_in_the_table_once_and_explained() -> None:
    names = [name for name, _, _, _ in config.table()]
    assert len(names) == len(set(names)) == len(dataclasses.fields(Settings))
    assert all(allowed and meaning for _, _, allowed, meaning in config.table())


def test_every_default_is_an_allowed_value() -> None:
    defaults = {name: default for name, default, _, _ in config.table()}
    assert config.from_environment({"HOME": "/h"} | defaults) == config.from_environment(
        {"HOME": "/h"}
    )


def test_the_engine_gets_the_settings_and_none_of_the_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FOB_TOKEN", "secret")
    settings = Settings(
        home="/state", mem=100, token="secret", marathon_password="secret", marathon_token="secret"
    )
    given = config.for_engine(settings)
    assert given["FOB_HOME"] == "/state"
    assert float(given["FOB_MEM"]) == 100
    assert "secret" not in given.values()
