"""The Docker engine that runs the containers: where it is, whether it is there, what it says."""

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

LOOK_EVERY = 2.0  # seconds, while an app waits for an engine that is not there
ANSWER_SECONDS = 60  # for everything but a pull, a stream of output and the wait for an exit


class DockerUnreachable(Exception):
    """Nobody answers, or nobody who could; the message says where and why."""


class DockerError(Exception):
    """Docker answered that it cannot be done, with its `status`; the message has its words."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class DockerHost:
    """The Docker engine at `address`, a URL as in DOCKER_HOST.

    `on_change` is called on the loop when the engine becomes reachable, and when the reason why it
    is not changes. `greet` is called in a thread when it becomes reachable, before `on_change`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.on_change: Callable[[], None] = lambda: None
        self.greet: Callable[[APIClient], None] = lambda client: None
        self._there = False
        self._why = "it is being looked for"
        self._looking: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise `NoRoom` unless it was there when last asked; it is then looked for."""
        if not self._there:
            self.look()
            message = f"wants a Docker engine; at {self.address} there is none: {self._why}"
            raise NoRoom("UnfulfilledConstraint", message)

    def look(self) -> None:
        """Look for it in the background, until it is there."""
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())

    def lost(self, why: str) -> None:
        """It is there no more, for all that can be told; it is looked for."""
        self._there, self._why = False, why
        self.look()

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    @contextmanager
    def client(self, timeout: int = ANSWER_SECONDS) -> Iterator["APIClient"]:
        """A connection, for one thread. Raises `DockerUnreachable` and `DockerError`, also for what
        happens within."""
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
            raise DockerError(error.status_code or 0, _words(error)) from error
        except (OSError, HTTPError, RequestException, DockerException, StreamParseError) as error:
            self._there = False
            raise DockerUnreachable(_cause(error)) from error

    async def _look(self) -> None:
        told = ""
        while why := await threads.outcome("look", self._missing):
            if why != told:
                log.info("No Docker engine at %s: %s", self.address, why)
                told = self._why = why
                self.on_change()
            await asyncio.sleep(LOOK_EVERY)
        log.info("Docker engine found at %s", self.address)
        self._there, self._looking = True, None
        self._why = "it has gone"
        self.on_change()

    def _missing(self) -> str:
        """Why it cannot be used; empty when it can."""
        try:
            with self.client() as client:
                self.greet(client)
        except (DockerUnreachable, DockerError) as error:
            return str(error)
        return ""


def _words(error: Exception) -> str:
    explanation = getattr(error, "explanation", None)
    if isinstance(explanation, bytes):
        explanation = explanation.decode("utf-8", "replace")
    return str(explanation or error)


def _cause(error: BaseException) -> str:
    """The innermost words: those around it are the names of libraries."""
    while not (isinstance(error, OSError) and error.strerror):
        inner = [error.__cause__, error.__context__, *error.args]
        found = next((each for each in inner if isinstance(each, BaseException)), None)
        if found is None:
            return str(error) or type(error).__name__
        error = found
    return error.strerror
