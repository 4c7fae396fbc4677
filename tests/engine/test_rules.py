"""Which apps Marathon refuses, and with which paths and messages."""

from typing import Any

import pytest

from fob.engine.definitions import app_definitions
from fob.engine.errors import ApiError

IMAGE = {"docker": {"image": "x"}}
BRIDGE = {"networks": [{"mode": "container/bridge"}]}
NAMED = {"name": "a"}
READY = {"name": "r", "portName": "http-api", "intervalSeconds": 5, "timeoutSeconds": 1}
WAYS = "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'."
NO_INDEX = (
    "Health check port indices must address an element of the ports array or container port "
    "mappings."
)
MIXED = (
    "May specify a single host network, single bridge network, or else 1-to-n container networks"
)
SECRETS = "Feature secrets is not enabled. Enable with --enable_features secrets)"
NAMELESS = "Network name must be specified when container network is selected."


def faults(**app: Any) -> list[tuple[str, list[str]]]:
    with pytest.raises(ApiError) as caught:
        app_definitions.complete({"id": "/a", "cmd": "x"} | app)
    assert caught.value.status == 422
    return [(fault["path"], fault["errors"]) for fault in caught.value.body["details"]]


@pytest.mark.parametrize(
    ("app", "path", "error"),
    [
        # command
        ({"cmd": None}, "/", WAYS),
        ({"args": ["x"]}, "/", WAYS),
        ({"cmd": None, "args": []}, "/", WAYS),
        ({"cmd": None, "container": {"type": "MESOS"}}, "/", WAYS),
        # ports
        ({"ports": [1, 1]}, "/", "ports must be unique"),
        (
            {"ports": [1], "portDefinitions": [{"port": 2}]},
            "/",
            "cannot specify both ports and port definitions",
        ),
        (
            {"portDefinitions": [{"port": 1}, {"port": 1}]},
            "/portDefinitions",
            "Ports must be unique.",
        ),
        ({"portDefinitions": [NAMED, NAMED]}, "/portDefinitions", "Port names must be unique."),
        (
            {"container": IMAGE | {"portMappings": [NAMED, NAMED]}, **BRIDGE},
            "/container/portMappings",
            "Port names must be unique.",
        ),
        (
            {"container": IMAGE | {"portMappings": [{"networkNames": ["x"]}]}, **BRIDGE},
            "/container/portMappings(0)/networkNames(0)",
            "is not one of ()",
        ),
        # networks
        ({"networks": [{}]}, "/networks", NAMELESS),
        (
            {"networks": [{"mode": "host", "name": "x"}]},
            "/networks",
            "Host networks may not have names or labels",
        ),
        (
            {"networks": [{"mode": "container/bridge", "name": "x"}], "container": IMAGE},
            "/networks",
            "Bridge networks may not have names",
        ),
        ({"networks": [NAMED, NAMED]}, "/networks", "Duplicate networks are not allowed"),
        ({"networks": [NAMED, {"mode": "host"}]}, "/networks", MIXED),
        ({"networks": [{"mode": "host"}, {"mode": "host"}]}, "/networks", MIXED),
        (
            {"container": {"docker": {"image": "x", "network": "HOST"}}, **BRIDGE},
            "/",
            "must not specify both container.docker.network and networks",
        ),
        (
            {"ipAddress": {}, "container": IMAGE, **BRIDGE},
            "/",
            "must not specify both networks and ipAddress",
        ),
        ({"ipAddress": {}}, "/ipAddress", "this engine assigns no IP addresses to tasks"),
        # containers
        ({"container": {}}, "/container/docker", "not defined"),
        (
            {"container": {"docker": {"image": "x", "credential": {"principal": "x"}}}},
            "/container/docker/credential",
            "must be empty",
        ),
        (
            {"container": {"docker": {"image": "x", "pullConfig": {"secret": "x"}}}},
            "/container/docker/pullConfig",
            "pullConfig is not supported with Docker containerizer",
        ),
        (
            {"container": {"type": "MESOS", "docker": {"image": "x", "network": "HOST"}}},
            "/container/docker/network",
            "must be empty",
        ),
        (
            {"container": {"type": "MESOS", "docker": {"image": "x"}, "appc": {"image": "x"}}},
            "/container",
            "mesos containers should specify, at most, a single image type",
        ),
        # checks
        ({"healthChecks": [{"portIndex": 1}]}, "/healthChecks(0)", NO_INDEX),
        ({"healthChecks": [{}], "portDefinitions": []}, "/healthChecks(0)", NO_INDEX),
        (
            {"healthChecks": [{"protocol": "MESOS_HTTP"}, {"protocol": "MESOS_TCP"}]},
            "/",
            "AppDefinition can contain at most one Mesos health check",
        ),
        (
            {"readinessChecks": [READY]},
            "/readinessChecks(0)/portName",
            "No port definition reference for portName http-api",
        ),
        # variables, labels, roles
        ({"env": {"": "x"}}, "/env()", "must not be empty"),
        ({"env": {"A=B": "x"}}, "/env(A=B)", "must contain neither '=' nor NUL"),
        ({"acceptedResourceRoles": []}, "/acceptedResourceRoles", "must not be empty"),
        (
            {"acceptedResourceRoles": ["."]},
            "/acceptedResourceRoles",
            'A role name must not be ".".',
        ),
        (
            {"labels": {"DCOS_MIGRATION_API_VERSION": "v1"}},
            "/",
            "DCOS_PACKAGE_FRAMEWORK_NAME and DCOS_MIGRATION_API_PATH must be defined when using "
            "DCOS_MIGRATION_API_VERSION",
        ),
        (
            {"labels": {"MARATHON_SINGLE_INSTANCE_APP": "true"}, "instances": 2},
            "/",
            "Single instance app may only have one instance",
        ),
        # the rest
        (
            {"uris": ["http://x/y"], "fetch": [{"uri": "http://x/y"}]},
            "/uris",
            "may not be set in conjunction with fetch",
        ),
        ({"fetch": [{"uri": "http://[x"}]}, "/fetch(0)/uri", "URI has invalid syntax."),
        ({"secrets": {"a": {"source": "b"}}}, "/secrets", SECRETS),
        ({"residency": {}}, "/", "App must contain persistent volumes and define residency"),
        ({"dependencies": ["A_b"]}, "/dependencies", None),
        ({"tty": True}, "/tty", "this engine provides no terminal to tasks"),
        ({"executor": "/mine"}, "/executor", "this engine supports only the executor //cmd"),
        (
            {"gpus": 1},
            "/",
            "Feature gpu_resources is not enabled. Enable with --enable_features gpu_resources)",
        ),
        (
            {"gpus": 1, "container": IMAGE},
            "/",
            "GPU resources only work with the Mesos containerizer",
        ),
        (
            {"unreachableStrategy": {"inactiveAfterSeconds": 2, "expungeAfterSeconds": 1}},
            "/unreachableStrategy/inactiveAfterSeconds",
            "got 2 seconds, expected 1 seconds or less",
        ),
        ({"constraints": [["a"]]}, "/constraints(0)", None),
        ({"constraints": [["a", "LIKE", "a{99999999999}"]]}, "/constraints(0)", None),
        ({"constraints": [["a", "MAX_PER", "9" * 5000]]}, "/constraints(0)", None),
    ],
)
def test_valid_fields_may_contradict_each_other(app: Any, path: str, error: str | None) -> None:
    ((found, errors),) = faults(**app)
    assert found == path
    assert error in (None, errors[0])


