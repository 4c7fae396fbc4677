"""The life of one container: made, started, followed, buried; in a thread of its own."""

import contextlib
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fob import timeline
from fob.engine.runtime.docker import threads
from fob.engine.runtime.docker.host import DockerError, DockerHost, DockerUnreachable
from fob.engine.runtime.docker.output import ContainerOutput
from fob.engine.runtime.launcher import Exit
from fob.engine.runtime.task_folders import TaskFolder

if TYPE_CHECKING:
    from docker import APIClient

log = logging.getLogger(__name__)

# how long a container is not given up while Docker is away
PATIENCE_SECONDS = 30.0
CONTAINER_MARKS = ("started", "adopted")
TRY_EVERY = 0.5


class ContainerLifecycle:
    """A container by its `name`, with its task's files in `folder`.

    `begin` and `find_again` start the thread; `over(exit)` is called in it, when the container has
    ended and is no more. Marks tell of its start: `started`, or `adopted` after `find_again`.
    """

    def __init__(
        self, host: DockerHost, name: str, folder: Path, over: Callable[[Exit], None]
    ) -> None:
        self._host = host
        self._name = name
        self._output = ContainerOutput(TaskFolder(folder))
        self._over = over
        self._asked: signal.Signals | None = None

    def begin(self, recipe: dict[str, Any], held: Iterable[socket.socket]) -> None:
        """Make and start it; its ports, `held` until then, are let go of at the last moment."""
        self._output.open()
        self._in_thread(lambda: self._lives(recipe, held))

    def find_again(self) -> None:
        """Watch one that was started earlier."""
        self._output.open()
        self._in_thread(lambda: self._goes_on(CONTAINER_MARKS[1]))

    def send(self, number: int) -> None:
        """Send it a signal, SIGTERM as the one that its image wants instead; blocks."""
        self._asked = signal.Signals(number)
        try:
            with self._host.client() as client:
                self._send(client, self._asked)
        except (DockerUnreachable, DockerError) as error:
            # not there yet, or no more; if Docker is away it is sent when that is back
            log.debug("%s gets no signal: %s", self._name, error)

    def _in_thread(self, live: Callable[[], Exit]) -> None:
        def work() -> None:
            try:
                ended = live()
            except Exception as error:  # the boundary: a task whose end nobody tells stays for ever
                log.exception("%s cannot be watched", self._name)
                ended = Exit(reason=f"the container cannot be watched: {error}")
            finally:
                self._output.close()
            self._over(ended)

        threads.start(self._name, work)

    def _lives(self, recipe: dict[str, Any], held: Iterable[socket.socket]) -> Exit:
        try:
            with self._host.client() as client:
                try:
                    started = self._start(client, recipe, held)
                except Exception:
                    self._bury(client)
                    raise
                if not started:
                    self._bury(client)
                    return Exit(signal=self._asked)
        except DockerError as error:
            return Exit(reason=f"the container could not be started: {error}")
        except DockerUnreachable as error:
            where = self._host.address
            return Exit(reason=f"the Docker engine at {where} has gone: {error}")
        finally:
            for sock in held:
                sock.close()
        return self._goes_on(CONTAINER_MARKS[0])

    def _start(
        self, client: "APIClient", recipe: dict[str, Any], held: Iterable[socket.socket]
    ) -> bool:
        """False when it is not wanted any more."""
        client.create_container_from_config(recipe, self._name)  # type: ignore[no-untyped-call]
        for sock in held:
            sock.close()
        if self._asked is None:
            client.start(self._name)
        return self._asked is None

    def _goes_on(self, mark: str) -> Exit:
        """Watch it until it ends; through absences of Docker, if they are short."""
        gone_since: float | None = None
        while True:
            try:
                with self._host.client() as client:
                    status = client.inspect_container(self._name)["State"]["Status"]
                    gone_since = None
                    if status == "created":  # and the engine was killed before it could start it
                        self._bury(client)
                        return Exit(reason="the container was never started")
                    self._tell(mark)
                    mark = ""
                    return self._until_it_ends(client)
            except DockerError as error:
                return Exit(reason=f"the container is gone: {error}")
            except DockerUnreachable as error:
                gone_since = gone_since or time.monotonic()
                if time.monotonic() - gone_since > PATIENCE_SECONDS:
                    where = self._host.address
                    return Exit(reason=f"the Docker engine at {where} has gone: {error}")
            time.sleep(TRY_EVERY)

    def _until_it_ends(self, client: "APIClient") -> Exit:
        if self._asked:
            with _unless(HTTPStatus.CONFLICT):  # it has ended meanwhile
                self._send(client, self._asked)
        self._output.follow(client, self._name)
        client.wait(self._name, timeout=None)
        state = client.inspect_container(self._name)
        self._bury(client)
        return _exit(state)

    def _tell(self, mark: str) -> None:
        if mark:
            self._output.mark(timeline.now(mark).line())

    def _send(self, client: "APIClient", number: signal.Signals) -> None:
        name = number.name
        if number == signal.SIGTERM:
            config = client.inspect_container(self._name)["Config"]
            name = config.get("StopSignal") or name
        client.kill(self._name, name)

    def _bury(self, client: "APIClient") -> None:
        with _unless(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):  # it is gone, or is being removed
            client.remove_container(self._name, v=True, force=True)


@contextlib.contextmanager
def _unless(*statuses: int) -> Iterator[None]:
    """What Docker refuses with one of these is all right."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if error.status_code not in statuses:
            raise


def _exit(state: dict[str, Any]) -> Exit:
    """How it ended, from what Docker's inspection says."""
    code = int(state["State"]["ExitCode"])
    if state["State"]["OOMKilled"] and code:
        limit = state["HostConfig"]["Memory"] / 2**20
        reason = f"Container memory limit exceeded: {limit:g} MiB; it exited with status {code}"
        return Exit(code=code, reason=reason)
    if state["State"].get("Error"):
        return Exit(code=code, reason=f"the container failed: {state['State']['Error']}")
    return Exit(code=code)
