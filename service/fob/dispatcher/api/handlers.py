"""The handlers of the JSON API: parse a request, call the verb of `Functions`, respond."""

import asyncio
import json
import re
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError

from fob.dispatcher.api import forms
from fob.dispatcher.api.base import ApiHandler
from fob.dispatcher.api.descriptions import Descriptions
from fob.errors import (
    BadRequest,
    FobError,
    NotFound,
    UnsupportedMedia,
)
from fob.functions import logs, options
from fob.source import archive
from fob.source.parsing import MAX_SNIPPET_BYTES

MAX_WAIT_SECONDS = 300.0

_ALL_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_NOT_PYTHON = re.compile(
    r"(multipart/(?!form-data)|image/|audio/|video/|font/|model/).*"
    r"|application/(gzip|x-gzip|x-tar|x-bzip2|x-xz|zstd|pdf|xml|wasm|java-archive|x-sh)"
)


class StatsHandler(ApiHandler):
    def get(self) -> None:
        self.write({"status": "fob up"})

    head = get


class GenHandler(ApiHandler):
    max_body_bytes = MAX_SNIPPET_BYTES
    token_required_for = _ALL_METHODS

    def admit(self) -> None:
        if check_content_type(self.request.headers) == forms.FORM:
            self.max_body_bytes = forms.MAX_FORM_BYTES
        super().admit()

    async def post(self) -> None:
        chosen = options.from_query(self.query())
        kind = self.request.headers.get("Content-Type", "")
        body = self.content()
        if kind.strip().lower().startswith(forms.FORM):
            body = await asyncio.to_thread(forms.source_of, kind, body)
        else:
            body = forms.source_of(kind, body)
        try:
            self.new_id = await self.functions.register(body, chosen, self.received)
        except BadRequest as error:
            raise self._with_hint(error) from error
        if self.disconnected:
            # the client never got the id, so it could neither use nor remove the function
            await self.functions.remove(self.new_id)
        else:
            self.write({"id": self.new_id})

    def _with_hint(self, error: BadRequest) -> BadRequest:
        """Add a hint when curl -d, which removes line breaks, has damaged the file."""
        kind = self.request.headers.get("Content-Type", "")
        damage = "bad_archive" if archive.is_archive(bytes(self._body)) else "syntax_error"
        if error.code == damage and "urlencoded" in kind and b"\n" not in self._body:
            return BadRequest(
                f"{error.message}. curl -d removes line breaks: use --data-binary",
                code=error.code,
                details=error.details,
                headers=error.headers,
            )
        return error


def check_content_type(headers: HTTPHeaders) -> str:
    """Return the content type; raises `UnsupportedMedia` if it cannot be Python or a zip.

    HTTPie labels any file as JSON and curl labels it as a form, so most types are accepted.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if _NOT_PYTHON.fullmatch(kind):
        raise UnsupportedMedia(
            f"{kind} is not a Python file; send the file itself as the body, or a zip of several,"
            " such as curl --data-binary @FILE or http POST URL < FILE"
        )
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(
            f"The body has Content-Encoding {encoding[:50]}; send the file without encoding"
        )
    return kind


class MetaHandler(ApiHandler):
    async def get(self, id_: str) -> None:
        wait = seconds(self.query("wait").get("wait", ["0"])[-1])
        host, port = await self.functions.endpoint(id_, wait)
        self.write({"host": host, "port": port})

    head = get


def seconds(text: str) -> float:
    """Parse `wait` of a query, in seconds; raises `BadRequest`."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= MAX_WAIT_SECONDS:
        raise BadRequest(
            f"wait={text[:50]!r} is not a number of seconds from 0 to {MAX_WAIT_SECONDS:g}",
            code="bad_option",
        )
    return value


class FunctionsHandler(ApiHandler):
    async def get(self) -> None:
        self.write({"functions": await self.functions.summaries()})

    head = get


class FunctionHandler(ApiHandler):
    token_required_for = frozenset({"PATCH", "DELETE"})

    async def get(self, id_: str) -> None:
        self.write(await self.functions.details(id_))

    head = get

    async def patch(self, id_: str) -> None:
        try:
            values = json.loads(self.content())
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not JSON: {error}") from error
        self.write(await self.functions.change(id_, options.from_change(values)))

    async def delete(self, id_: str) -> None:
        await self.functions.remove(id_)
        self.write({"id": id_})


class CodeHandler(ApiHandler):
    token_required_for = frozenset({"GET", "HEAD"})

    async def get(self, id_: str) -> None:
        content = await self.functions.source(id_)
        kind = "application/zip" if archive.is_archive(content) else "text/x-python"
        self.set_header("Content-Type", kind)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(content)

    head = get


class LogsHandler(ApiHandler):
    token_required_for = frozenset({"GET", "HEAD"})

    async def get(self, id_: str) -> None:
        query = logs.from_query(self.query(*logs.KEYS))
        reader = self.functions.logs(id_, query)
        text = await reader.start()
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(text)
        if query.follow and self.request.method != "HEAD":
            # it may never end, so a stop must not wait for it
            self.in_flight.end(self)
            await self._follow(reader)

    head = get

    async def _follow(self, reader: logs.LogReader) -> None:
        try:
            await self.flush()
            while not (self.disconnected or self.in_flight.stopping.is_set()):
                if text := await reader.more():
                    self.write(text)
                    await self.flush()
        except FobError as error:
            self.write(f"==> {error.message} <==\n")
        except StreamClosedError:
            self.disconnected = True


class DescriptionHandler(ApiHandler):
    token_required_for = frozenset({"GET", "HEAD"})

    def initialize(self, descriptions: Descriptions, **common: Any) -> None:  # type: ignore[override]
        super().initialize(**common)
        self.descriptions = descriptions


class OpenApiHandler(DescriptionHandler):
    async def get(self, id_: str) -> None:
        service_url = f"{self.request.protocol}://{self.request.host}"
        self.write(await self.descriptions.openapi(id_, service_url))

    head = get


class SchemaHandler(DescriptionHandler):
    async def get(self, id_: str) -> None:
        self.write(await self.descriptions.schema(id_))

    head = get


class UnknownRouteHandler(ApiHandler):
    """Serves every path that is not a route."""

    def admit(self) -> None:
        super().admit()
        raise NotFound(f"No route {self.request.path[:200]}; docs/api.md lists the routes")
