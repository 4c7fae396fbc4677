"""Marathon's REST API as coroutines. `requests` does the talking, in a few threads of its own.

What is repeated: a GET that found no connection, lost it, or was answered 502 or 503; and a change
that Marathon refused because the app is locked, or because too many deployments are under way. A
change is never repeated on a guess.
"""

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from fob.contract import GROUP
from fob.errors import (
    AppNotFound,
    FobError,
    MarathonError,
    MarathonRefused,
    MarathonSilent,
)
from fob.marathon.access import access
from fob.marathon.agents import Agents
from fob.marathon.blocking_http import BlockingHttp
from fob.marathon.errors import (
    AlreadyExists,
    Crowded,
    Dropped,
    Locked,
    MarathonUnreachable,
    Throttled,
    TlsFailed,
    Unavailable,
)
from fob.marathon.event_stream import SILENCE, EventListener, Follower
from fob.marathon.task_info import TaskInfo

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
THREADS = 8
GET_PAUSES = (0.2, 0.8)
CHANGE_PAUSES = (0.25, 0.5, 1.0, 2.0)

# a Marathon that does not know it, which is every one but fob's engine, gives what is long too
BRIEF = {"omit": "long"}

PASSING = (MarathonUnreachable, Dropped, Unavailable)
AWAY = (MarathonSilent, Unavailable)
NOT_DONE = (MarathonUnreachable, TlsFailed, MarathonRefused, Throttled, Crowded)

# posts an app with the function it is given, which returns Marathon's app; both block
Post = Callable[[Callable[[Any], Any]], Any]


