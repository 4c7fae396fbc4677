"""One look at a task: its answer to an HTTP request, a connection, or what a command says."""

import asyncio
import ssl
import string
from collections.abc import Coroutine, Iterator
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

from fob.engine.definitions.checks import (
    COMMAND,
    HTTPS,
    TCP,
    HealthCheck,
    ReadinessCheck,
)
from fob.engine.definitions.containers import bridged, ports_of
from fob.engine.runtime import task_environment
from fob.engine.runtime.commands import CommandFailed, Commands, OnOutput
from fob.engine.runtime.docker.container_exec import ContainerExec
from fob.engine.tasks.check_results import ProbeResponse
from fob.engine.tasks.task import Task

T = TypeVar("T")

BODY_BYTES = 2**16  # of an answer that is kept
FIRST_PAUSE_SECONDS = 0.1
TAIL_BYTES = 1024  # of a command's output, in the cause of its failure


class ProbeFailed(Exception):
    """Why the task is not well, in a sentence."""


class Probes:
    """Looks at tasks on `host`; commands are run with `commands`, or `inside` a container."""

    def __init__(self, host: str, commands: Commands, inside: ContainerExec) -> None:
        self._host = host
        self._commands = commands
        self._inside = inside

    async def look(self, task: Task, check: HealthCheck) -> bool:
        """True when the task is well; False when its answer says nothing.

        Raises `ProbeFailed`, also when the check takes too long.
        """
        return await _bounded(self._look(task, check), check.timeout_seconds)

    async def ask(self, task: Task, check: ReadinessCheck) -> ProbeResponse:
        """The answer to a readiness check. Raises `ProbeFailed` when there is none."""
        port = task.record.ports[check.index]
        page = self._get(port, check.path, check.protocol, check.keeps_response)
        return await _bounded(page, check.timeout_seconds)

    async def _look(self, task: Task, check: HealthCheck) -> bool:
        if check.protocol == COMMAND:
            await self._command(task, check)
        elif check.protocol == TCP:
            await self._connect(_port(task, check))
        else:
            return await self._get_page(_port(task, check), check)
        return True

    async def _get_page(self, port: int, check: HealthCheck) -> bool:
        answer = await self._get(port, check.path, check.protocol, with_body=False)
        if answer.status < HTTPStatus.OK and check.ignore_1xx:
            return False
        if not HTTPStatus.OK <= answer.status < HTTPStatus.BAD_REQUEST:
            raise ProbeFailed(_named(answer.status))
        return True

    async def _connect(self, port: int) -> None:
        _, writer = await asyncio.open_connection(self._host, port)
        writer.transport.abort()

    async def _command(self, task: Task, check: HealthCheck) -> None:
        said = bytearray()

        def hear(data: bytes) -> None:
            said.extend(data)
            del said[:-TAIL_BYTES]

        try:
            await self._run(task, check, hear)
        except CommandFailed as failed:
            words = said.decode("utf-8", "replace").strip().split("\n")[-1]
            raise ProbeFailed(f"Command {failed}{words and f': {words}'}") from failed

    async def _run(self, task: Task, check: HealthCheck, say: OnOutput) -> None:
        if task.container:
            seconds = check.timeout_seconds
            return await self._inside.run(task.record.id, check.command, seconds, say)
        sandbox = task.folder.sandbox
        variables = task_environment.for_task(task.record, task.definition, self._host, sandbox)
        command = ["/bin/sh", "-c", check.command]
        return await self._commands.run(command, variables, sandbox, say)

    async def _get(self, port: int, path: str, protocol: str, with_body: bool) -> ProbeResponse:
        tls = _any_certificate() if protocol == HTTPS else None
        reader, writer = await asyncio.open_connection(self._host, port, ssl=tls)
        try:
            # 1.0, which has no chunks
            path = quote(f"/{path.removeprefix('/')}", safe=string.punctuation)
            asked = f"GET {path} HTTP/1.0\r\nHost: {self._host}:{port}\r\nAccept: */*\r\n\r\n"
            writer.write(asked.encode())
            return await _read(reader, with_body)
        finally:
            writer.transport.abort()


def pauses(most_seconds: float) -> Iterator[float]:
    """Pauses that grow up to `most_seconds`: what has just begun is soon there or never."""
    pause = FIRST_PAUSE_SECONDS
    while pause < most_seconds:
        yield pause
        pause *= 2
    while True:
        yield most_seconds


async def _bounded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    try:
        return await asyncio.wait_for(work, seconds)
    except TimeoutError as error:
        raise ProbeFailed(f"no answer within {seconds:g} seconds") from error
    except OSError as error:
        raise ProbeFailed(error.strerror or str(error)) from error
    except (ValueError, EOFError, asyncio.LimitOverrunError) as error:
        raise ProbeFailed(f"its answer is not HTTP: {error}") from error


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
    while len(body) < BODY_BYTES and (chunk := await reader.read(BODY_BYTES - len(body))):
        body += chunk
    return ProbeResponse(status, content_type, body.decode("utf-8", "replace"))


def _status(line: bytes) -> int:
    """The number in the first line of an answer (RFC 9112, 4)."""
    version, number = line.decode("latin-1").split(maxsplit=2)[:2]
    if not version.startswith("HTTP/"):
        raise ValueError(version)
    return int(number)


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _port(task: Task, check: HealthCheck) -> int:
    """Where to look: a port of the host; `port` of a check may be one inside a container."""
    ports = task.record.ports
    if check.port is None:
        return ports[check.index]
    inside = [asked.number for asked in ports_of(task.definition)]
    bridge = bridged(task.definition) and check.port in inside
    return ports[inside.index(check.port)] if bridge else check.port


@cache
def _any_certificate() -> ssl.SSLContext:
    """As Marathon has it: a check asks whether the task is well, not who it is."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
