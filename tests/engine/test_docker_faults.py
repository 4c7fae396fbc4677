"""A Docker engine whose responses are broken, simulated by a server."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator

import containers
import pytest

import live

CUT_OFF = b'{"status": "Pulling from library/python"}\r\n{"status": "Down'


class Docker(http.server.BaseHTTPRequestHandler):
    """As much of Docker as a pull needs; the response to the pull is cut off."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.endswith("/version"):
            self._respond(200, {"ApiVersion": "1.41", "Version": "20.10"})
        elif "/images/" in self.path:
            self._respond(404, {"message": "No such image"})
        else:
            self._respond(200, [])

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(CUT_OFF), CUT_OFF))

    def log_message(self, *args: object) -> None:
        pass

    def _respond(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Docker) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"tcp://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_pull_that_is_cut_off_is_a_failure(
    start_engine: Callable[..., live.Engine], address: str
) -> None:
    engine = start_engine(FOB_DOCKER_HOST=address)
    containers.post(engine, containers.app("/a", "pass"))
    failure = containers.failure(engine, "/a")
    assert failure["message"].startswith(f"the image {containers.IMAGE} is not available: ")
