"""The settings that say how to reach Marathon."""

import base64
from pathlib import Path
from typing import Any

import pytest

from fob.errors import BadRequest
from fob.marathon.access import Access, access, may_see_credentials


def given(url: str = "http://marathon.mesos:8080", **settings: str) -> Access:
    return access(url, connect_timeout=1, read_timeout=1, **settings)


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("http://marathon.mesos:8080", "http://marathon.mesos:8080"),
        ("http://marathon.mesos:8080/", "http://marathon.mesos:8080"),
        ("https://master/service/marathon//", "https://master/service/marathon"),
        (" http://master/service/marathon/ ", "http://master/service/marathon"),
        ("http://ann:s3cret@master/service/marathon", "http://master/service/marathon"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_a_url_is_accepted_with_or_without_slash_and_credentials(url: str, clean: str) -> None:
    assert given(url).url == clean


@pytest.mark.parametrize(
    "url",
    [
        "",
        "marathon.mesos:8080",
        "ftp://x",
        "http://",
        "http://x:99999",
        "http://[x",
        "http://x/?a=b",
    ],
)
def test_an_invalid_url_is_an_error_that_names_the_setting(url: str) -> None:
    with pytest.raises(BadRequest, match="MARATHON_API"):
        given(url)


def test_the_error_of_an_invalid_url_does_not_show_its_password() -> None:
    with pytest.raises(BadRequest) as caught:
        given("http://ann:s3cret@host:99999")
    assert "s3cret" not in str(caught.value)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ""),
        ({"token": "eyJ.abc\n"}, "token=eyJ.abc"),
        ({"user": "ann", "password": "pässword"}, basic("ann", "pässword")),
        ({"url": "http://ann:p%40ss@x"}, basic("ann", "p@ss")),
        ({"url": "http://ann:old@x", "user": "bob", "password": "new"}, basic("bob", "new")),
        ({"token": "t", "user": "ann", "password": "p"}, "token=t"),
    ],
)
def test_a_token_precedes_a_user_and_a_user_precedes_the_url(
    settings: dict[str, Any], expected: str
) -> None:
    assert given(**settings).authorization == expected


def test_a_token_with_a_line_break_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(BadRequest, match="FOB_MARATHON_TOKEN") as caught:
        given(token="abc\r\nX-Evil: 1")
    assert "Evil" not in str(caught.value)


def test_secrets_are_not_in_the_repr() -> None:
    assert "s3cret" not in repr(given(token="s3cret"))


def test_a_missing_ca_file_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    missing = tmp_path / "ca.pem"
    with pytest.raises(BadRequest, match=f"FOB_MARATHON_CA={missing} .*No such file"):
        given(ca=str(missing))


def test_a_ca_file_without_a_certificate_is_an_error(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("not a certificate")
    with pytest.raises(BadRequest, match=r"FOB_MARATHON_CA=.* no PEM certificate"):
        given(ca=str(wrong))


@pytest.mark.parametrize(
    ("home", "url", "allowed"),
    [
        ("http://m:8080/x", "http://m:8080/y", True),
        ("http://m", "http://m:80/y", True),
        ("http://M", "http://m/y", True),
        ("http://m", "https://m/y", True),
        ("https://m", "http://m/y", False),
        ("http://m:8080", "http://m:9090", False),
        ("http://m:8080", "https://m:8443", False),
        ("http://m", "http://m.evil.org", False),
        ("http://m", "http://m@evil.org", False),
    ],
)
def test_credentials_stay_with_their_origin(home: str, url: str, allowed: bool) -> None:
    assert may_see_credentials(home, url) is allowed


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9:1", True),
        ("http://[::1]:1", True),
        ("http://localhost:1", True),
        ("http://10.0.0.1", False),
        ("http://marathon.mesos", False),
    ],
)
def test_loopback_is_recognised(url: str, loopback: bool) -> None:
    assert given(url).loopback is loopback
