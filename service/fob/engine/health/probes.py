"""Single probes of tasks: an HTTP request, a TCP connection, or a command."""

import asyncio
import ssl
import string
from collections.abc import Coroutine, Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from fob.engine.definitions.checks import COMMAND, HTTPS, TCP, HealthCheck, ReadinessCheck
from fob.engine.definitions.containers import bridged, ports_of
from fob.engine.runtime import task_environment
from fob.engine.runtime.commands import CommandFailed, Commands, OnOutput
from fob.engine.runtime.docker.container_exec import ContainerExec
from fob.engine.tasks.check_results import ProbeResponse
from fob.engine.tasks.task import Task

T = TypeVar("T")

MAX_BODY_BYTES = 2**16  # of a response that is preserved
FIRST_PAUSE_SECONDS = 0.1
MAX_TAIL_BYTES = 1024  # of a command's output; its last line is the cause of a failure


class ProbeFailed(Exception):
    """The probe failed; the message says why."""


class Probes:
    """Probes tasks at `host`. Commands run with `commands`, or with `container_exec` in a
    container."""

    def __init__(self, host: str, commands: Commands, container_exec: ContainerExec) -> None:
        self._host = host
        self._commands = commands
        self._container_exec = container_exec

    async def check_health(self, task: Task, check: HealthCheck) -> bool:
        """Probe the task; return False if the response is one that the check ignores.

        Raises `ProbeFailed`, also after the check's timeout.
        """
        return await _within(check.timeout_seconds, self._check_health(task, check))

    async def check_readiness(self, task: Task, check: ReadinessCheck) -> ProbeResponse:
        """Return the response to a readiness check. Raises `ProbeFailed` without one."""
        port = task.record.ports[check.index]
        request = self._get(port, check.path, check.protocol, check.keeps_response)
        return await _within(check.timeout_seconds, request)

    async def _check_health(self, task: Task, check: HealthCheck) -> bool:
        if check.protocol == COMMAND:
            await self._run_command(task, check)
        elif check.protocol == TCP:
            await self._connect(_port(task, check))
        else:
            return await self._request(_port(task, check), check)
        return True

    async def _request(self, port: int, check: HealthCheck) -> bool:
        response = await self._get(port, check.path, check.protocol, with_body=False)
        if response.status < HTTPStatus.OK and check.ignore_1xx:
            return False
        if not HTTPStatus.OK <= response.status < HTTPStatus.BAD_REQUEST:
            raise ProbeFailed(_with_phrase(response.status))
        return True

    async def _connect(self, port: int) -> None:
        _, writer = await asyncio.open_connection(self._host, port)
        writer.transport.abort()

    async def _run_command(self, task: Task, check: HealthCheck) -> None:
        output = bytearray()

        def on_output(data: bytes) -> None:
            output.extend(data)
            del output[:-MAX_TAIL_BYTES]

        try:
            await self._run(task, check, on_output)
        except CommandFailed as failed:
            last_line = output.decode("utf-8", "replace").strip().split("\n")[-1]
            raise ProbeFailed(f"Command {failed}{last_line and f': {last_line}'}") from failed

    async def _run(self, task: Task, check: HealthCheck, on_output: OnOutput) -> None:
        if task.container:
            seconds = check.timeout_seconds
            return await self._container_exec.run(task.record.id, check.command, seconds, on_output)
        sandbox = task.folder.sandbox
        variables = task_environment.for_task(task.record, task.definition, self._host, sandbox)
        command = ["/bin/sh", "-c", check.command]
        return await self._commands.run(command, variables, sandbox, on_output)

    async def _get(self, port: int, path: str, protocol: str, with_body: bool) -> ProbeResponse:
        tls = _unverified_tls() if protocol == HTTPS else None
        reader, writer = await asyncio.open_connection(self._host, port, ssl=tls)
        try:
            # HTTP/1.0, so that the response is not chunked
            path = quote(f"/{path.removeprefix('/')}", safe=string.punctuation)
            request = f"GET {path} HTTP/1.0\r\nHost: {self._host}:{port}\r\nAccept: */*\r\n\r\n"
            writer.write(request.encode())
            return await _read(reader, with_body)
        finally:
            writer.transport.abort()


def pauses(max_seconds: float) -> Iterator[float]:
    """Yield pauses that double up to `max_seconds`: most tasks that have just started are ready
    soon."""
    pause = FIRST_PAUSE_SECONDS
    while pause < max_seconds:
        yield pause
        pause *= 2
    while True:
        yield max_seconds


async def _within(seconds: float, probe: Coroutine[Any, Any, T]) -> T:
    """Await the probe for at most `seconds`; raise its errors as `ProbeFailed`."""
    try:
        return await asyncio.wait_for(probe, seconds)
    except TimeoutError as error:
        raise ProbeFailed(f"no response within {seconds:g} seconds") from error
    except OSError as error:
        raise ProbeFailed(error.strerror or str(error)) from error
    except (ValueError, EOFError, asyncio.LimitOverrunError) as error:
        raise ProbeFailed(f"the response is not HTTP: {error}") from error


async def _read(reader: asyncio.StreamReader, with_body: bool) -> ProbeResponse:
    status = _status(await reader.readuntil(b"\n"))
    if not with_body:
        return ProbeResponse(status)
    content_type = ""
    while line := (await reader.readuntil(b"\n")).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "content-type":
            content_type = value.strip()
    body = bytearray()
    while len(body) < MAX_BODY_BYTES and (chunk := await reader.read(MAX_BODY_BYTES - len(body))):
        body += chunk
    return ProbeResponse(status, content_type, body.decode("utf-8", "replace"))


def _status(line: bytes) -> int:
    """Return the status code from the first line of a response (RFC 9112, 4)."""
    version, number = line.decode("latin-1").split(maxsplit=2)[:2]
    if not version.startswith("HTTP/"):
        raise ValueError(version)
    return int(number)


def _with_phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _port(task: Task, check: HealthCheck) -> int:
    """Return the host's port to probe; the `port` of a check may be one inside a container."""
    ports = task.record.ports
    if check.port is None:
        return ports[check.index]
    inside = [port.number for port in ports_of(task.definition)]
    bridge = bridged(task.definition) and check.port in inside
    return ports[inside.index(check.port)] if bridge else check.port


@cache
def _unverified_tls() -> ssl.SSLContext:
    """Return a context that accepts every certificate, as Marathon does: a check is about the
    health of the task, not about its identity."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
