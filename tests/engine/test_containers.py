"""Containers in app definitions, without a Docker engine."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import live
from fob.engine.definitions import app_definitions
from fob.engine.definitions.app_definitions import Definition
from fob.engine.definitions.containers import (
    Port,
    container_of,
    image_of,
    ports_of,
)
from fob.engine.errors import ApiError
from fob.engine.runtime import task_environment
from fob.engine.runtime.docker import parameters
from fob.engine.runtime.docker.host import DockerHost
from fob.engine.runtime.docker.policy import DockerPolicy
from fob.engine.states import TaskState
from fob.engine.store.records import TaskRecord
from fob.errors import BadRequest

NOWHERE = DockerHost("unix:///nowhere")


def complete(container: Any, **more: Any) -> Definition:
    return app_definitions.complete({"id": "/a", "container": container} | more)


def docker(**more: Any) -> dict[str, Any]:
    return {"type": "DOCKER", "docker": {"image": "x"} | more}


def faults(container: Any, **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as caught:
        complete(container, **more)
    return pairs(caught.value.body["details"])


def pairs(details: Any) -> list[tuple[str, str]]:
    return [(fault["path"], fault["errors"][0]) for fault in details]


def test_legacy_fields_become_those_of_marathon_1_5() -> None:
    mapping = {"containerPort": 8080, "hostPort": 0}
    older = complete(docker(network="BRIDGE", portMappings=[mapping]))
    newer = complete(
        docker() | {"portMappings": [mapping]}, networks=[{"mode": "container/bridge"}]
    )
    assert older == newer
    assert older["networks"] == [{"mode": "container/bridge"}]
    assert older["portDefinitions"] == []
    assert older["container"] == {
        "type": "DOCKER",
        "docker": {"image": "x", "forcePullImage": False, "privileged": False, "parameters": []},
        "volumes": [],
        "portMappings": [
            {
                "protocol": "tcp",
                "servicePort": 0,
                "labels": {},
                "containerPort": 8080,
                "hostPort": 0,
            }
        ],
    }


def test_normalizing_twice_changes_nothing() -> None:
    once = complete(docker(network="BRIDGE"))
    assert app_definitions.merge(once, {}, "/a") == once


def test_the_default_network_is_the_hosts() -> None:
    definition = complete(docker())
    assert definition["networks"] == [{"mode": "host"}]
    assert ports_of(definition) == [Port(0, 0, "")]


def test_an_app_on_a_bridge_network_has_one_port_by_default() -> None:
    assert ports_of(complete(docker(network="BRIDGE"))) == [Port(0, 0, "default")]


def test_a_change_may_switch_the_network() -> None:
    bridged = complete(docker(network="BRIDGE"))
    host = app_definitions.merge(bridged, {"container": docker(network="HOST")}, "/a")
    assert host["networks"] == [{"mode": "host"}]


def test_a_fixed_host_port_and_a_name_are_kept() -> None:
    mapping = {"containerPort": 80, "hostPort": 21000, "name": "web", "protocol": "tcp,udp"}
    definition = complete(docker(network="BRIDGE", portMappings=[mapping]))
    assert ports_of(definition) == [Port(21000, 80, "web")]
    container = container_of(definition, (21000,))
    assert container is not None
    assert container.ports == ((21000, 80, "tcp"), (21000, 80, "udp"))


def test_a_container_port_of_zero_is_the_hosts_number() -> None:
    container = container_of(complete(docker(network="BRIDGE")), (20001,))
    assert container is not None
    assert container.ports == ((20001, 20001, "tcp"),)


def test_an_app_without_an_image_runs_as_processes() -> None:
    definition = complete({"type": "MESOS"}, cmd="true")
    assert image_of(definition) == ""
    assert container_of(definition, ()) is None


def test_containers_do_not_run_on_demand() -> None:
    labels = {"FOB_ACTIVATION": "on-demand"}
    assert not app_definitions.on_demand(complete(docker(), labels=labels))
    assert app_definitions.on_demand(
        app_definitions.complete({"id": "/a", "cmd": "x", "labels": labels})
    )


@pytest.mark.parametrize(
    ("container", "more", "path", "words"),
    [
        ({"type": "DOCKER"}, {"cmd": "x"}, "/container/docker", "not defined"),
        ({"type": "LXC", "docker": {"image": "x"}}, {}, "/container/type", "unknown.enum"),
        ({"docker": "x"}, {}, "/container/docker", "expected.jsobject"),
        ({"docker": {}}, {}, "/container/docker/image", "is undefined on object"),
        ({"docker": {"image": ""}}, {}, "/container/docker/image", "minLength"),
        (docker(privileged="yes"), {}, "/container/docker/privileged", "expected.jsboolean"),
        (docker(network="USER"), {}, "/container/docker/network", "BRIDGE and HOST, not USER"),
        (
            docker(parameters=[{"key": "a"}]),
            {},
            "/container/docker/parameters(0)/value",
            "is undefined on object",
        ),
        (
            docker(portMappings=[{"containerPort": 70000}]),
            {},
            "/container/docker/portMappings(0)/containerPort",
            "error.max",
        ),
        (
            docker() | {"portMappings": [{"protocol": "sctp"}]},
            {},
            "/container/portMappings(0)/protocol",
            "unknown.enum",
        ),
        (
            docker() | {"volumes": [{"containerPath": "/x", "hostPath": "y"}]},
            {},
            "/container/volumes(0)/hostPath",
            "absolute",
        ),
        (
            docker() | {"volumes": [{"containerPath": "x", "persistent": {"size": 1}}]},
            {},
            "/container/volumes(0)",
            "creates no volumes",
        ),
        (
            docker(),
            {"networks": [{"mode": "container", "name": "x"}]},
            "/networks",
            "supports only",
        ),
        (None, {"networks": [{"mode": "container/bridge"}], "cmd": "x"}, "/networks", "container"),
    ],
)
def test_a_fault_is_named_by_its_path(container: Any, more: Any, path: str, words: str) -> None:
    ((found, error),) = faults(container, **more)
    assert found == path
    assert words in error


def refused(setting: str, container: Any) -> list[tuple[str, str]]:
    return pairs(DockerPolicy(setting, NOWHERE).faults(complete(container)))


VOLUME = docker() | {"volumes": [{"containerPath": "/x", "hostPath": "/etc", "mode": "RO"}]}


@pytest.mark.parametrize(
    ("container", "path", "word"),
    [
        (docker(privileged=True), "/container/docker/privileged", "privileged"),
        (VOLUME, "/container/volumes", "volumes"),
        *(
            (
                docker(parameters=[{"key": key, "value": value}]),
                "/container/docker/parameters(0)",
                w,
            )
            for key, value, w in [
                ("privileged", "true", "privileged"),
                ("cap-add", "SYS_ADMIN", "privileged"),
                ("device", "/dev/sda", "privileged"),
                ("pid", "host", "privileged"),
                ("security-opt", "seccomp=unconfined", "privileged"),
                ("volume", "/:/host", "volumes"),
            ]
        ),
    ],
)
def test_access_to_the_host_is_refused_unless_it_is_allowed(
    container: Any, path: str, word: str
) -> None:
    ((found, why),) = refused("", container)
    assert found == path
    assert f"FOB_DOCKER_ALLOW has to name {word}" in why
    assert refused("privileged, volumes", container) == []
    (other,) = {"privileged", "volumes"} - {word}
    assert refused(other, container) != []


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("net", "host", "'net' is not supported; supported are add-host"),
        ("init", "maybe", "neither true nor false"),
        ("ulimit", "nofile", "NAME=SOFT:HARD"),
        ("shm-size", "big", "not a whole number"),
    ],
)
def test_an_unknown_or_malformed_parameter_is_refused(key: str, value: str, words: str) -> None:
    ((_, why),) = refused("", docker(parameters=[{"key": key, "value": value}]))
    assert words in why


def test_an_unknown_word_in_the_setting_is_an_error() -> None:
    with pytest.raises(BadRequest, match="FOB_DOCKER_ALLOW names everything; it can be any of"):
        DockerPolicy("everything", NOWHERE)


def test_a_container_gets_marathons_variables_and_none_of_the_host() -> None:
    mapping = {"containerPort": 80, "name": "web"}
    definition = complete(docker(network="BRIDGE", portMappings=[mapping]))
    record = TaskRecord("a.1", "/a", "v", TaskState.STAGING, (21000,), 1, 16, "t")
    found = task_environment.for_task(record, definition, "127.0.0.1", Path("/outside"))
    assert found["PORT0"] == found["PORT_80"] == found["PORT_WEB"] == "21000"
    assert found["MESOS_SANDBOX"] == "/mnt/mesos/sandbox"
    assert found["MARATHON_APP_DOCKER_IMAGE"] == "x"
    assert "PATH" not in found
    assert "HOME" not in found


def test_the_documented_parameters_are_the_supported_ones() -> None:
    page = (live.ROOT / "docs" / "engine.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|") and "parameter" in line]
    for name, option in parameters.OPTIONS.items():
        (row,) = (row for row in rows if f"`{name}`" in row)
        assert ("FOB_DOCKER_ALLOW" in row) == bool(option.needs)


def test_access_to_the_host_is_422_in_the_api_unless_the_setting_allows_it(
    start_engine: Callable[..., live.Engine], tmp_path: Path
) -> None:
    app = {"id": "/a", "container": docker(privileged=True), "instances": 0}
    response = start_engine().ask("POST", "/v2/apps", json=app)
    assert response.status_code == 422
    assert response.json()["details"][0]["path"] == "/container/docker/privileged"
    allowing = start_engine(tmp_path / "other", FOB_DOCKER_ALLOW="privileged")
    assert allowing.ask("POST", "/v2/apps", json=app).status_code == 201


def test_without_containers_the_docker_package_is_not_imported() -> None:
    check = "import sys, fob.engine.main; sys.exit('docker' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=live.SERVICE, check=True)


def test_a_function_that_waits_for_docker_says_where_it_was_looked_for(
    start_dispatcher: Callable[..., live.Dispatcher], tmp_path: Path
) -> None:
    absent = f"unix://{tmp_path}/docker.sock"
    dispatcher = start_dispatcher(FOB_IMAGE="python:3-slim", FOB_DOCKER_HOST=absent)
    id_ = dispatcher.gen("def f(): return 1")

    def explained() -> bool:
        response = dispatcher.ask("GET", f"/api/meta/{id_}")
        assert response.status_code == 503
        reason = f"needs a Docker engine; none is reachable at {absent}: No such file"
        return reason in response.text

    live.until(explained, "the reason")
