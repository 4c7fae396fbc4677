"""Health checks of containers, on a real Docker engine."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

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
def start(docker: docker_engine.Engine, start_engine: Start) -> Iterator[Start]:
    yield from containers.starting(docker, start_engine)


@pytest.fixture
def engine(start: Start) -> live.Engine:
    return start()


def command(value: str, **more: object) -> dict[str, object]:
    defaults = {"protocol": "COMMAND", "command": {"value": value}, "delaySeconds": 0}
    return check(**defaults, gracePeriodSeconds=0, maxConsecutiveFailures=0, **more)


def processes_running(words: str) -> list[str]:
    """The processes, in containers or not, whose command line begins with these words."""
    prefix = words.encode().replace(b" ", b"\0")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().startswith(prefix):
                found.append(path.parent.name)
    return found


def test_a_command_is_run_in_the_container(engine: live.Engine) -> None:
    inside = 'test "$MESOS_SANDBOX" = /mnt/mesos/sandbox && test "$WORD" = well'
    post(engine, app("/a", SLEEPS, env={"WORD": "well"}, healthChecks=[command(inside)]))
    become(engine, 1, 0)


def test_a_command_that_fails_there_is_reported_with_its_last_line(engine: live.Engine) -> None:
    post(engine, app("/a", SLEEPS, healthChecks=[command("echo so ill; exit 7")]))
    become(engine, 0, 1)
    (found,) = engine.app("/a")["tasks"][0]["healthCheckResults"]
    assert found["lastFailureCause"] == "Command exited with status 7: so ill"


def test_a_check_may_name_the_port_inside(engine: live.Engine) -> None:
    inside = {"protocol": "MESOS_HTTP", "port": 8080, "delaySeconds": 0, "intervalSeconds": 1}
    post(engine, served("/a", "8080", docker=BRIDGE, healthChecks=[inside]))
    become(engine, 1, 0)


def test_a_command_that_hangs_is_killed_with_all_that_it_started(engine: live.Engine) -> None:
    """In an image that has no `timeout`."""
    hangs = command("sleep 98761 & sleep 98762", timeoutSeconds=1, intervalSeconds=600)
    post(engine, app("/a", SLEEPS, healthChecks=[hangs]))
    become(engine, 0, 1)
    (found,) = engine.app("/a")["tasks"][0]["healthCheckResults"]
    assert found["lastFailureCause"] == "no response within 1 seconds"
    live.until(lambda: not processes_running("sleep 9876"), "the end of the command")


def test_a_command_ends_with_the_engine(start: Start) -> None:
    engine = start()
    hangs = command("sleep 98763", timeoutSeconds=500, intervalSeconds=600)
    post(engine, app("/a", SLEEPS, healthChecks=[hangs]))
    live.until(lambda: processes_running("sleep 98763"), "the check")
    engine.kill()
    live.until(lambda: not processes_running("sleep 98763"), "the end of the command")
    start()


def test_a_check_leaves_no_process_in_the_container(
    engine: live.Engine, docker: docker_engine.Engine
) -> None:
    post(engine, app("/a", SLEEPS, healthChecks=[command("true", intervalSeconds=600)]))
    become(engine, 1, 0)
    (name,) = docker.containers()
    live.until(lambda: len(docker.docker("top", name, "-o", "pid").split()) == 2, "its own process")
