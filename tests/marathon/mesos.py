"""The HTTP endpoints of a Mesos agent, old or new: its state, and the files of its sandboxes.

It follows Mesos' `files.cpp` and `jsonify.hpp`: a wrong request is a 400 in plain text, a missing
file a 404, a response has at most 64 KiB of a file, and bytes are copied into the JSON unchanged.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from agent import Agent
from raw_server import Exchange

FRAMEWORK = "F-0000"
AGENT = "S1"
WORK = "/var/lib/mesos/slave"
MOST_BYTES = 16 * 4096
ESCAPES = {ord(c): "\\" + n for c, n in zip('"\\/\b\f\n\r\t', '"\\/bfnrt', strict=True)}

Said = tuple[int, bytes, str]


class Mesos:
    """One agent's endpoints. An old one serves a sandbox only under the path in its state.

    `authorization` is the header that it requires, if any.
    """

    def __init__(self, agent: Agent, old: bool = False) -> None:
        self._agent = agent
        self._old = old
        self.authorization = ""
        self.asked: list[str] = []

    def play(self, exchange: Exchange) -> None:
        """Respond as the agent itself does at port 5051."""
        status, body, kind = self.answer(exchange)
        realm = {"WWW_Authenticate": 'Basic realm="mesos-agent-readonly"'} if status == 401 else {}
        exchange.answer(status, body, Content_Type=kind, **realm)

    def answer(self, exchange: Exchange) -> Said:
        """Return status, body and type of the response, whatever precedes the route."""
        parts = urlsplit(exchange.path)
        self.asked.append(parts.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if self.authorization and exchange.headers.get("authorization") != self.authorization:
            return _text(401, "401 Unauthorized.")
        if parts.path.endswith(("/state", "/state.json")):
            return _json(json.dumps(self.state()).encode())
        if parts.path.endswith(("/files/read", "/files/read.json")):
            return self._read(query)
        return _text(404, "404 Not Found.")

    def state(self) -> dict[str, Any]:
        """Return the part of the agent's state with its running and ended executors."""
        executors = [self._executor(path) for path in sorted(self._agent.sandboxes.iterdir())]
        running = [each for each in executors if self._agent.runs(each["id"])]
        ended = [each for each in executors if each not in running]
        framework = {"id": FRAMEWORK, "executors": running, "completed_executors": ended}
        other = {"id": "F-9", "executors": [{"id": "other", "directory": "/x"}], "role": "*"}
        return {"id": AGENT, "frameworks": [other, framework], "completed_frameworks": []}

    def _executor(self, sandbox: Path) -> dict[str, Any]:
        container = f"c-{sandbox.name[-8:]}"
        folder = f"{WORK}/slaves/{AGENT}/frameworks/{FRAMEWORK}/executors/{sandbox.name}/runs"
        return {"id": sandbox.name, "container": container, "directory": f"{folder}/{container}"}

    def _read(self, query: dict[str, str]) -> Said:
        if not query.get("path"):
            return _text(400, "Expecting 'path=value' in query.\n")
        try:
            offset, length = int(query.get("offset", -1)), int(query.get("length", -1))
        except ValueError:
            return _text(400, "Failed to parse offset: Failed to convert 'x' to number.\n")
        path = self._resolved(query["path"])
        if path is None or not path.exists():
            return _text(404, "404 Not Found.")
        if path.is_dir():
            return _text(400, "Cannot read a directory.\n")
        return _json(_part(path.read_bytes(), offset, length))

    def _resolved(self, path: str) -> Path | None:
        """Return the file of an attached path; None for any other path."""
        folder, _, name = path.rpartition("/")
        for sandbox in self._agent.sandboxes.iterdir():
            virtual = f"/frameworks/{FRAMEWORK}/executors/{sandbox.name}/runs/latest"
            real = self._executor(sandbox)["directory"]
            if folder == real or (folder == virtual and not self._old):
                return sandbox / name
        return None


def _part(content: bytes, offset: int, length: int) -> bytes:
    size = len(content)
    offset = size if offset == -1 else offset
    length = min(size - offset if length == -1 else length, MOST_BYTES)
    if offset >= size:
        return b'{"data":"","offset":%d}' % size
    return b'{"data":"%b","offset":%d}' % (jsonified(content[offset : offset + length]), offset)


def jsonified(data: bytes) -> bytes:
    """Return the bytes as Mesos writes them into JSON: without decoding them."""
    text = data.decode("latin-1").translate(ESCAPES)
    odd = [c for c in set(text) if ord(c) < 0x20 or ord(c) == 0x7F]
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in odd}).encode("latin-1")


def _text(status: int, text: str) -> Said:
    return status, text.encode(), "text/plain"


def _json(body: bytes) -> Said:
    return 200, body, "application/json"
