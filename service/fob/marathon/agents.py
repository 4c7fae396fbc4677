"""Files in the sandboxes of tasks, running or ended, read from the Mesos agents they ran on.

An agent serves a sandbox under a path made of ids, an older one only under the path in its state.
On DC/OS the admin router forwards to the agents: under /agent/<id>, in old versions /slave/<id>.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from fob.errors import (
    FobError,
    MarathonError,
    MarathonRefused,
    MarathonSilent,
    NotFound,
)
from fob.marathon.access import Access
from fob.marathon.blocking_http import BlockingHttp
from fob.marathon.errors import (
    Dropped,
    MarathonUnreachable,
    TlsFailed,
    reason,
    status_of,
)
from fob.marathon.task_info import TaskInfo

AGENT_PORT = 5051
# shorter than Marathon's: an agent may be down while Marathon works
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
THREADS = 4
# seconds before an agent that did not respond, or had no sandbox of a task, is asked again
RETRY_SECONDS = 5.0
MAX_SANDBOXES = 1000

FrameworkId = Callable[[], Awaitable[str]]


class AgentFailed(MarathonError):
    """The agent did not return the file, for a reason of its own."""

    code = "agent_failed"


@dataclass(frozen=True)
class Sandbox:
    """A task's folder: the URL of its agent, and the path there."""

    agent: str
    path: str


class Agents:
    """The agents of one Marathon. `framework_id` returns Marathon's id in Mesos."""

    def __init__(self, access: Access, framework_id: FrameworkId) -> None:
        self._dcos = re.fullmatch(r"(.+)/service/[^/]+", access.url)
        access = replace(
            access,
            connect_timeout=min(access.connect_timeout, CONNECT_TIMEOUT),
            read_timeout=min(access.read_timeout, READ_TIMEOUT),
        )
        self._timeout = access.connect_timeout + 2 * access.read_timeout
        self._http = BlockingHttp(access, THREADS)
        self._pool = ThreadPoolExecutor(THREADS, "agents")
        self._framework_id = framework_id
        # by task id: its sandbox by the agent's state, if any, and until when None is believed
        self._sandboxes: dict[str, tuple[Sandbox | None, float]] = {}
        # by agent: why no request is sent to it, and until when
        self._down: dict[str, tuple[str, float]] = {}

    async def close(self) -> None:
        """End the requests in flight, the threads and the connections."""
        self._http.close()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def read(self, task: TaskInfo, name: str, offset: int, length: int) -> tuple[str, int]:
        """Read up to `length` bytes of a file in the task's sandbox, from byte `offset`.

        Returns (text, offset). Bytes that are not UTF-8, such as a part of a character, become
        surrogates (PEP 383). Offset -1 asks for the size and returns ("", size). Raises `NotFound`
        or `AgentFailed`.
        """
        params = {"offset": offset, "length": length}
        first, *others = self._agents(task)
        sandbox, until = self._sandboxes.get(task.id, (None, 0.0))
        if not sandbox:
            ids = f"/frameworks/{await self._framework_id()}/executors/{task.id}/runs/latest"
            data = await self._read(Sandbox(first, ids), name, params)
            if data or time.monotonic() < until:
                return _content(data, task, name)
            sandbox = await self._find(task, [first, *others])
        return _content(sandbox and await self._read(sandbox, name, params), task, name)

    def _agents(self, task: TaskInfo) -> list[str]:
        """Return the URLs under which the task's agent may be; raises `NotFound` when unknown."""
        if self._dcos and task.slave_id:
            return [f"{self._dcos[1]}/{kind}/{quote(task.slave_id)}" for kind in ("agent", "slave")]
        if task.host and not self._dcos:
            return [f"http://{f'[{task.host}]' if ':' in task.host else task.host}:{AGENT_PORT}"]
        raise NotFound(f"It is not known which agent ran task {task.id}")

    async def _read(self, sandbox: Sandbox, name: str, params: dict[str, Any]) -> Any:
        """Return the agent's JSON for a part of a file; None when it has no such file."""
        path = {"path": f"{sandbox.path}/{name}"}
        return await self._get(sandbox.agent, "/files/read", path | params)

    async def _find(self, task: TaskInfo, agents: list[str]) -> Sandbox | None:
        """Look up the task's sandbox in the agents' states; None when none of them has it."""
        found = None
        for agent in agents:
            state = await self._get(agent, "/state")
            if path := _directory(state, task.id):
                found = Sandbox(agent, path)
                break
        while len(self._sandboxes) >= MAX_SANDBOXES:
            del self._sandboxes[next(iter(self._sandboxes))]
        self._sandboxes[task.id] = found, time.monotonic() + RETRY_SECONDS
        return found

    async def _get(self, agent: str, path: str, params: dict[str, Any] | None = None) -> Any:
        """Return the agent's JSON; None for a 404. Raises `AgentFailed`."""
        why, until = self._down.get(agent, ("", 0.0))
        if time.monotonic() < until:
            raise AgentFailed(why)
        try:
            return await self._send(agent + path, params)
        except FobError as error:
            if status_of(error) == 404:
                return None
            if self._dcos and status_of(error):
                raise  # from the admin router, not from the agent
            failed = _failed(error, agent)
            if isinstance(error, MarathonSilent):
                self._down[agent] = failed.message, time.monotonic() + RETRY_SECONDS
            raise failed from error

    async def _send(self, url: str, params: dict[str, Any] | None) -> Any:
        try:
            job = self._pool.submit(self._http.send, "GET", url, params)
        except RuntimeError as error:
            raise MarathonUnreachable("The Marathon client is closed: fob is stopping") from error
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._timeout)
        except TimeoutError as error:
            raise MarathonSilent("No free thread, or no response in time") from error


