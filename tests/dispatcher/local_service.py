"""A dispatcher in a thread of the test process, on a fake Marathon, reached over real sockets."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import requests
from fake_marathon import FakeMarathon
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

import live
from fob.dispatcher.api.routes import application
from fob.dispatcher.front import Front
from fob.dispatcher.gateway.routing import Routing
from fob.dispatcher.guard import Guard
from fob.dispatcher.in_flight import InFlight
from fob.functions.app_definition import PlacementSettings
from fob.functions.service import Functions
from fob.functions.store import SnippetStore
from fob.http.transport import Transports
from fob.marathon import Marathon, TaskTable

T = TypeVar("T")
SAMPLE = b'def call_me():\n    print("Hello serverless world!")\n'
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class LocalService:
    """Dispatcher and Marathon; `on_loop` and `run` execute in their thread."""

    def __init__(self, folder: Path, token: str = "", read_timeout: float = 15.0) -> None:
        self.folder = folder
        self._token = token
        self._read_timeout = read_timeout
        self._loop = asyncio.new_event_loop()
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.run(self._open())
        self._session = requests.Session()

    async def _open(self) -> None:
        self.marathon = FakeMarathon()
        sock, port = bind_unused_port()
        self._fake = HTTPServer(self.marathon.application())
        self._fake.add_socket(sock)
        url = f"http://127.0.0.1:{port}/service/marathon"
        self.marathon_client = Marathon(url, read_timeout=self._read_timeout)
        self.tasks = TaskTable(self.marathon_client)
        self.snippets = SnippetStore(self.folder)
        self.functions = Functions(
            self.marathon_client, self.tasks, self.snippets, PlacementSettings()
        )
        guard, self.in_flight = Guard("127.0.0.1", self._token), InFlight()
        self.transports = Transports()
        self.routing = Routing(self.functions, guard, self.in_flight, self.transports)
        routes = application(self.functions, guard, self.in_flight, self.routing.pool)
        self.front = Front(routes, self.routing, self.in_flight, self.transports)
        sock, self.port = bind_unused_port()
        self.front.listen([sock])
        self.url = f"http://127.0.0.1:{self.port}"
        self.tasks.start()

    def close(self) -> None:
        self._session.close()
        self.run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _close(self) -> None:
        self.marathon.close()
        self.front.stop()
        await self.tasks.stop()
        await self.marathon_client.close()
        await self.front.close()
        self.routing.close()
        self.transports.close()
        self._fake.stop()
        await self._fake.close_all_connections()
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self.snippets.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def on_loop(self, call: Callable[..., T], *args: Any, **options: Any) -> T:
        async def calling() -> T:
            return call(*args, **options)

        return self.run(calling())

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        return self._session.request(method, self.url + path, timeout=30, **options)

    def error(self, method: str, path: str, **options: Any) -> tuple[int, str]:
        """Status and code of a response that must be an error in the one shape."""
        response = self.ask(method, path, **options)
        assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert list(response.json()) == ["error"]
        assert sorted(response.json()["error"]) == ["code", "details", "message"]
        return response.status_code, response.json()["error"]["code"]

    def gen(self, body: bytes = SAMPLE, query: str = "") -> str:
        response = self.ask("POST", f"/api/gen{query}", data=body)
        assert response.status_code == 200, response.text
        return str(response.json()["id"])

    def app(self, id_: str) -> dict[str, Any]:
        return self.marathon.apps[f"/fob-aviary/{id_}"]

    def place(self, id_: str, port: int, **options: Any) -> None:
        self.on_loop(self.marathon.place, f"/fob-aviary/{id_}", port, **options)

    def fail(self, id_: str, message: str) -> None:
        self.on_loop(self.marathon.fail, f"/fob-aviary/{id_}", message)

    def listen(self, serve: Serve) -> int:
        """Serve connections with `serve`; return the port."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connections.add(task := asyncio.current_task())  # type: ignore[arg-type]
            try:
                await serve(reader, writer)
            finally:
                self._connections.discard(task)  # type: ignore[arg-type]
                writer.close()

        server = self.run(asyncio.start_server(connected, "127.0.0.1", 0))
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def function(self, serve: Serve, query: str = "") -> str:
        """Register a function that `serve` implements; return its id."""
        id_ = self.gen(query=query)
        self.place(id_, self.listen(serve))
        return id_

    def files(self) -> list[str]:
        return live.records(self.folder)
