"""The Docker engine that runs the containers: connections to it, and whether it is reachable."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fob.engine.runtime.docker import threads
from fob.engine.runtime.resources import NoRoom

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0  # while it is unreachable
TIMEOUT_SECONDS = 60  # of a request, except a pull, a stream of output, and the wait for an exit


class DockerUnreachable(Exception):
    """The Docker engine cannot be used; the message says why."""


class DockerError(Exception):
    """Docker responded with an error, with its `status`; the message is Docker's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class DockerHost:
    """The Docker engine at `address`, a URL as in DOCKER_HOST.

    `on_change` is called on the loop when the engine becomes reachable, and when the reason why it
    is not changes. When it becomes reachable, `on_connect` is called first, in a thread.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.on_change: Callable[[], None] = lambda: None
        self.on_connect: Callable[[APIClient], None] = lambda client: None
        self._reachable = False
        self._why = "trying to connect"
        self._connecting: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise `NoRoom` unless it was reachable when last used; then start to connect to it."""
        if not self._reachable:
            self.connect()
            message = f"needs a Docker engine; none is reachable at {self.address}: {self._why}"
            raise NoRoom("UnfulfilledConstraint", message)

    def connect(self) -> None:
        """Try to connect in the background until that succeeds."""
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def set_unreachable(self, why: str) -> None:
        """Take it as unreachable from now on, and try to connect."""
        self._reachable, self._why = False, why
        self.connect()

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)

    @contextmanager
    def client(self, timeout: int = TIMEOUT_SECONDS) -> Iterator["APIClient"]:
        """A client for one thread. Within the context too, errors are raised as `DockerUnreachable`
        and `DockerError`."""
        try:
            import docker
            from docker.errors import DockerException, StreamParseError
            from requests import RequestException
            from urllib3.exceptions import HTTPError
        except ImportError as error:
            raise DockerUnreachable("the Python package docker is not installed") from error
        try:
            with docker.APIClient(self.address, version="auto", timeout=timeout) as client:
                yield client
        except docker.errors.APIError as error:
            raise DockerError(error.status_code or 0, _message(error)) from error
        except (OSError, HTTPError, RequestException, DockerException, StreamParseError) as error:
            self._reachable = False
            raise DockerUnreachable(_root_cause(error)) from error

    async def _connect(self) -> None:
        last = ""
        while why := await threads.run("connect", self._failure):
            if why != last:
                log.info("No Docker engine at %s: %s", self.address, why)
                last = self._why = why
                self.on_change()
            await asyncio.sleep(RETRY_SECONDS)
        log.info("Docker engine found at %s", self.address)
        self._reachable, self._connecting = True, None
        self._why = "the connection was lost"
        self.on_change()

    def _failure(self) -> str:
        """Why it cannot be used; empty when it can."""
        try:
            with self.client() as client:
                self.on_connect(client)
        except (DockerUnreachable, DockerError) as error:
            return str(error)
        return ""


def _message(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)
    if isinstance(explanation, bytes):
        explanation = explanation.decode("utf-8", "replace")
    return str(explanation or error)


def _root_cause(error: BaseException) -> str:
    """The message of the innermost error; those around it are the libraries' layers."""
    while not (isinstance(error, OSError) and error.strerror):
        inner = [error.__cause__, error.__context__, *error.args]
        found = next((each for each in inner if isinstance(each, BaseException)), None)
        if found is None:
            return str(error) or type(error).__name__
        error = found
    return error.strerror