def _content(data: Any, task: TaskInfo, name: str) -> tuple[str, int]:
    if not data:
        raise NotFound(f"Task {task.id} has no file {name}, or not any more")
    try:
        return str(data["data"] or ""), int(data["offset"])
    except (TypeError, KeyError, ValueError) as error:
        raise AgentFailed(
            f"The server asked for the files of task {task.id} is not a Mesos agent"
        ) from error


def _directory(state: Any, task_id: str) -> str:
    """Return the task's folder by the agent's state; "" when the state does not have the task."""
    for framework in _objects_at(state, "frameworks", "completed_frameworks"):
        for executor in _objects_at(framework, "executors", "completed_executors"):
            if executor.get("id") == task_id:
                return str(executor.get("directory") or "")
    return ""


def _objects_at(data: Any, *keys: str) -> Iterator[dict[str, Any]]:
    """Yield the objects in the lists at these keys."""
    for key in keys:
        listed = data.get(key) if isinstance(data, dict) else None
        yield from (item for item in listed or () if isinstance(item, dict))


def _failed(error: FobError, agent: str) -> AgentFailed:
    address = agent.partition("://")[2]
    return AgentFailed(
        f"The agent at {address}, which has the files, {_problem(error)}", details=error.details
    )


def _problem(error: FobError) -> str:
    """Return what is wrong with the agent, as the predicate of a sentence."""
    if status_of(error) in (401, 403):
        return (
            "requires credentials, and none are sent to it. Set MARATHON_API to a URL through"
            " the admin router of DC/OS: agents are then reached through it, with the token"
        )
    why = f" ({reason(error.__cause__)})" if error.__cause__ else ""
    problems: list[tuple[type[FobError], str]] = [
        (MarathonUnreachable, f"cannot be reached{why}"),
        (Dropped, f"sent no complete response{why}"),
        (MarathonSilent, "did not respond in time"),
        (TlsFailed, f"is not trusted{why}"),
        (MarathonRefused, f"refused: {error.message}"),
    ]
    failed = f"failed: {error.message}"
    return next((problem for kind, problem in problems if isinstance(error, kind)), failed)