class Marathon:
    """One Marathon, at `url` (with or without a trailing slash, `user:password@` honoured).

    It is `away` when it did not answer the last time, or has no leader: asking again may take long.

    Every coroutine raises a `FobError` with Marathon's own words, within `connect_timeout` plus
    twice `read_timeout` seconds for one exchange, waiting for a free thread included.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        user: str = "",
        password: str = "",
        ca: str = "",
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        self._access = access(
            url,
            token=token,
            user=user,
            password=password,
            ca=ca,
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
        )
        self.away = False
        self._patience = connect_timeout + 2 * read_timeout
        self._wire = BlockingHttp(self._access, THREADS)
        self._pool = ThreadPoolExecutor(THREADS, "marathon")
        self._followers: list[Follower] = []
        self._framework_id = ""
        self._agents = Agents(self._access, self._framework)

    @property
    def url(self) -> str:
        """Marathon's URL, without credentials: fit for a log."""
        return self._access.url

    async def close(self) -> None:
        """End everything in flight, the threads and the connections."""
        for follower in self._followers:
            await follower.stop()
        await self._agents.close()
        self._wire.close()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def create(self, app_id: str, post: Post) -> dict[str, Any]:
        """Create the app of this id; return it as Marathon has it, perhaps without the long values
        of its `env`.

        `post(send)` runs in a thread, so it may block, and is called again when Marathon was too
        busy. It calls `send` with the app (a dict, or its JSON as bytes) and returns the result.
        `send` raises `CancelledError` if the caller has given up by then: it must not learn of a
        success after an error. Whatever `post` raises is raised here.

        If the response leaves open whether the app was created, Marathon is asked for the id. An
        app that exists is a success, and so is "already exists", because the id is a fresh uuid of
        ours. If that does not settle it, the error's code is `marathon_unsure`: the app may still
        appear, and the caller removes it later.
        """
        try:
            return _object(await self._change(lambda: self._post(post)))
        except NOT_DONE:
            raise
        except (MarathonError, AlreadyExists) as error:
            return await self._settle(app_id, error)

    async def app(self, app_id: str, whole: bool = True) -> dict[str, Any]:
        """The app with its tasks; the long values of its `env` may be missing unless `whole`.

        Raises `AppNotFound`.
        """
        answer = await self._get(_path(app_id), {} if whole else BRIEF)
        return _object(_object(answer).get("app"), "id")

    async def apps(self, group: str = GROUP) -> list[dict[str, Any]]:
        """All apps of the group with their tasks; none when there is no such group.

        The long values of their `env` may be missing.
        """
        try:
            answer = _object(await self._get(_path(group) + "/*", BRIEF))
        except AppNotFound:
            return []
        return _listed(answer, "*", "id")

    async def tasks(self) -> list[dict[str, Any]]:
        """The tasks of all apps there are."""
        return _listed(await self._get("/v2/tasks"), "tasks", "id", "appId")

    async def deployments(self) -> list[dict[str, Any]]:
        """The changes under way."""
        return _objects(await self._get("/v2/deployments"))

    async def update(
        self, app_id: str, change: dict[str, Any], force: bool = False
    ) -> dict[str, Any]:
        """Merge `change` into the app (`{"instances": n}` scales); return its version.

        `force` overrules a deployment that holds the app. Marathon would make an app that does not
        exist from a change that is complete, so read it first.
        """
        send = functools.partial(self._send, "PUT", _path(app_id), _force(force), change)
        return _object(await self._change(send))

    async def delete(self, app_id: str) -> dict[str, Any]:
        """Remove the app and its tasks. Raises `AppNotFound` when it is gone already.

        A deployment that still holds the app is overruled: it has no purpose any more.
        """
        try:
            return _object(await self._change(lambda: self._send("DELETE", _path(app_id))))
        except Locked:
            return _object(await self._send("DELETE", _path(app_id), _force(True)))

    async def queue(self) -> list[dict[str, Any]]:
        """What waits to start, and why: the items of `/v2/queue`."""
        return _listed(await self._get("/v2/queue", BRIEF), "queue")

    async def info(self) -> dict[str, Any]:
        """Marathon's `/v2/info`: version, frameworkId, leader and configuration."""
        return _object(await self._get("/v2/info"))

    async def read_file(
        self, task: TaskInfo, name: str, offset: int, length: int
    ) -> tuple[str, int]:
        """What `Agents.read` does."""
        return await self._agents.read(task, name, offset, length)

    def follow(self, listener: EventListener) -> Follower:
        """Tell `listener`, on the running loop, of Marathon's events until `stop` or `close`."""
        wire = BlockingHttp(self._access, 1, read_timeout=SILENCE)
        follower = Follower(wire, listener, asyncio.get_running_loop(), self._heard)
        self._followers.append(follower)
        return follower

    async def _settle(self, app_id: str, error: FobError) -> dict[str, Any]:
        """Find out whether the app was made, after an answer that does not say."""
        try:
            return await self.app(app_id)
        except AppNotFound:
            # a Marathon that never answered, or gave up waiting for itself, may be at work still
            if type(error) is MarathonSilent or _status(error) == 503:
                raise _unsure(error, app_id, "it is not there yet") from error
            raise error from None
        except FobError as second:
            raise _unsure(error, app_id, second.message) from error

    async def _framework(self) -> str:
        """Marathon's id among the frameworks of Mesos; "" while Mesos does not know it yet."""
        if not self._framework_id:
            self._framework_id = str((await self.info()).get("frameworkId") or "")
        return self._framework_id

    async def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return await _repeat(lambda: self._send("GET", path, params), PASSING, GET_PAUSES)

    async def _change(self, send: Callable[[], Awaitable[Any]]) -> Any:
        return await _repeat(send, (Locked, Throttled), CHANGE_PAUSES)

    async def _send(
        self, method: str, path: str, params: dict[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send one request, in a thread of the pool; `path` may be a whole URL."""
        return await self._in_thread(lambda: self._ask(method, path, params, body))

    async def _post(self, post: Post) -> Any:
        # Cancelled when the caller gives up, running once Marathon has responded in time. Only one
        # of the two can happen, so a caller that was told of an error is not contradicted.
        waiting: Future[None] = Future()

        def send(app: Any) -> Any:
            made = self._ask("POST", "/v2/apps", BRIEF, app)
            if not waiting.set_running_or_notify_cancel():
                raise CancelledError
            return made

        return await self._in_thread(lambda: post(send), waiting)

    def _ask(self, method: str, path: str, params: dict[str, Any] | None, body: Any) -> Any:
        """Send one request and note whether Marathon responded; blocks."""
        url = path if "://" in path else self._access.url + path
        try:
            answer = self._wire.send(method, url, params, body)
        except FobError as error:
            self._heard(error)
            raise
        self._heard(None)
        return answer

    async def _in_thread(self, work: Callable[[], Any], waiting: Future[None] | None = None) -> Any:
        """Run `work` in the pool, until it takes too long; see `_post` for `waiting`."""
        try:
            job = self._pool.submit(work)
        except RuntimeError as error:
            raise MarathonUnreachable("The Marathon client is closed: fob is stopping") from error
        try:
            async with asyncio.timeout(self._patience):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            if not waiting or waiting.cancel():
                raise self._out_of_time(job) from None
            return await asyncio.wrap_future(job)

    def _heard(self, error: FobError | None) -> None:
        """Note how a request, or an attempt to follow the events, has ended."""
        self.away = isinstance(error, AWAY)

    def _out_of_time(self, job: Future[Any]) -> FobError:
        if job.cancelled():
            return Crowded(
                f"All {THREADS} connections to Marathon are waiting for it. Try again in a moment",
                headers={"Retry-After": "5"},
            )
        return MarathonSilent(
            f"Marathon at {self._access.place} did not answer within {self._patience:g} s."
            " Try again in a moment"
        )


async def _repeat(
    send: Callable[[], Awaitable[Any]],
    passing: tuple[type[FobError], ...],
    pauses: tuple[float, ...],
) -> Any:
    """Send, and again after each pause while it fails with one of `passing`."""
    for pause in pauses:
        try:
            return await send()
        except passing as error:
            log.info("%s (trying again)", error.message)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
    return await send()


def _unsure(error: FobError, app_id: str, reason: str) -> FobError:
    return type(error)(
        f"{error.message} (whether {app_id} was created is not known: {reason})",
        code="marathon_unsure",
        details=error.details,
        headers=error.headers,
    )


def _status(error: FobError) -> int:
    return error.details.get("status", 0) if isinstance(error.details, dict) else 0


def _object(value: Any, *ids: str) -> dict[str, Any]:
    """The value, an object with texts at these keys."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ids):
        raise _odd()
    return value


def _listed(answer: Any, key: str, *ids: str) -> list[dict[str, Any]]:
    """The objects of the list at `key`; a null, which some serialisers make of none, is none."""
    if key not in _object(answer):
        raise _odd()
    return _objects([] if answer[key] is None else answer[key], *ids)


def _objects(value: Any, *ids: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _odd()
    return [_object(item, *ids) for item in value]


def _odd() -> FobError:
    return MarathonError(
        "Marathon's answer has another shape than Marathon's API gives it;"
        " is MARATHON_API the URL of a Marathon?",
        code="marathon_unintelligible",
    )


def _path(app_id: str) -> str:
    return "/v2/apps/" + quote(app_id.strip("/"))


def _force(force: bool) -> dict[str, Any]:
    return {"force": "true"} if force else {}
