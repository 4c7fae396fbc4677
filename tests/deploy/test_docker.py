"""The Dockerfile, built without a network and run by a real Docker engine."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import docker_engine
import live

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(bool(docker_engine.missing()), reason=docker_engine.missing() or "-"),
]

MAX_ADDED_BYTES = 30e6  # what the image may add to its base


@pytest.fixture(scope="module")
def engine(docker: docker_engine.Engine) -> docker_engine.Engine:
    return docker


@pytest.fixture(scope="module")
def container(engine: docker_engine.Engine, image: str) -> Iterator[str]:
    """A container that runs the service; its published address is 127.0.0.1:9999."""
    name = "fob-test"
    options = ["--name", name, "--publish=127.0.0.1:9999:9999", "--health-interval=1s"]
    engine.docker("run", "--detach", *options, image)
    yield name
    engine.docker("rm", "--force", "--volumes", name)


@pytest.fixture
def url(engine: docker_engine.Engine, container: str) -> str:
    address = "http://127.0.0.1:9999"
    live.until(lambda: engine.fetch(f"{address}/api/stats"), engine.docker("logs", container))
    return address


def test_the_service_responds_on_the_published_port(engine: docker_engine.Engine, url: str) -> None:
    assert engine.fetch(f"{url}/api/stats") == '{"status": "fob up"}'


def test_a_file_becomes_an_endpoint_inside_the_container(
    engine: docker_engine.Engine, url: str
) -> None:
    sample = live.ROOT / "py_example.py"
    made = json.loads(engine.fetch(f"{url}/api/gen", "--data-binary", f"@{sample}"))
    where = json.loads(engine.fetch(f"{url}/api/meta/{made['id']}?wait=20"))
    assert where.keys() == {"host", "port"}
    response = json.loads(engine.fetch(f"{url}/api/call/{made['id']}"))
    assert response == {"result": None, "output": "Hello serverless world!\n"}
    engine.fetch(f"{url}/api/functions/{made['id']}", "-X", "DELETE")


def test_the_health_check_turns_healthy(engine: docker_engine.Engine, container: str) -> None:
    def healthy() -> bool:
        return engine.inspect(container, "{{.State.Health.Status}}") == "healthy"

    live.until(healthy, "healthy")


def test_nothing_in_the_container_runs_as_root(
    engine: docker_engine.Engine, url: str, container: str
) -> None:
    _, *lines = engine.docker("top", container, "-eo", "pid,uid").splitlines()
    assert {line.split()[1] for line in lines} == {"10001"}


def test_the_image_adds_little_to_its_base(engine: docker_engine.Engine, image: str) -> None:
    size, base = (int(engine.inspect(name, "{{.Size}}")) for name in (image, docker_engine.BASE))
    assert size - base < MAX_ADDED_BYTES


def test_the_image_holds_neither_wheels_nor_the_build_context(
    engine: docker_engine.Engine, image: str
) -> None:
    script = "import os; print(os.path.exists('/context'), os.listdir('/opt'))"
    assert engine.docker("run", "--rm", image, "python", "-c", script) == "False ['fob']"


def test_the_command_is_on_the_path_of_the_image(engine: docker_engine.Engine, image: str) -> None:
    assert engine.docker("run", "--rm", image, "fob", "--version").startswith("fob ")


def test_the_standard_library_is_compiled(engine: docker_engine.Engine, image: str) -> None:
    script = "import json; print(__import__('os').path.exists(json.__cached__))"
    assert engine.docker("run", "--rm", image, "python", "-c", script) == "True"


def test_the_image_says_what_it_is(engine: docker_engine.Engine, image: str) -> None:
    labels = json.loads(engine.inspect(image, "{{json .Config.Labels}}"))
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_a_builder_without_buildkit_builds_it(
    engine: docker_engine.Engine, image: str, tmp_path: Path
) -> None:
    context = docker_engine.context(tmp_path)
    engine.docker(
        "build", "--tag=fob-classic", *docker_engine.OFFLINE, str(context), buildkit=False
    )
    assert engine.docker("run", "--rm", "fob-classic", "fob", "--version").startswith("fob ")


def test_sigterm_ends_it_at_once_with_status_zero(
    engine: docker_engine.Engine, url: str, container: str
) -> None:
    started = time.monotonic()
    engine.docker("stop", "--time=30", container)
    assert time.monotonic() - started < 10
    assert engine.inspect(container, "{{.State.ExitCode}}") == "0"
    engine.docker("start", container)
