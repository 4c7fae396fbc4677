"""Marathon's REST API as coroutines. Blocking HTTP does the work, in a few threads.

A GET is retried after a failed or broken connection and after 502 or 503; a change only when
Marathon refused it because the app is locked or too many deployments are in progress. A change that
may have been carried out is never retried.
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
    status_of,
)
from fob.marathon.event_stream import SILENCE_SECONDS, EventListener, Follower
from fob.marathon.task_info import TaskInfo

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 15.0
THREADS = 8
GET_PAUSES = (0.2, 0.8)
CHANGE_PAUSES = (0.25, 0.5, 1.0, 2.0)

# omits long values of `env`; only fob's engine knows it, any other Marathon sends them
BRIEF = {"omit": "long"}

TRANSIENT = (MarathonUnreachable, Dropped, Unavailable)
AWAY = (MarathonSilent, Unavailable)
NOT_CARRIED_OUT = (MarathonUnreachable, TlsFailed, MarathonRefused, Throttled, Crowded)

# Posts an app by calling its argument with it, and returns Marathon's version. Both block.
Post = Callable[[Callable[[Any], Any]], Any]


class Marathon:
    """One Marathon, at `url` (with or without a trailing slash; `user:password@` is honoured).

    It is `away` when the last request got no response or a 502 or 503: another may take long.

    Every coroutine raises a `FobError` with Marathon's own words. One exchange, including the wait
    for a free thread, takes at most `connect_timeout` plus twice `read_timeout` seconds.
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
        self._timeout = connect_timeout + 2 * read_timeout
        self._http = BlockingHttp(self._access, THREADS)
        self._pool = ThreadPoolExecutor(THREADS, "marathon")
        self._followers: list[Follower] = []
        self._framework_id = ""
        self._agents = Agents(self._access, self._get_framework_id)

    @property
    def url(self) -> str:
        """Marathon's URL without credentials, fit for logs."""
        return self._access.url

    async def close(self) -> None:
        """End the requests in flight, the threads and the connections."""
        for follower in self._followers:
            await follower.stop()
        await self._agents.close()
        self._http.close()
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    async def create(self, app_id: str, post: Post) -> dict[str, Any]:
        """Create the app of this id; return Marathon's version of it.

        Long values of `env` may be missing from the result.

        `post(send)` runs in a thread, so it may block; it runs again if Marathon was too busy. It
        calls `send` with the app (an object, or JSON as bytes) and returns the result. `send`
        raises `CancelledError` if the caller has given up by then: it must not learn of a success
        after an error. Whatever `post` raises is raised here.

        If the response leaves open whether the app was created, Marathon is asked for the app. If
        it exists, that is a success. So is "already exists", because the id is a new UUID of ours.
        If it stays open, the error's code is `marathon_unsure`: the app may still appear, and the
        caller has to remove it later.
        """
        try:
            return _object(await self._change(lambda: self._post(post)))
        except NOT_CARRIED_OUT:
            raise
        except (MarathonError, AlreadyExists) as error:
            return await self._confirm_created(app_id, error)

    async def app(self, app_id: str, whole: bool = True) -> dict[str, Any]:
        """Return the app with its tasks; unless `whole`, long values of `env` may be missing.

        Raises `AppNotFound`.
        """
        data = await self._get(_path(app_id), {} if whole else BRIEF)
        return _object(_object(data).get("app"), "id")

    async def apps(self, group: str = GROUP) -> list[dict[str, Any]]:
        """Return all apps of the group with their tasks; none when the group does not exist.

        Long values of `env` may be missing.
        """
        try:
            data = await self._get(_path(group) + "/*", BRIEF)
        except AppNotFound:
            return []
        return _list_at(data, "*", "id")

    async def tasks(self) -> list[dict[str, Any]]:
        """Return the tasks of all apps, those outside our group too."""
        return _list_at(await self._get("/v2/tasks"), "tasks", "id", "appId")

    async def deployments(self) -> list[dict[str, Any]]:
        """Return the deployments in progress."""
        return _objects(await self._get("/v2/deployments"))

    async def update(
        self, app_id: str, change: dict[str, Any], force: bool = False
    ) -> dict[str, Any]:
        """Merge `change` into the app (`{"instances": n}` scales it); return the new version.

        `force` cancels a deployment that locks the app. If the app does not exist and the change is
        complete, Marathon creates an app from it, so read the app first.
        """
        send = functools.partial(self._send, "PUT", _path(app_id), _force(force), change)
        return _object(await self._change(send))

    async def delete(self, app_id: str) -> dict[str, Any]:
        """Remove the app and its tasks. Raises `AppNotFound` when it does not exist.

        A deployment that still locks the app is cancelled: it has no purpose any more.
        """
        try:
            return _object(await self._change(lambda: self._send("DELETE", _path(app_id))))
        except Locked:
            return _object(await self._send("DELETE", _path(app_id), _force(True)))

    async def queue(self) -> list[dict[str, Any]]:
        """Return the items of `/v2/queue`: what waits to start, and why."""
        return _list_at(await self._get("/v2/queue", BRIEF), "queue")

    async def info(self) -> dict[str, Any]:
        """Return `/v2/info`: version, frameworkId, leader and configuration."""
        return _object(await self._get("/v2/info"))

    async def read_file(
        self, task: TaskInfo, name: str, offset: int, length: int
    ) -> tuple[str, int]:
        """Read a part of a file in the task's sandbox; see `Agents.read`."""
        return await self._agents.read(task, name, offset, length)

    def follow(self, listener: EventListener) -> Follower:
        """Pass Marathon's events to `listener`, on the running loop, until `stop` or `close`."""
        http = BlockingHttp(self._access, 1, read_timeout=SILENCE_SECONDS)
        loop = asyncio.get_running_loop()
        follower = Follower(http, listener, loop, self._note_outcome)
        self._followers.append(follower)
        return follower

    async def _confirm_created(self, app_id: str, error: FobError) -> dict[str, Any]:
        """Return the app if it exists, after an error that leaves open whether it was created."""
        try:
            return await self.app(app_id)
        except AppNotFound:
            # after a timeout, its own or ours, Marathon may still be working on the request
            if type(error) is MarathonSilent or status_of(error) == 503:
                raise _unsure(error, app_id, "it does not exist yet") from error
            raise error from None
        except FobError as second:
            raise _unsure(error, app_id, second.message) from error

    async def _get_framework_id(self) -> str:
        """Return Marathon's framework id in Mesos; "" before it has registered there."""
        if not self._framework_id:
            self._framework_id = str((await self.info()).get("frameworkId") or "")
        return self._framework_id

    async def _get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        return await _retry(lambda: self._send("GET", path, params), TRANSIENT, GET_PAUSES)

    async def _change(self, send: Callable[[], Awaitable[Any]]) -> Any:
        return await _retry(send, (Locked, Throttled), CHANGE_PAUSES)

    async def _send(
        self, method: str, path: str, params: dict[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Send one request, in a thread of the pool."""
        return await self._in_thread(lambda: self._exchange(method, path, params, body))

    async def _post(self, post: Post) -> Any:
        # Either the caller gives up and cancels this future, or Marathon responds in time and sets
        # it running. The two exclude each other, so no success follows an error.
        waiting: Future[None] = Future()

        def send(app: Any) -> Any:
            created = self._exchange("POST", "/v2/apps", BRIEF, app)
            if not waiting.set_running_or_notify_cancel():
                raise CancelledError
            return created

        return await self._in_thread(lambda: post(send), waiting)

    def _exchange(self, method: str, path: str, params: dict[str, Any] | None, body: Any) -> Any:
        """Send one request and note whether Marathon responded. Blocks."""
        try:
            data = self._http.send(method, self._access.url + path, params, body)
        except FobError as error:
            self._note_outcome(error)
            raise
        self._note_outcome(None)
        return data

    async def _in_thread(self, work: Callable[[], Any], waiting: Future[None] | None = None) -> Any:
        """Run `work` in the pool, within the timeout; see `_post` for `waiting`."""
        try:
            job = self._pool.submit(work)
        except RuntimeError as error:
            raise MarathonUnreachable("The Marathon client is closed: fob is stopping") from error
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            if not waiting or waiting.cancel():
                raise self._timed_out(job) from None
            return await asyncio.wrap_future(job)

    def _note_outcome(self, error: FobError | None) -> None:
        """Note how a request, or an attempt to open the event stream, has ended."""
        self.away = isinstance(error, AWAY)

    def _timed_out(self, job: Future[Any]) -> FobError:
        if job.cancelled():  # before a thread was free for it
            return Crowded(
                f"All {THREADS} connections to Marathon are waiting for it. Try again in a moment",
                headers={"Retry-After": "5"},
            )
        return MarathonSilent(
            f"Marathon at {self._access.address} did not respond within {self._timeout:g} s."
            " Try again in a moment"
        )


async def _retry(
    send: Callable[[], Awaitable[Any]],
    retried: tuple[type[FobError], ...],
    pauses: tuple[float, ...],
) -> Any:
    """Await `send()`; after each of `pauses`, with jitter, again if it raised one of `retried`."""
    for pause in pauses:
        try:
            return await send()
        except retried as error:
            log.info("%s (trying again)", error.message)
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
    return await send()


def _unsure(error: FobError, app_id: str, reason: str) -> FobError:
    return type(error)(
        f"{error.message} (it is not known whether {app_id} was created: {reason})",
        code="marathon_unsure",
        details=error.details,
        headers=error.headers,
    )


def _object(value: Any, *keys: str) -> dict[str, Any]:
    """Return `value` if it is an object with strings at these keys, else raise."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in keys):
        raise _unexpected()
    return value


def _list_at(data: Any, list_key: str, *keys: str) -> list[dict[str, Any]]:
    """Return the objects in the list at `list_key`; null, as some serialisers write it, is []."""
    if list_key not in _object(data):
        raise _unexpected()
    return _objects([] if data[list_key] is None else data[list_key], *keys)


def _objects(value: Any, *keys: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise _unexpected()
    return [_object(item, *keys) for item in value]


def _unexpected() -> FobError:
    return MarathonError(
        "The response does not have the form that Marathon's API defines;"
        " is MARATHON_API the URL of a Marathon?",
        code="marathon_unintelligible",
    )


def _path(app_id: str) -> str:
    return "/v2/apps/" + quote(app_id.strip("/"))


def _force(force: bool) -> dict[str, Any]:
    return {"force": "true"} if force else {}
