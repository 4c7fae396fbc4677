"""The files in the sandboxes of tasks, read from the Mesos agents that run them, or did.

An agent shows a sandbox under a path made of ids; an older one only under the path that its state
tells. On DC/OS the admin router leads to the agents, which at first it called slaves.
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
)
from fob.marathon.task_info import TaskInfo

PORT = 5051
# an agent may be down while its Marathon is well: nobody waits for it as long as for that
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 5.0
THREADS = 4
# one that did not answer, and a state in which there was nothing of a task, count for so long
ASK_AGAIN = 5.0
KEPT = 1000

Framework = Callable[[], Awaitable[str]]


class AgentFailed(MarathonError):
    """The agent does not give its files, for a reason of its own."""

    code = "agent_failed"


@dataclass(frozen=True)
class Sandbox:
    """A task's folder: the URL of its agent, and the path there."""

    agent: str
    path: str


class Agents:
    """The agents of one Marathon. `framework` answers its id among the frameworks of Mesos."""

    def __init__(self, access: Access, framework: Framework) -> None:
        self._dcos = re.fullmatch(r"(.+)/service/[^/]+", access.url)
        near = replace(
            access,
            connect_timeout=min(access.connect_timeout, CONNECT_TIMEOUT),
            read_timeout=min(access.read_timeout, READ_TIMEOUT),
        )
        self._patience = near.connect_timeout + 2 * near.read_timeout
        self._wire = BlockingHttp(near, THREADS)
        self._pool = ThreadPoolExecutor(THREADS, "agents")
        self._framework = framework
        self._told: dict[
            str, tuple[Sandbox | None, float]
        ] = {}  # by agents' states, and until when
        # by agent: why it is not asked just now, and until when
        self._down: dict[str, tuple[str, float]] = {}

    async def close(self) -> None:
        """End everything in flight, the threads and the connections."""
        self._wire.close()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def read(self, task: TaskInfo, name: str, offset: int, length: int) -> tuple[str, int]:
        """Up to `length` bytes of a file in the task's sandbox from byte `offset`, and that offset.

        Bytes that are no UTF-8, such as a part of a character, are surrogates (PEP 383). Offset -1
        asks for the size: the answer is ("", size). Raises `NotFound`, or `AgentFailed`.
        """
        params = {"offset": offset, "length": length}
        first, *others = self._agents(task)
        sandbox, until = self._told.get(task.id, (None, 0.0))
        if not sandbox:
            ids = f"/frameworks/{await self._framework()}/executors/{task.id}/runs/latest"
            answer = await self._read(Sandbox(first, ids), name, params)
            if answer or time.monotonic() < until:
                return _content(answer, task, name)
            sandbox = await self._look_up(task, [first, *others])
        return _content(sandbox and await self._read(sandbox, name, params), task, name)

    def _agents(self, task: TaskInfo) -> list[str]:
        """The URLs that may lead to the task's agent; raises `NotFound` when none can."""
        if self._dcos and task.slave_id:
            return [f"{self._dcos[1]}/{kind}/{quote(task.slave_id)}" for kind in ("agent", "slave")]
        if task.host and not self._dcos:
            return [f"http://{f'[{task.host}]' if ':' in task.host else task.host}:{PORT}"]
        raise NotFound(f"Nobody knows which agent ran task {task.id}")

    async def _read(self, sandbox: Sandbox, name: str, params: dict[str, Any]) -> Any:
        """The agent's answer; None where it has no such file."""
        path = {"path": f"{sandbox.path}/{name}"}
        return await self._ask(sandbox.agent, "/files/read", path | params)

    async def _look_up(self, task: TaskInfo, agents: list[str]) -> Sandbox | None:
        """The task's sandbox by the state of its agent; None where that has no such task."""
        found = None
        for agent in agents:
            state = await self._ask(agent, "/state")
            if path := _directory(state, task.id):
                found = Sandbox(agent, path)
                break
        while len(self._told) >= KEPT:
            del self._told[next(iter(self._told))]
        self._told[task.id] = found, time.monotonic() + ASK_AGAIN
        return found

    async def _ask(self, agent: str, path: str, params: dict[str, Any] | None = None) -> Any:
        """The JSON that the agent answers; None for a 404. Raises `AgentFailed`."""
        why, until = self._down.get(agent, ("", 0.0))
        if time.monotonic() < until:
            raise AgentFailed(why)
        try:
            return await self._send(agent + path, params)
        except FobError as error:
            if _status(error) == 404:
                return None
            if self._dcos and _status(error):
                raise  # the admin router's own words
            failed = _failed(error, agent)
            if isinstance(error, MarathonSilent):
                self._down[agent] = failed.message, time.monotonic() + ASK_AGAIN
            raise failed from error

    async def _send(self, url: str, params: dict[str, Any] | None) -> Any:
        try:
            job = self._pool.submit(self._wire.send, "GET", url, params)
        except RuntimeError as error:
            raise MarathonUnreachable("The Marathon client is closed: fob is stopping") from error
        try:
            return await asyncio.wait_for(asyncio.wrap_future(job), self._patience)
        except TimeoutError as error:
            raise MarathonSilent("No thread was free, or no answer came") from error


def _content(answer: Any, task: TaskInfo, name: str) -> tuple[str, int]:
    if not answer:
        raise NotFound(f"Task {task.id} has no file {name} (any more)")
    try:
        return str(answer["data"] or ""), int(answer["offset"])
    except (TypeError, KeyError, ValueError) as error:
        raise AgentFailed(f"What answers for the files of task {task.id} is no agent") from error


def _directory(state: Any, task_id: str) -> str:
    """Where the agent whose state this is has the files of the task; "" when it knows none."""
    for framework in _listed(state, "frameworks", "completed_frameworks"):
        for executor in _listed(framework, "executors", "completed_executors"):
            if executor.get("id") == task_id:
                return str(executor.get("directory") or "")
    return ""


def _listed(data: Any, *keys: str) -> Iterator[dict[str, Any]]:
    """The objects in the lists at these keys."""
    for key in keys:
        listed = data.get(key) if isinstance(data, dict) else None
        yield from (item for item in listed or () if isinstance(item, dict))


def _failed(error: FobError, agent: str) -> AgentFailed:
    return AgentFailed(
        f"The agent at {agent.partition('://')[2]}, which has the files, {_words(error)}",
        details=error.details,
    )


def _words(error: FobError) -> str:
    if _status(error) in (401, 403):
        return (
            "wants credentials, and has none of ours. With a MARATHON_API that leads through"
            " the admin router of DC/OS it is asked there, with the token"
        )
    why = f" ({reason(error.__cause__)})" if error.__cause__ else ""
    kinds: list[tuple[type[FobError], str]] = [
        (MarathonUnreachable, f"cannot be reached{why}"),
        (Dropped, f"broke off before its answer was whole{why}"),
        (MarathonSilent, "did not answer in time"),
        (TlsFailed, f"is not trusted{why}"),
        (MarathonRefused, f"refused: {error.message}"),
    ]
    return next((said for kind, said in kinds if isinstance(error, kind)), f"said: {error.message}")


def _status(error: FobError) -> int:
    return error.details.get("status", 0) if isinstance(error.details, dict) else 0
