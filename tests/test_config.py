import dataclasses
from pathlib import Path

import pytest

from fob import config
from fob.config import Settings
from fob.errors import BadRequest


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


def test_an_override_wins_over_the_environment_and_none_does_not() -> None:
    environ = {"HOME": "/h", "FOB_PORT": "1234"}
    assert config.from_environment(environ, port=1).port == 1
    assert config.from_environment(environ, port=None).port == 1234


@pytest.mark.parametrize(
    ("name", "value"),
    [("FOB_PORT", "many"), ("FOB_PORT", "65536"), ("FOB_PORT", "-1"), ("FOB_LOG", "loud")],
)
def test_a_wrong_value_is_named_with_what_to_do(name: str, value: str) -> None:
    with pytest.raises(BadRequest, match=rf"{name}.*give"):
        config.from_environment({"HOME": "/h", name: value})


def test_an_empty_variable_is_an_unset_one() -> None:
    assert config.from_environment({"HOME": "/h", "FOB_PORT": ""}).port == 9999


def test_every_setting_is_in_the_table_once_and_explained() -> None:
    names = [name for name, _, _ in config.table()]
    assert len(names) == len(set(names)) == len(dataclasses.fields(Settings))
    assert all(help_ for _, _, help_ in config.table())


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
