"""Health checks of containers, on a real Docker engine."""

from collections.abc import Iterator

import containers
import pytest
from containers import Start, app, post, served
from serving import become, check

import docker_engine
import live

pytestmark = containers.needs_docker

SLEEPS = "import time; time.sleep(1000)"
BRIDGE = {"network": "BRIDGE", "portMappings": [{"containerPort": 8080, "hostPort": 0}]}


@pytest.fixture
def engine(docker: docker_engine.Engine, start_engine: Start) -> Iterator[live.Engine]:
    for start in containers.starting(docker, start_engine):
        yield start()


def command(value: str) -> dict[str, object]:
    told = {"protocol": "COMMAND", "command": {"value": value}, "delaySeconds": 0}
    return check(**told, gracePeriodSeconds=0, maxConsecutiveFailures=0)


def test_a_command_is_run_in_the_container(engine: live.Engine) -> None:
    inside = 'test "$MESOS_SANDBOX" = /mnt/mesos/sandbox && test "$WORD" = well'
    post(engine, app("/a", SLEEPS, env={"WORD": "well"}, healthChecks=[command(inside)]))
    become(engine, 1, 0)


def test_a_command_that_fails_there_tells_its_last_line(engine: live.Engine) -> None:
    post(engine, app("/a", SLEEPS, healthChecks=[command("echo so ill; exit 7")]))
    become(engine, 0, 1)
    (found,) = engine.app("/a")["tasks"][0]["healthCheckResults"]
    assert found["lastFailureCause"] == "Command exited with status 7: so ill"


def test_a_check_may_name_the_port_inside(engine: live.Engine) -> None:
    inside = {"protocol": "MESOS_HTTP", "port": 8080, "delaySeconds": 0, "intervalSeconds": 1}
    post(engine, served("/a", "8080", docker=BRIDGE, healthChecks=[inside]))
    become(engine, 1, 0)
