"""How functions describe themselves: the runner's response to `OPTIONS *`, cached."""

import asyncio
import inspect
import json
from typing import Any

from fob.dispatcher.gateway.pool import Instance, Pool
from fob.errors import CallFailed
from fob.functions import openapi
from fob.functions.instances import address
from fob.functions.service import Functions
from fob.http.client import IncompleteResponse, UpstreamConnection
from fob.http.message import Malformed, ResponseHead

# how long to wait for a function that is starting, and for its description
READY_SECONDS = 30.0
RESPONSE_SECONDS = 10.0
MAX_DESCRIPTION_BYTES = 1 << 20
MAX_CACHED = 1000

# Checked, because a description comes from user code, which can respond with anything.
KEYS = {
    "entry": (str,),
    "convention": (str,),
    "why": (str,),
    "signature": (str,),
    "doc": (str, type(None)),
    "parameters": (dict,),
    "returns": (dict, type(None)),
}

Description = dict[str, Any]


class Descriptions:
    """Requests a description once per version of an app; its methods raise `FobError`."""

    def __init__(self, functions: Functions, pool: Pool) -> None:
        self._functions = functions
        self._pool = pool
        # by function id: the release (sha256 of the file, version of the app) and its description
        self._cache: dict[str, tuple[tuple[str, str], Description]] = {}

    async def schema(self, id_: str) -> dict[str, Any]:
        """The JSON Schema of the function's arguments."""
        label, description, _ = await self._describe(id_)
        doc = {"description": description["doc"]} if description["doc"] else {}
        return {"title": label["name"] or id_} | doc | (description["parameters"] or {})

    async def openapi(self, id_: str, service_url: str) -> dict[str, Any]:
        """The function's OpenAPI document; `service_url` is how the client reaches the service."""
        label, description, instance = await self._describe(id_)
        servers = [f"http://{instance.netloc}", f"{service_url}/api/call/{id_}"]
        return openapi.document(label["name"] or id_, label["sha256"], description, servers)

    async def _describe(self, id_: str) -> tuple[dict[str, str], Description, Instance]:
        """The function's label, its description, and an instance."""
        label = await self._functions.release(id_)
        ready = await self._functions.ready(id_, READY_SECONDS)
        instance = self._pool.at(address(ready[0]))
        release = label["sha256"], label["version"]
        cached_release, description = self._cache.get(id_, (None, {}))
        if cached_release != release:
            description = await self._fetch(instance)
            self._cache[id_] = release, description
            if len(self._cache) > MAX_CACHED:
                del self._cache[next(iter(self._cache))]
        return label, description, instance

    async def _fetch(self, instance: Instance) -> Description:
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                connection = instance.acquire() or await instance.connect()
                try:
                    found = json.loads(await _OptionsRequest(connection, instance).content)
                finally:
                    instance.release(connection)
        except (OSError, IncompleteResponse, Malformed, ValueError, RecursionError) as error:
            raise _no_description(instance) from error
        if not isinstance(found, dict) or not all(type(found.get(k)) in KEYS[k] for k in KEYS):
            raise _no_description(instance, found)
        return found | {"doc": inspect.cleandoc(found["doc"] or "")}


class _OptionsRequest:
    """An `OPTIONS *` to a function; `content` is the body of the response."""

    def __init__(self, connection: UpstreamConnection, instance: Instance) -> None:
        self.content: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._received = bytearray()
        request = f"OPTIONS * HTTP/1.1\r\nHost: {instance.netloc}\r\n\r\n"
        connection.send_request(self, request.encode())

    def response_received(self, head: ResponseHead | None, piece: bytes, ended: bool) -> None:
        self._received += piece
        if len(self._received) > MAX_DESCRIPTION_BYTES:
            self.response_failed(Malformed("the description is too long"))
        elif ended and not self.content.done():
            self.content.set_result(bytes(self._received))

    def response_failed(self, error: IncompleteResponse | Malformed) -> None:
        if not self.content.done():
            self.content.set_exception(error)

    def function_writable(self, writable: bool) -> None:
        pass  # the request fits into any buffer


def _no_description(instance: Instance, found: Any = None) -> CallFailed:
    error = found.get("error") if isinstance(found, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    reason = message or "if an older fob has registered it, register the file again"
    return CallFailed(
        f"The function's instance at {instance.netloc} does not describe itself: {reason}"
    )
