"""A registry of images, as much of it as a Docker engine needs to pull one."""

import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar"
NAME = "small"


class Registry(http.server.ThreadingHTTPServer):
    """It has one image, of one file. Layers are served while `open` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.open = threading.Event()
        self.requested: list[str] = []
        layer = _layer()
        rootfs = {"type": "layers", "diff_ids": [_digest(layer)]}
        settings = {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {}}
        config = json.dumps(settings).encode()
        self.blobs = {_digest(blob): blob for blob in (layer, config)}
        described = {"schemaVersion": 2, "mediaType": MANIFEST}
        described["config"] = _described(CONFIG, config)
        described["layers"] = [_described(LAYER, layer)]
        self.manifest = json.dumps(described).encode()
        self.layer = _digest(layer)

    def image(self, name: str = NAME) -> str:
        return f"127.0.0.1:{self.server_address[1]}/{name}:1"


@contextmanager
def registry() -> Iterator[Registry]:
    server = Registry()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.open.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Registry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        digest = self.path.rpartition("/")[2]
        if self.path == "/v2/":
            self._send(b"{}", "application/json")
        elif self.path.startswith(f"/v2/{NAME}/manifests/"):
            self._send(self.server.manifest, MANIFEST)
        elif digest in self.server.blobs:
            if digest == self.server.layer:
                self.server.open.wait(30)
            self._send(self.server.blobs[digest], "application/octet-stream")
        else:
            error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
            self._send(json.dumps(error).encode(), "application/json", 404)

    do_HEAD = do_GET

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", _digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _layer() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        file = tarfile.TarInfo("file")
        file.size = 1
        tar.addfile(file, io.BytesIO(b"x"))
    return packed.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _described(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "size": len(blob), "digest": _digest(blob)}
