"""The types and ranges of definition fields."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import live
from fob.engine import chunks
from fob.engine.definitions import app_definitions, fields
from fob.engine.errors import ApiError

SCHEMA = json.loads((live.ROOT / "tests/schemas/AppDefinition-1.5.8.json").read_text())
INT, NUMBER, STRING = "error.expected.int", "error.expected.jsnumber", "error.expected.jsstring"
BOOLEAN, ARRAY, OBJECT = (f"error.expected.js{kind}" for kind in ("boolean", "array", "object"))
MIN, MAX, ENUM = "error.min", "error.max", "error.unknown.enum.literal"


@pytest.mark.parametrize(
    ("key", "wrong", "path", "error"),
    [
        ("cpus", "1", "", NUMBER),
        ("cpus", True, "", NUMBER),
        ("cpus", -1, "", MIN),
        ("cpus", float("inf"), "", NUMBER),
        ("cpus", float("nan"), "", NUMBER),
        ("cpus", 10**400, "", NUMBER),
        ("mem", [], "", NUMBER),
        ("instances", 1.5, "", INT),
        ("instances", 10**12, "", INT),
        ("instances", -1, "", MIN),
        ("instances", "1", "", NUMBER),
        ("env", [], "", OBJECT),
        ("env", {"A": 1}, "/A", STRING),
        ("env", {"A": None}, "/A", STRING),
        ("env", {"A": {}}, "/A/secret", "'secret' is undefined on object: {}"),
        ("env", {"A": "\0"}, "/A", "error.pattern"),
        ("labels", {"A": None}, "/A", STRING),
        ("cmd", 5, "", STRING),
        ("cmd", "", "", "error.minLength"),
        ("cmd", "a\0b", "", "error.pattern"),
        ("args", ["a", 1], "(1)", STRING),
        ("args", "a", "", ARRAY),
        ("acceptedResourceRoles", [1], "(0)", STRING),
        ("portDefinitions", {}, "", ARRAY),
        ("portDefinitions", [None], "(0)", OBJECT),
        ("portDefinitions", [{"port": 70000}], "(0)/port", MAX),
        ("portDefinitions", [{"port": "0"}], "(0)/port", NUMBER),
        ("portDefinitions", [{"name": "Web_1"}], "(0)/name", "error.pattern"),
        ("portDefinitions", [{"protocol": "sctp"}], "(0)/protocol", ENUM),
        ("portDefinitions", [{"labels": {"a": 1}}], "(0)/labels/a", STRING),
        ("ports", [0, -1], "(1)", MIN),
        ("requirePorts", "yes", "", BOOLEAN),
        ("healthChecks", ["tcp"], "(0)", OBJECT),
        ("healthChecks", [{"protocol": "PING"}], "(0)/protocol", ENUM),
        ("healthChecks", [{"portIndex": -1}], "(0)/portIndex", MIN),
        ("healthChecks", [{"intervalSeconds": 0.5}], "(0)/intervalSeconds", INT),
        ("healthChecks", [{"ignoreHttp1xx": 1}], "(0)/ignoreHttp1xx", BOOLEAN),
        (
            "healthChecks",
            [{"command": {}}],
            "(0)/command/value",
            "'value' is undefined on object: {}",
        ),
        ("readinessChecks", [{"timeoutSeconds": 0}], "(0)/timeoutSeconds", MIN),
        (
            "readinessChecks",
            [{"httpStatusCodesForReady": [99]}],
            "(0)/httpStatusCodesForReady(0)",
            MIN,
        ),
        ("backoffFactor", 0.5, "", MIN),
        ("upgradeStrategy", {"minimumHealthCapacity": 1.1}, "/minimumHealthCapacity", MAX),
        ("upgradeStrategy", {"maximumOverCapacity": "1"}, "/maximumOverCapacity", NUMBER),
        ("killSelection", "FIRST", "", ENUM),
        ("unreachableStrategy", "enabled", "", ENUM),
        ("unreachableStrategy", {"expungeAfterSeconds": -1}, "/expungeAfterSeconds", MIN),
        ("constraints", [["a", 1]], "(0)(1)", STRING),
        ("fetch", [{}], "(0)/uri", "'uri' is undefined on object: {}"),
        ("fetch", [{"uri": None}], "(0)/uri", STRING),
        ("fetch", [{"uri": "x" * 1025}], "(0)/uri", "error.maxLength"),
        ("fetch", [{"uri": "/x", "cache": 1}], "(0)/cache", BOOLEAN),
        ("uris", [""], "(0)", "error.minLength"),
        ("networks", [{"mode": "user"}], "(0)/mode", ENUM),
        ("secrets", {"a": {}}, "/a/source", "'source' is undefined on object: {}"),
        ("container", {"docker": {}}, "/docker/image", "'image' is undefined on object: {}"),
        ("container", {"volumes": [{"mode": "RX"}]}, "/volumes(0)/mode", ENUM),
    ],
)
def test_a_wrong_value_is_named_by_its_path(key: str, wrong: Any, path: str, error: str) -> None:
    with pytest.raises(ApiError) as caught:
        app_definitions.complete({"id": "/a", "cmd": "x", key: wrong})
    (fault,) = caught.value.body["details"]
    assert caught.value.body["message"] == "Invalid JSON"
    assert (fault["path"], fault["errors"][0]) == (f"/{key}{path}", error)


def test_a_missing_key_repeats_the_object_up_to_a_limit() -> None:
    for body, shown in (
        ({"cmd": "x"}, '{"cmd":"x"}'),
        ({"cmd": 2000 * "x"}, '{"cmd":"' + 992 * "x" + "..."),
    ):
        with pytest.raises(ApiError) as caught:
            app_definitions.complete(body)
        assert caught.value.body == {
            "message": "Invalid JSON",
            "details": [{"path": "/id", "errors": [f"'id' is undefined on object: {shown}"]}],
        }


def test_an_unknown_word_has_a_code_only() -> None:
    with pytest.raises(ApiError) as caught:
        app_definitions.complete({"id": "/a", "cmd": "x", "killSelection": "FIRST"})
    assert caught.value.body["details"] == [{"path": "/killSelection", "errors": [ENUM]}]


def test_a_fault_with_a_code_has_a_message_too() -> None:
    with pytest.raises(ApiError) as caught:
        app_definitions.complete({"id": "/a", "cmd": "x", "cpus": -1})
    (fault,) = caught.value.body["details"]
    assert fault["errors"] == ["error.min", "got -1.0, expected 0.0 or more"]


def test_an_integer_may_have_a_fraction_of_zero() -> None:
    assert (
        str(app_definitions.complete({"id": "/a", "cmd": "x", "instances": 2.0})["instances"])
        == "2"
    )


def test_enum_values_are_case_insensitive() -> None:
    checks = [{"protocol": "http"}]
    (check,) = app_definitions.complete({"id": "/a", "cmd": "x", "healthChecks": checks})[
        "healthChecks"
    ]
    assert check["protocol"] == "HTTP"


# any JSON, and nearly valid values, for every field
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 70000)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "HTTP", "tcp", "UNIQUE", "host", "container/bridge", "BRIDGE", "RW"])
)
PORTS = ("port", "portIndex", "containerPort", "hostPort", "portMappings", "protocol", "name")
WORDS = st.sampled_from(
    (*PORTS, "mode", "uri", "image", "docker", "type", "value", "command", "path", "volumes")
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
# fractions are allowed here, other than in Marathon
SECONDS = ("backoffSeconds", "maxLaunchDelaySeconds", "taskKillGracePeriodSeconds")
APPS = st.dictionaries(st.sampled_from(sorted(fields.KEYS.difference(SECONDS))), VALUES, max_size=4)


def completed_or_error(body: Any) -> Any:
    try:
        return app_definitions.complete(body)
    except ApiError as error:
        return error


@settings(max_examples=100, deadline=None)
@given(APPS)
def test_any_body_is_refused_or_becomes_an_app_that_marathon_accepts(app: Any) -> None:
    accepted = completed_or_error({"id": "/a", "cmd": "x"} | app)
    if isinstance(accepted, ApiError):
        assert accepted.status == 422
        assert all(each["path"][0] == "/" and each["errors"] for each in accepted.body["details"])
        return
    stored = json.loads(chunks.to_json(accepted))
    jsonschema.Draft4Validator(SCHEMA).validate({k: v for k, v in stored.items() if v is not None})
    assert app_definitions.merge(accepted, {}, "/a") == accepted
