"""An engine with a real Docker engine, and apps for it."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import docker_engine
import live

IMAGE = docker_engine.BASE
# responds with its environment
SERVER = """
import http.server, json, os, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(dict(os.environ)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.HTTPServer(("", int(sys.argv[1])), Answer).serve_forever()
"""

needs_docker = [
    pytest.mark.docker,
    pytest.mark.skipif(bool(docker_engine.missing()), reason=docker_engine.missing() or "-"),
]


def app(app_id: str, program: str = "", **more: Any) -> dict[str, Any]:
    """An app that runs the Python `program` in a container on the host's network.

    Keys of `docker` and `container` go there.
    """
    docker = {"image": IMAGE, "network": "HOST"} | more.pop("docker", {})
    container = {"type": "DOCKER", "docker": docker} | more.pop("container", {})
    small = {"id": app_id, "cpus": 0.5, "mem": 32, "container": container, "ports": []}
    small["taskKillGracePeriodSeconds"] = 0.2
    command = {"args": ["python3", "-c", program]} if program else {}
    return small | command | more


def served(app_id: str, port: str, **more: Any) -> dict[str, Any]:
    """An app that serves on `port`, in the words of a shell."""
    return app(app_id, cmd=f'exec python3 -c "$SERVER" {port}', env={"SERVER": SERVER}, **more)


def post(engine: live.Engine, definition: dict[str, Any]) -> None:
    answer = engine.ask("POST", "/v2/apps", json=definition)
    assert answer.status_code == 201, (answer.status_code, answer.text)


def failure(engine: live.Engine, app_id: str) -> Any:
    """The app's last failure, once there is one."""
    return live.until(lambda: engine.app(app_id).get("lastTaskFailure"), "a failure")


def fetched(port: int) -> Any:
    """The response from that port, once a server listens there."""

    def ask() -> Any:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(f"http://127.0.0.1:{port}/", timeout=5).json()

    return live.until(ask, f"a response on port {port}")


def output(engine: live.Engine, task: Any, name: str = "stdout") -> str:
    """The output of the task, also after its end."""
    framework = engine.get("/v2/info")["frameworkId"]
    path = f"/frameworks/{framework}/executors/{task['id']}/runs/latest/{name}"
    answer = engine.ask("GET", f"/agent/{task['slaveId']}/files/read?path={path}")
    return str(answer.json()["data"]) if answer.status_code == 200 else ""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


Start = Callable[..., live.Engine]


def starting(docker: docker_engine.Engine, start_engine: Start) -> Iterator[Start]:
    """Start engines that use `docker`, in its network namespace; no container may be left."""
    started: list[live.Engine] = []

    def start(**settings: str) -> live.Engine:
        started.append(start_engine(**{"FOB_DOCKER_HOST": docker.host} | settings))
        return started[-1]

    with docker.inside():
        yield start
        for engine in started:
            engine.stop()
    assert docker.containers() == []
