"""The Marathon of the README's walk-through: it says that every app runs at 10.0.6.172:25974.

    python readme_marathon.py PORT

Serves just what the dispatcher asks for on the way, under /service/marathon.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BASE = "/service/marathon/v2"
VERSION = "2016-04-02T23:09:47.123Z"

apps: dict[str, Any] = {}
never = threading.Event()


def task(app_id: str) -> dict[str, Any]:
    return {
        "id": app_id.strip("/").replace("/", "_") + ".0c8d7c7c-f927-11e5-9ce9-5658305cae7d",
        "appId": app_id,
        "host": "10.0.6.172",
        "ports": [25974],
        "servicePorts": [10000],
        "slaveId": "20160402-020000-1-5050-1-S1",
        "stagedAt": VERSION,
        "startedAt": VERSION,
        "version": VERSION,
        "ipAddresses": [{"ipAddress": "10.0.6.172", "protocol": "IPv4"}],
        "healthCheckResults": [{"alive": True}],
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix(BASE)
        app_id = path.removeprefix("/apps")
        if path == "/events":
            self._stream()
        elif path == "/tasks":
            self._answer(200, {"tasks": [task for app in apps.values() for task in app["tasks"]]})
        elif path == "/deployments":
            self._answer(200, [])
        elif path == "/queue":
            self._answer(200, {"queue": []})
        elif app_id == "/fob-aviary/*":
            self._answer(200, {"*": list(apps.values())})
        elif app_id in apps:
            self._answer(200, {"app": apps[app_id]})
        else:
            self._answer(404, {"message": f"App '{app_id}' does not exist"})

    def do_POST(self) -> None:
        app = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        apps[app["id"]] = app | {"tasks": [task(app["id"])], "version": VERSION, "deployments": []}
        self._answer(201, apps[app["id"]])

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        """An event stream on which nothing ever happens."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"event: event_stream_attached\r\ndata: {}\r\n\r\n")
        self.wfile.flush()
        never.wait()

    def log_message(self, *_: Any) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
