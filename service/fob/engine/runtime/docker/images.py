"""Images: there already, or pulled while the task is staged."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fob.engine.definitions.containers import Container
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.host import DockerError, DockerHost, DockerUnreachable

if TYPE_CHECKING:
    from docker import APIClient

PULLS = 4  # at once
SILENT_SECONDS = 300  # a pull that tells of no progress for so long has failed

Tell = Callable[[bytes], None]


class ImageFailed(Exception):
    """There is no such image to be had; the message has Docker's words."""


class Images:
    """Gets images; each in a thread, for a pull may take minutes."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host
        self._turns = asyncio.Semaphore(PULLS)

    async def provide(self, container: Container, tell: Tell) -> None:
        """Return when Docker has the image, pulled if need be; `tell` gets lines of progress.

        A cancelled one is given up by Docker at its next sign of progress. Raises `ImageFailed`.
        """
        loop = asyncio.get_running_loop()
        given_up = threading.Event()

        def told(line: str) -> None:
            if not given_up.is_set():
                loop.call_soon_threadsafe(tell, f"{line}\n".encode())

        try:
            async with self._turns:
                await threads.outcome("pull", lambda: self._provide(container, told, given_up))
        except (DockerUnreachable, DockerError) as error:
            raise ImageFailed(f"the image {container.image} cannot be had: {error}") from error
        finally:
            given_up.set()

    def _provide(
        self, container: Container, told: Callable[[str], None], given_up: threading.Event
    ) -> None:
        with self._host.client(SILENT_SECONDS) as client:
            if container.force_pull or not _has(client, container.image):
                for line in _progress(client, container.image):
                    told(line)
                    if given_up.is_set():
                        return


def _has(client: "APIClient", image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return False
    return True


def _progress(client: "APIClient", image: str) -> Iterator[str]:
    """Pull; the lines of progress but for those that only move a bar."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    for step in client.pull(repository, tag or "latest", stream=True, decode=True):
        if "error" in step:
            raise DockerError(0, str(step["error"]))
        if not step.get("progressDetail"):
            yield ": ".join(filter(None, (step.get("id"), step.get("status"))))
