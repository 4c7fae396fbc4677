"""Package indexes: one made on the spot, and whether the machine's own can be reached."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import live

# what pip and uv say when there is no way to the index
UNREACHABLE = (
    "NewConnectionError",
    "Connection refused",
    "Name or service not known",
    "Temporary failure in name resolution",
    "Read timed out",
    "error sending request for url",
)


def skip_if_unreachable(told: str) -> None:
    """Skip the test when what an installer told means that there is no way to the index."""
    for words in UNREACHABLE:
        if words in told:
            pytest.skip(f"the package index cannot be reached: {words}")


@contextmanager
def index_of(wheels: Path, yanked: Mapping[str, str] | None = None) -> Iterator[str]:
    """An index (PEP 503) of the wheels in a folder; its URL.

    `yanked` has reasons (PEP 592) by the names of wheels.
    """

    def page(project: str) -> bytes:
        files = sorted(wheels.glob(f"{project.replace('-', '_')}-*.whl"))
        reasons = {file.name: (yanked or {}).get(file.name) for file in files}
        links = [
            f'<a href="/files/{name}"{f" data-yanked={reason!r}" if reason else ""}>{name}</a>'
            for name, reason in reasons.items()
        ]
        return "\n".join(links).encode()

    class Handler(_Quiet):
        def do_GET(self) -> None:
            _, kind, name, *_ = [*self.path.split("/"), ""]
            if kind == "files":
                self.answer((wheels / name).read_bytes(), "application/zip")
            else:
                self.answer(page(name), "text/html")

    with _served(Handler) as url:
        yield f"{url}/simple"


@contextmanager
def silent_index() -> Iterator[str]:
    """An index that takes every request and never answers; its URL."""
    over = threading.Event()

    class Handler(_Quiet):
        def do_GET(self) -> None:
            over.wait(live.PATIENCE_SECONDS)

    with _served(Handler) as url:
        try:
            yield f"{url}/simple"
        finally:
            over.set()


class _Quiet(BaseHTTPRequestHandler):
    def answer(self, content: bytes, kind: str) -> None:
        """The content, or 404 when there is none."""
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *told: object) -> None:
        pass


@contextmanager
def _served(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
