"""Copy the output of a container from Docker's log into the pipes of its task."""

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from fob.engine.runtime.docker.host import DockerError
from fob.engine.runtime.task_folders import TaskFolder

if TYPE_CHECKING:
    from docker import APIClient

_STREAMS = {1: "stdout", 2: "stderr"}
_TIME_BYTES = len("2016-04-02T02:41:44.123456789Z")
_HEADER_BYTES = 8  # stream, three zeros, length: https://docs.docker.com/engine/api (attach)


class _Stream(Protocol):
    def read(self, size: int) -> bytes: ...


class ContainerOutput:
    """Copies the output of a container; each line once, even if several engines do it in turn.

    The file `copied` in the task's folder has the time of the last line that was copied.
    """

    def __init__(self, folder: TaskFolder) -> None:
        self._folder = folder
        self._fds: dict[str, int] = {}

    def open(self) -> None:
        try:
            for name in (*_STREAMS.values(), "marks"):
                self._fds[name] = os.open(self._folder.pipe(name), os.O_RDWR)
            copied = self._folder.path / "copied"
            self._fds["copied"] = os.open(copied, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)
        self._fds = {}

    def mark(self, line: str) -> None:
        _write(self._fds["marks"], line.encode())

    def follow(self, client: "APIClient", name: str) -> None:
        """Copy what the container prints, until it ends or Docker does."""
        before = os.pread(self._fds["copied"], _TIME_BYTES, 0)
        url = f"{client.base_url}/v{client.api_version}/containers/{name}/logs"
        query = {"stdout": 1, "stderr": 1, "follow": 1, "timestamps": 1, "since": _seconds(before)}
        with client.get(url, params=query, stream=True, timeout=(5, None)) as response:
            if response.status_code != 200:
                raise DockerError(response.status_code, response.text)
            for stream, line in frames(response.raw):
                time, _, text = line.partition(b" ")
                if time > before:  # `since` counts whole seconds
                    self._copy(stream, time, text)

    def _copy(self, stream: int, time: bytes, text: bytes) -> None:
        _write(self._fds[_STREAMS[stream]], text)
        with contextlib.suppress(OSError):  # on a full disk a line may be copied twice
            os.pwrite(self._fds["copied"], time, 0)


def frames(raw: _Stream) -> Iterator[tuple[int, bytes]]:
    """Split what Docker multiplexes; yield the number of a stream and its data."""
    while len(header := raw.read(_HEADER_BYTES)) == _HEADER_BYTES:
        yield header[0], raw.read(int.from_bytes(header[4:], "big"))


def _seconds(time: bytes) -> int:
    """A time from Docker's log in seconds since 1970, as for `since`; 0 if it is empty."""
    return int(datetime.fromisoformat(time.decode()).timestamp()) if time else 0


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
