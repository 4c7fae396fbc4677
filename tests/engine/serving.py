"""Servers for apps with health checks, whose response status a test can change; event readers."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

import live

PROGRAM = """
import http.server, pathlib, ssl, sys
port, status, certificate = int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.close_connection = True
        code = int(status.read_text())
        with open(f"{status}.given", "a") as given:
            given.write(f"{code}\\n")
        self.wfile.write(b"HTTP/1.1 %d It is so\\r\\n" % code)
        self.wfile.write(b"Content-Type: text/plain\\r\\n\\r\\n")
        self.wfile.write(self.path.encode())

    def log_message(self, *args):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Page)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


class Pages:
    """The servers of an app; all of them respond with the same status."""

    def __init__(self, folder: Path, status: int = 200, certificate: Path | None = None) -> None:
        self._program = folder / "pages.py"
        self._program.write_text(PROGRAM)
        self._status = folder / "status"
        self.respond_with(status)
        self._certificate = str(certificate or "")

    @property
    def cmd(self) -> str:
        return f"exec python3 {self._program} $PORT0 {self._status} {self._certificate}"

    def responses(self, status: int) -> int:
        """The number of responses with this status so far."""
        given = Path(f"{self._status}.given")
        return given.read_text().split().count(str(status)) if given.exists() else 0

    def wait_for_responses(self, status: int, times: int = 1) -> None:
        """Wait for `times` more responses with this status."""
        expected = self.responses(status) + times
        live.until(lambda: self.responses(status) >= expected, f"{times} responses {status}")

    def respond_with(self, status: int) -> None:
        new = self._status.with_suffix(".new")
        new.write_text(str(status))
        new.rename(self._status)


def check(**more: Any) -> dict[str, Any]:
    """An HTTP health check with the shortest interval."""
    return {"protocol": "HTTP", "portIndex": 0, "intervalSeconds": 0, "timeoutSeconds": 5, **more}


def counts(engine: live.Engine, app_id: str = "/a") -> tuple[int, int]:
    """The number of healthy and of unhealthy tasks of the app."""
    app = engine.app(app_id)
    return app["tasksHealthy"], app["tasksUnhealthy"]


def become(engine: live.Engine, healthy: int, unhealthy: int, app_id: str = "/a") -> None:
    live.until(
        lambda: counts(engine, app_id) == (healthy, unhealthy),
        f"{healthy} healthy and {unhealthy} unhealthy tasks",
    )


class EventReader:
    """Reads the events of an engine: from now on, or after an event id."""

    def __init__(self, engine: live.Engine, *types: str, after: str = "") -> None:
        self._response = requests.get(
            f"{engine.url}/v2/events",
            params=[("event_type", each) for each in types],
            headers={
                "Authorization": f"token={engine.token}",
                "Accept": "text/event-stream",
                "Last-Event-ID": after,
            },
            stream=True,
            timeout=live.PATIENCE_SECONDS,
        )
        self._lines = self._response.iter_lines(chunk_size=1)

    def __enter__(self) -> "EventReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self._response.close()

    def next(self, matches: Callable[[Any], bool] = lambda event: True) -> Any:
        """The next event that matches."""
        deadline = time.monotonic() + live.PATIENCE_SECONDS
        for line in self._lines:  # there is a heartbeat every 15 s
            assert time.monotonic() < deadline, "the event did not come"
            if line.startswith(b"data: ") and matches(event := json.loads(line[6:])):
                return event
        raise AssertionError("the stream has ended")
