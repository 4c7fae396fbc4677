"""Images: pulled, if they are missing, while the task is staged."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fob.engine.definitions.containers import Container
from fob.engine.runtime.commands import OnOutput
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.host import DockerError, DockerHost, DockerUnreachable

if TYPE_CHECKING:
    from docker import APIClient

MAX_PULLS = 4  # at once
PULL_TIMEOUT_SECONDS = 300  # without progress


class ImageFailed(Exception):
    """An image is not available; the message has Docker's reason."""


class Images:
    """Provides images; each in a thread, because a pull may take minutes."""

    def __init__(self, host: DockerHost) -> None:
        self._host = host
        self._slots = asyncio.Semaphore(MAX_PULLS)

    async def provide(self, container: Container, on_output: OnOutput) -> None:
        """Return when Docker has the image, after a pull if needed; `on_output` gets lines of
        progress.

        When this is cancelled, so is the pull, at its next sign of progress. Raises `ImageFailed`.
        """
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def on_line(line: str) -> None:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(on_output, f"{line}\n".encode())

        try:
            async with self._slots:
                await threads.run("pull", lambda: self._provide(container, on_line, cancelled))
        except (DockerUnreachable, DockerError) as error:
            message = f"the image {container.image} is not available: {error}"
            raise ImageFailed(message) from error
        finally:
            cancelled.set()

    def _provide(
        self, container: Container, on_line: Callable[[str], None], cancelled: threading.Event
    ) -> None:
        with self._host.client(PULL_TIMEOUT_SECONDS) as client:
            if container.force_pull or not _has(client, container.image):
                for line in _pull(client, container.image):
                    on_line(line)
                    if cancelled.is_set():
                        return


def _has(client: "APIClient", image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.inspect_image(image)  # type: ignore[no-untyped-call]
    except ImageNotFound:
        return False
    return True


def _pull(client: "APIClient", image: str) -> Iterator[str]:
    """Pull `image`; yield lines of progress, except those that only move a progress bar."""
    from docker.utils import parse_repository_tag

    repository, tag = parse_repository_tag(image)
    for step in client.pull(repository, tag or "latest", stream=True, decode=True):
        if "error" in step:
            raise DockerError(0, str(step["error"]))
        if not step.get("progressDetail"):
            yield ": ".join(filter(None, (step.get("id"), step.get("status"))))
