"""With FOB_IMAGE, functions are containers on this machine too."""

from collections.abc import Callable, Iterator

import pytest

import docker_engine
import live

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(bool(docker_engine.missing()), reason=docker_engine.missing() or "-"),
]


@pytest.fixture
def dispatcher(
    docker: docker_engine.Engine, start_dispatcher: Callable[..., live.Dispatcher]
) -> Iterator[live.Dispatcher]:
    with docker.inside():
        settings = {"FOB_IMAGE": docker_engine.BASE, "FOB_DOCKER_HOST": docker.host}
        dispatcher = start_dispatcher(**settings)
        yield dispatcher
        dispatcher.stop()
    assert docker.containers() == []


def test_a_function_in_a_container_responds_and_prints(
    dispatcher: live.Dispatcher, docker: docker_engine.Engine
) -> None:
    id_ = dispatcher.gen(
        "import os\ndef f(): print('hi', flush=True); return os.getpid()", "?cpus=1"
    )
    assert dispatcher.call(id_).json() == {"result": 1, "output": "hi\n"}
    assert dispatcher.ask("GET", f"/api/call/{id_}").json()["result"] == 1
    (name,) = docker.containers()
    assert docker.inspect(name, "{{.Config.Image}}") == docker_engine.BASE

    def marks() -> set[str]:
        found = dispatcher.ask("GET", f"/api/functions/{id_}").json()
        return {mark["mark"] for mark in found["instances"][0]["timeline"]}

    live.until(lambda: marks() >= {"placed", "image_ready", "started", "listening", "first_call"})


def test_a_file_that_cannot_be_imported_says_why(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen("import nothing_of_this_name\ndef f(): pass", "?cpus=1")

    def failed() -> bool:
        return "nothing_of_this_name" in dispatcher.ask("GET", f"/api/meta/{id_}").text

    live.until(failed, "the reason")


def test_a_function_on_demand_runs_all_the_time_in_a_container(dispatcher: live.Dispatcher) -> None:
    id_ = dispatcher.gen("def f(): return 1", "?cpus=1&activation=on-demand")
    assert dispatcher.call(id_).json() == {"result": 1}
