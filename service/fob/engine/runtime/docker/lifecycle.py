"""The lifecycle of one container: create, start, watch and remove it, in a thread of its own."""

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

UNREACHABLE_SECONDS = 30.0  # for which a container is not given up while Docker is unreachable
STARTED, ADOPTED = CONTAINER_MARKS = ("started", "adopted")
RETRY_SECONDS = 0.5


class ContainerLifecycle:
    """The container `name`, with its task's files in `folder`.

    `start` and `adopt` start the thread, which calls `on_end(exit)` when the container has ended
    and is removed. It writes the mark `started` or `adopted`.
    """

    def __init__(
        self, host: DockerHost, name: str, folder: Path, on_end: Callable[[Exit], None]
    ) -> None:
        self._host = host
        self._name = name
        self._output = ContainerOutput(TaskFolder(folder))
        self._on_end = on_end
        self._signal: signal.Signals | None = None  # the last that was to be sent

    def start(self, config: dict[str, Any], reserved_ports: Iterable[socket.socket]) -> None:
        """Create and start the container. Its ports are released just before Docker binds them."""
        self._output.open()
        self._in_thread(lambda: self._run(config, reserved_ports))

    def adopt(self) -> None:
        """Watch a container that an earlier engine started."""
        self._output.open()
        self._in_thread(lambda: self._watch(ADOPTED))

    def send_signal(self, number: int) -> None:
        """Send a signal to the container; block until Docker has. For SIGTERM an image may define
        another signal."""
        # Stored before it is sent: where this comes too early for Docker, `_start` or `_follow`
        # find it.
        self._signal = signal.Signals(number)
        try:
            with self._host.client() as client:
                self._send(client, self._signal)
        except (DockerUnreachable, DockerError) as error:
            log.debug("Cannot send a signal to %s: %s", self._name, error)

    def _in_thread(self, work: Callable[[], Exit]) -> None:
        def run() -> None:
            try:
                ended = work()
            except Exception as error:  # the boundary: without an exit, the task would never end
                log.exception("Cannot watch %s", self._name)
                ended = Exit(reason=f"the container cannot be watched: {error}")
            finally:
                self._output.close()
            self._on_end(ended)

        threads.start(self._name, run)

    def _run(self, config: dict[str, Any], reserved_ports: Iterable[socket.socket]) -> Exit:
        try:
            with self._host.client() as client:
                try:
                    started = self._start(client, config, reserved_ports)
                except Exception:
                    self._remove(client)
                    raise
                if not started:
                    self._remove(client)
                    return Exit(signal=self._signal)
        except DockerError as error:
            return Exit(reason=f"the container could not be started: {error}")
        except DockerUnreachable as error:
            return self._lost(error)
        finally:
            for sock in reserved_ports:
                sock.close()
        return self._watch(STARTED)

    def _start(
        self, client: "APIClient", config: dict[str, Any], reserved_ports: Iterable[socket.socket]
    ) -> bool:
        """Return False when a signal has arrived by now, so that it is to be removed."""
        client.create_container_from_config(config, self._name)  # type: ignore[no-untyped-call]
        for sock in reserved_ports:
            sock.close()
        if self._signal is None:
            client.start(self._name)
        # asked again: Docker refuses a signal sent between that check and the start
        return self._signal is None

    def _watch(self, mark: str) -> Exit:
        """Watch the container until it ends; survive short outages of Docker."""
        unreachable_since: float | None = None
        while True:
            try:
                with self._host.client() as client:
                    status = client.inspect_container(self._name)["State"]["Status"]
                    unreachable_since = None
                    if status == "created":  # the engine was killed before it could start it
                        self._remove(client)
                        return Exit(reason="the container was never started")
                    self._write_mark(mark)
                    mark = ""
                    return self._follow(client)
            except DockerError as error:
                return Exit(reason=f"the container does not exist any more: {error}")
            except DockerUnreachable as error:
                unreachable_since = unreachable_since or time.monotonic()
                if time.monotonic() - unreachable_since > UNREACHABLE_SECONDS:
                    return self._lost(error)
            time.sleep(RETRY_SECONDS)

    def _follow(self, client: "APIClient") -> Exit:
        """Copy its output until it ends, then remove it."""
        if self._signal:  # it may have been lost while Docker was unreachable
            with _ignoring(HTTPStatus.CONFLICT):  # the container has ended
                self._send(client, self._signal)
        self._output.follow(client, self._name)
        client.wait(self._name, timeout=None)
        state = client.inspect_container(self._name)
        self._remove(client)
        return _exit(state)

    def _lost(self, error: Exception) -> Exit:
        return Exit(reason=f"the Docker engine at {self._host.address} is unreachable: {error}")

    def _write_mark(self, mark: str) -> None:
        if mark:
            self._output.mark(timeline.now(mark).line())

    def _send(self, client: "APIClient", number: signal.Signals) -> None:
        name = number.name
        if number == signal.SIGTERM:
            config = client.inspect_container(self._name)["Config"]
            name = config.get("StopSignal") or name
        client.kill(self._name, name)

    def _remove(self, client: "APIClient") -> None:
        # it does not exist, or is being removed already
        with _ignoring(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT):
            client.remove_container(self._name, v=True, force=True)


@contextlib.contextmanager
def _ignoring(*statuses: int) -> Iterator[None]:
    """Ignore responses of Docker with these statuses."""
    from docker.errors import APIError

    try:
        yield
    except APIError as error:
        if error.status_code not in statuses:
            raise


def _exit(inspection: dict[str, Any]) -> Exit:
    """How the container ended."""
    state = inspection["State"]
    code = int(state["ExitCode"])
    if state["OOMKilled"] and code:
        limit = inspection["HostConfig"]["Memory"] / 2**20
        reason = f"Container memory limit exceeded: {limit:g} MiB; it exited with status {code}"
        return Exit(code=code, reason=reason)
    if state.get("Error"):
        return Exit(code=code, reason=f"the container failed: {state['Error']}")
    return Exit(code=code)
