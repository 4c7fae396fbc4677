"""A dispatcher in a thread, on any Marathon of a test, used over real sockets."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import requests
from cluster import Cluster

import live
from fob import config
from fob.dispatcher import assembly

SAMPLE = b'def call_me():\n    print("Hello serverless world!")\n'
HELLO = {"result": None, "output": "Hello serverless world!\n"}


class Dispatcher:
    """What `python fob_dispatcher.py` runs with these settings, without signal handlers."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._folder = folder / "snippets"
        self._settings = config.from_environment(
            {}, host="127.0.0.1", port=0, home=str(folder), **settings
        )
        self._sock = socket.create_server(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self.url = f"http://127.0.0.1:{self._sock.getsockname()[1]}"
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        self._up.wait()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._up.set()
        with self._sock:
            await assembly.serve(self._settings, [self._sock], self._stopping)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=60, **options)

    def answer(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON of a response that must be a success."""
        answer = self.ask(method, path, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def error(self, method: str, path: str, **options: Any) -> tuple[int, str, str]:
        """Return status, code and message of a response that must be an error."""
        answer = self.ask(method, path, **options)
        error = answer.json()["error"]
        return answer.status_code, error["code"], error["message"]

    def gen(self, body: bytes = SAMPLE, query: str = "") -> str:
        return str(self.answer("POST", f"/api/gen{query}", data=body)["id"])

    def call(self, id_: str) -> Any:
        return self.answer("GET", f"/api/call/{id_}")

    def listed(self) -> list[str]:
        return [each["id"] for each in self.answer("GET", "/api/functions")["functions"]]

    def files(self) -> list[str]:
        return live.records(self._folder)


def follows(dispatcher: Dispatcher, cluster: Cluster, id_: str) -> None:
    """Wait until the dispatcher knows the function's endpoint without a request to Marathon."""

    def unasked() -> bool:
        before = len(cluster.asked)
        dispatcher.answer("GET", f"/api/meta/{id_}?wait=30")
        return f"GET /v2/apps/fob-aviary/{id_}" not in cluster.asked[before:]

    live.until(unasked, "the table")


def well(dispatcher: Dispatcher, cluster: Cluster, functions: int = 1) -> None:
    """Check that registering and calling work, and that only such functions exist."""
    cluster.good()
    assert dispatcher.call(dispatcher.gen()) == HELLO
    assert len(dispatcher.listed()) == len(cluster.apps) == functions
    assert [n for n in dispatcher.files() if n.endswith(".pending")] == []
    assert len([n for n in dispatcher.files() if n.endswith(".snippet")]) == functions
