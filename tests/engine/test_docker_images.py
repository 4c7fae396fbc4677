"""Images that are pulled while their task is staged."""

from collections.abc import Iterator
from typing import Any

import containers
import pytest
from containers import Start, app, failure, output, post
from registry import Registry, registry

import docker_engine
import live

pytestmark = containers.needs_docker


@pytest.fixture
def engine(docker: docker_engine.Engine, start_engine: Start) -> Iterator[live.Engine]:
    for start in containers.starting(docker, start_engine):
        yield start()


@pytest.fixture
def images(engine: live.Engine, docker: docker_engine.Engine) -> Iterator[Registry]:
    with registry() as images:
        yield images
        docker.docker("rmi", "--force", images.image(), check=False)


def staged(engine: live.Engine) -> Any:
    """The task of the app `/a`, once its output shows the pull."""

    def pulling() -> Any:
        tasks = engine.app("/a")["tasks"]
        return tasks and "Pulling fs layer" in output(engine, tasks[0], "stderr") and tasks[0]

    return live.until(pulling, "a pull")


def test_a_task_is_staged_while_its_image_is_pulled(engine: live.Engine, images: Registry) -> None:
    post(engine, app("/a", args=["/file"], docker={"image": images.image()}, backoffSeconds=1000))
    task = staged(engine)
    assert task["state"] == "TASK_STAGING"
    assert engine.app("/a")["tasksStaged"] == 1
    images.open.set()
    # the image is complete now, but contains nothing that could run
    assert failure(engine, "/a")["message"].startswith("the container could not be started: ")
    assert "image_ready" in output(engine, task, "timeline")


def test_a_task_can_be_stopped_while_its_image_is_pulled(
    engine: live.Engine, images: Registry
) -> None:
    port = containers.free_port()
    bridge = {"network": "BRIDGE", "portMappings": [{"containerPort": 80, "hostPort": port}]}
    post(engine, app("/a", args=["/file"], docker=bridge | {"image": images.image()}))
    staged(engine)
    engine.ask("PUT", "/v2/apps/a?force=true", json={"instances": 0})
    live.until(lambda: not engine.app("/a")["tasks"], "its end")
    assert "lastTaskFailure" not in engine.app("/a")
    # its port is free again
    post(engine, app("/b", args=["sleep", "1000"], docker=bridge))
    assert engine.running("/b")[0]["ports"] == [port]


def test_a_missing_image_fails_with_dockers_message(engine: live.Engine, images: Registry) -> None:
    absent = images.image("absent")
    post(engine, app("/a", docker={"image": absent}, backoffSeconds=1000))
    failed = failure(engine, "/a")
    assert failed["state"] == "TASK_FAILED"
    assert failed["message"].startswith(f"the image {absent} is not available: ")
    assert "manifest unknown" in failed["message"]
    (item,) = engine.get("/v2/queue")["queue"]
    assert item["delay"]["timeLeftSeconds"] > 0  # it is tried again


def test_an_image_is_pulled_again_only_with_force_pull_image(
    engine: live.Engine, images: Registry
) -> None:
    images.open.set()
    asked = []
    for number, forced in enumerate((False, False, True)):
        images.requested.clear()
        image = {"image": images.image(), "forcePullImage": forced}
        post(engine, app(f"/a{number}", args=["/file"], docker=image, backoffSeconds=1000))
        failure(engine, f"/a{number}")
        asked.append(bool(images.requested))
    assert asked == [True, False, True]
