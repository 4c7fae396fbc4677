"""Every error response becomes one clear error in Marathon's own words."""

import json
from typing import Any

import marathon_answers as says
import pytest

from fob.errors import (
    AppNotFound,
    FobError,
    MarathonError,
    MarathonRefused,
    MarathonSilent,
)
from fob.marathon.errors import (
    MAX_QUOTED_CHARACTERS,
    AlreadyExists,
    Locked,
    MarathonResponse,
    Throttled,
    Unavailable,
    json_of,
    quoted,
    status_error,
)


def answer(status: int, body: Any = b"", **headers: str) -> MarathonResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return MarathonResponse("POST", "http://m:8080/v2/apps", status, headers, content)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code", "said"),
    [
        (
            400,
            says.INVALID_JSON,
            MarathonRefused,
            "marathon_refused",
            "Unexpected character at 1:7",
        ),
        (400, says.TYPE_ERROR, MarathonRefused, "marathon_refused", "/cpus: error.expected.jsnum"),
        (422, says.NOT_VALID, MarathonRefused, "marathon_refused", "/id: must fully match"),
        (422, says.NOT_VALID_013, MarathonRefused, "marathon_refused", "upgradeStrategy: is great"),
        (401, says.HTML_401.encode(), MarathonRefused, "marathon_unauthorized", "FOB_MARATHON_TOK"),
        (403, says.HTML_401.encode(), MarathonRefused, "marathon_forbidden", "Authorization Requi"),
        (403, says.TOO_MANY, Throttled, "marathon_busy", "Max number (100)"),
        (429, b"slow down", Throttled, "marathon_busy", "slow down"),
        (404, says.MISSING, AppNotFound, "not_found", "does not exist"),
        (404, b"<html>no</html>", MarathonRefused, "marathon_not_found", "MARATHON_API"),
        (409, says.EXISTS, AlreadyExists, "app_exists", "already exists"),
        (409, says.LOCKED, Locked, "app_locked", "97c136bf-5a28-4821-9d94-480d9fbb01c8"),
        (415, {"message": "Unsupported Media Type"}, MarathonRefused, "marathon_refused", "Media"),
        (500, {"message": "Exception"}, MarathonError, "marathon_error", "Exception"),
        (502, says.HTML_502.encode(), Unavailable, "marathon_busy", "502 Bad Gateway"),
        (503, {"message": "Futures timed out"}, Unavailable, "marathon_busy", "Futures timed out"),
        (504, b"", MarathonSilent, "marathon_silent", "no reason given"),
        (301, b"", MarathonRefused, "marathon_redirects", "redirects to nowhere"),
    ],
)
def test_each_error_response_has_its_class_its_code_and_marathons_words(
    status: int, body: Any, kind: type[FobError], code: str, said: str
) -> None:
    error = status_error(answer(status, body))
    assert type(error) is kind
    assert error.code == code
    assert said in error.message
    assert f"{status} for POST /v2/apps" in error.message
    json.dumps(error.body())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, "5"), ({"Retry-After": "17"}, "17"), ({"Retry-After": "Wed, 21 Oct"}, "5")],
)
def test_busy_has_a_retry_after(headers: dict[str, str], seconds: str) -> None:
    error = status_error(answer(503, b"", **headers))
    assert error.headers == {"Retry-After": seconds}


def test_the_error_of_a_redirect_names_the_right_url_without_secrets() -> None:
    error = status_error(answer(301, b"", Location="https://ann:s3cret@master/v2/apps?token=abc"))
    assert "https://master/v2/apps" in error.message
    assert "s3cret" not in error.message
    assert "token=abc" not in error.message


@pytest.mark.parametrize(
    "body",
    [
        {"details": [{"path": "/x", "errors": None}]},
        {"message": None, "details": {"deep": [1]}},
        {"message": ["a", {"path": "/b", "errors": [{"error": "c"}]}], "deployments": "odd"},
        {"deployments": [1, {}]},
        ["words", 1],
        [],
        {},
        "text",
        7,
    ],
)
def test_any_json_is_accepted_as_an_error_body(body: Any) -> None:
    assert status_error(answer(422, body)).message


def test_html_is_reduced_to_its_text() -> None:
    said = quoted(answer(401, says.HTML_401.encode()))
    assert said == "401 Authorization Required 401 Authorization Required openresty"


def test_long_messages_are_shortened() -> None:
    assert len(quoted(answer(500, b"x" * 10_000))) == MAX_QUOTED_CHARACTERS


def test_bytes_that_are_not_text_do_not_break_the_message() -> None:
    assert status_error(answer(500, b"\xff\xfe\x00")).message


@pytest.mark.parametrize("body", [b"", b"<html><title>Log in</title></html>", b'{"cut": '])
def test_a_success_that_is_not_json_is_an_error(body: bytes) -> None:
    with pytest.raises(MarathonError, match="not JSON") as caught:
        json_of(answer(200, body))
    assert caught.value.code == "marathon_unintelligible"