def test_a_secret_in_a_variable_is_undefined() -> None:
    assert faults(env={"A": {"secret": "x"}}) == [
        ("/env(A)", ["references an undefined secret"]),
        (
            "/env",
            [
                "use of secret-references in the environment requires the secrets feature to be "
                "enabled"
            ],
        ),
    ]


def test_a_single_instance_app_has_capacities_of_zero() -> None:
    labels = {"MARATHON_SINGLE_INSTANCE_APP": "true"}
    one = app_definitions.complete({"id": "/a", "cmd": "x", "labels": labels})
    assert one["upgradeStrategy"] == {"minimumHealthCapacity": 0, "maximumOverCapacity": 0}
    strategy = {"minimumHealthCapacity": 1}
    (fault,) = faults(labels=labels, upgradeStrategy=strategy)
    assert fault == ("/upgradeStrategy/minimumHealthCapacity", ["got 1.0, expected 0.0"])


@pytest.mark.parametrize(
    "app",
    [
        {"ports": [], "portDefinitions": []},
        {"ports": [1], "portDefinitions": [{"port": 1}]},
        {"portDefinitions": [{"port": 0}, {"port": 0}]},
        {"args": []},
        {"networks": []},
        {"secrets": {}},
        {"tty": False},
        {"executor": "//cmd"},
        {"unreachableStrategy": "disabled"},
        {"killSelection": "oldest_first"},
        {"ipAddress": {}, "container": {"docker": {"image": "x", "network": "BRIDGE"}}},
        {"uris": [], "fetch": [{"uri": "http://x/y"}]},
        {"container": {"type": "MESOS"}},
        {"healthChecks": [{"port": 80}], "portDefinitions": []},
    ],
)
def test_what_marathon_accepts_is_accepted(app: Any) -> None:
    assert app_definitions.complete({"id": "/a", "cmd": "x"} | app)["id"] == "/a"


@pytest.mark.parametrize("ports", [{"ports": []}, {"portDefinitions": []}, {}])
@pytest.mark.parametrize("older", [False, True])
def test_port_indices_of_checks_refer_to_container_ports(ports: Any, older: bool) -> None:
    mappings = [{"containerPort": 80}]
    docker = {"image": "x", "network": "BRIDGE", "portMappings": mappings}
    newer = BRIDGE | {"container": IMAGE | {"portMappings": mappings}}
    app = {"container": {"docker": docker}} if older else newer
    checked = app_definitions.complete({"id": "/a", "healthChecks": [{}], **app, **ports})
    assert len(checked["container"]["portMappings"]) == 1


def test_a_container_has_as_many_ports_as_the_app_asks_for() -> None:
    app = {"id": "/a", "container": {"docker": {"image": "x", "network": "BRIDGE"}}}
    asked = app_definitions.complete(app | {"ports": [0, 0]})
    assert len(asked["container"]["portMappings"]) == 2


def test_a_container_that_leaves_the_bridge_network_has_a_port_again() -> None:
    app = {"id": "/a", "container": {"docker": {"image": "x", "network": "BRIDGE"}}}
    host = {"container": IMAGE, "networks": [{"mode": "host"}]}
    changed = app_definitions.merge(app_definitions.complete(app), host, "/a")
    assert len(changed["portDefinitions"]) == 1
