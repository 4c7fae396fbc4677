"""What functions tell of themselves: their runner's answer to `OPTIONS *`."""

import asyncio
import inspect
import json
from typing import Any

from fob.dispatcher.gateway.pool import Instance, Pool
from fob.errors import CallFailed
from fob.functions import openapi
from fob.functions.service import Functions, address
from fob.http.client import Ended, UpstreamConnection
from fob.http.message import Malformed, ResponseHead

# how long one waits for a function that is starting, and for what it tells
READY_SECONDS = 30.0
ANSWER_SECONDS = 10.0
TOLD_BYTES = 1 << 20
KEPT_MOST = 1000

# what the runner tells; the function is somebody else's code, so it may tell anything
KEYS = {
    "entry": (str,),
    "convention": (str,),
    "why": (str,),
    "signature": (str,),
    "doc": (str, type(None)),
    "parameters": (dict,),
    "returns": (dict, type(None)),
}


class Descriptions:
    """Asks an instance once for each version of its app; raises `FobError`s."""

    def __init__(self, functions: Functions, pool: Pool) -> None:
        self._functions = functions
        self._pool = pool
        # by id: sha256 of the file and version of the app, and what was told
        self._kept: dict[str, tuple[tuple[str, str], dict[str, Any]]] = {}

    async def schema(self, id_: str) -> dict[str, Any]:
        """The JSON Schema of the function's arguments."""
        label, told, _ = await self._ask(id_)
        said = {"description": told["doc"]} if told["doc"] else {}
        return {"title": label["name"] or id_} | said | (told["parameters"] or {})

    async def openapi(self, id_: str, here: str) -> dict[str, Any]:
        """The function's OpenAPI document; `here` is the dispatcher's own URL."""
        label, told, instance = await self._ask(id_)
        servers = [f"http://{instance.netloc}", f"{here}/api/call/{id_}"]
        return openapi.document(label["name"] or id_, label["sha256"], told, servers)

    async def _ask(self, id_: str) -> tuple[dict[str, str], dict[str, Any], Instance]:
        """The function's label, what it tells, and where it answers."""
        label = await self._functions.label(id_)
        ready = await self._functions.ready(id_, READY_SECONDS)
        instance = self._pool.at(address(ready[0]))
        release = label["sha256"], label["version"]
        kept, told = self._kept.get(id_, (None, {}))
        if kept != release:
            told = await self._fetch(instance)
            self._kept[id_] = release, told
            if len(self._kept) > KEPT_MOST:
                del self._kept[next(iter(self._kept))]
        return label, told, instance

    async def _fetch(self, instance: Instance) -> dict[str, Any]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                connection = instance.take() or await instance.connect()
                try:
                    told = json.loads(await _Response(connection, instance).content)
                finally:
                    instance.give(connection)
        except (OSError, Ended, Malformed, ValueError, RecursionError) as error:
            raise _silent(instance) from error
        if not isinstance(told, dict) or not all(type(told.get(k)) in KEYS[k] for k in KEYS):
            raise _silent(instance, told)
        return told | {"doc": inspect.cleandoc(told["doc"] or "")}


class _Response:
    """A function's answer to `OPTIONS *`, taken whole."""

    def __init__(self, connection: UpstreamConnection, instance: Instance) -> None:
        self.content: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._taken = bytearray()
        request = f"OPTIONS * HTTP/1.1\r\nHost: {instance.netloc}\r\n\r\n"
        connection.ask(self, request.encode())

    def answered(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        self._taken += piece
        if len(self._taken) > TOLD_BYTES:
            self.failed(Malformed("it tells too much"))
        elif ended and not self.content.done():
            self.content.set_result(bytes(self._taken))

    def failed(self, error: Ended | Malformed) -> None:
        if not self.content.done():
            self.content.set_exception(error)

    def function_takes(self, more: bool) -> None:
        pass  # the question is short


def _silent(instance: Instance, told: Any = None) -> CallFailed:
    error = told.get("error") if isinstance(told, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    why = message or "if an older fob has registered it, register the file anew"
    return CallFailed(
        f"The function's instance at {instance.netloc} does not say what it takes: {why}"
    )
