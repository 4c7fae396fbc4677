"""The handlers: parse the request, call the verb, answer."""

import asyncio
import json
import re
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.iostream import StreamClosedError

from fob.dispatcher.api import forms
from fob.dispatcher.api.base import Base
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

LONGEST_WAIT = 300.0

_ANY = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_NO_PYTHON = re.compile(
    r"(multipart/(?!form-data)|image/|audio/|video/|font/|model/).*"
    r"|application/(gzip|x-gzip|x-tar|x-bzip2|x-xz|zstd|pdf|xml|wasm|java-archive|x-sh)"
)


class StatsHandler(Base):
    def get(self) -> None:
        self.write({"status": "fob up"})

    head = get


class GenHandler(Base):
    body_limit = MAX_SNIPPET_BYTES
    token_for = _ANY

    def admit(self) -> None:
        if check_kind(self.request.headers) == forms.KIND:
            self.body_limit = forms.BODY_BYTES
        super().admit()

    async def post(self) -> None:
        wanted = options.from_query(self.query())
        kind = self.request.headers.get("Content-Type", "")
        body = self.content()
        if kind.strip().lower().startswith(forms.KIND):
            body = await asyncio.to_thread(forms.source_of, kind, body)
        else:
            body = forms.source_of(kind, body)
        try:
            self.new_id = await self.functions.register(body, wanted, self.received)
        except BadRequest as error:
            raise self._explained(error) from error
        if self.gone:
            # nobody was told the id, so nobody could ever use it or remove it
            await self.functions.remove(self.new_id)
        else:
            self.write({"id": self.new_id})

    def _explained(self, error: BadRequest) -> BadRequest:
        """Say so when curl's -d, which removes line ends, is why it is no Python or no zip."""
        kind = self.request.headers.get("Content-Type", "")
        broken = "bad_archive" if archive.is_archive(bytes(self._chunks)) else "syntax_error"
        if error.code == broken and "urlencoded" in kind and b"\n" not in self._chunks:
            return BadRequest(
                f"{error.message}. curl -d removes line ends: use --data-binary",
                code=error.code,
                details=error.details,
                headers=error.headers,
            )
        return error


def check_kind(headers: HTTPHeaders) -> str:
    """The content type; raises `UnsupportedMedia` for what certainly is no Python and no zip.

    HTTPie says JSON of any file and curl calls it a form, so all else is let through.
    """
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if _NO_PYTHON.fullmatch(kind):
        raise UnsupportedMedia(
            f"{kind} is not a Python file; send the file itself as the body, or a zip of several,"
            " such as curl --data-binary @FILE or http POST URL < FILE"
        )
    encoding = headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise UnsupportedMedia(f"The body is encoded as {encoding[:50]}; send the file as it is")
    return kind


class MetaHandler(Base):
    async def get(self, id_: str) -> None:
        wait = seconds(self.query("wait").get("wait", ["0"])[-1])
        host, port = await self.functions.endpoint(id_, wait)
        self.write({"host": host, "port": port})

    head = get


def seconds(text: str) -> float:
    """A waiting time from a query."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= LONGEST_WAIT:
        raise BadRequest(
            f"wait={text[:50]!r} is not a number of seconds from 0 to {LONGEST_WAIT:g}",
            code="bad_option",
        )
    return value


class FunctionsHandler(Base):
    async def get(self) -> None:
        self.write({"functions": await self.functions.summaries()})

    head = get


class FunctionHandler(Base):
    token_for = frozenset({"PATCH", "DELETE"})

    async def get(self, id_: str) -> None:
        self.write(await self.functions.details(id_))

    head = get

    async def patch(self, id_: str) -> None:
        try:
            wanted = json.loads(self.content())
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"The body is not JSON: {error}") from error
        self.write(await self.functions.change(id_, options.from_change(wanted)))

    async def delete(self, id_: str) -> None:
        await self.functions.remove(id_)
        self.write({"id": id_})


class CodeHandler(Base):
    token_for = frozenset({"GET", "HEAD"})

    async def get(self, id_: str) -> None:
        content = await self.functions.source(id_)
        kind = "application/zip" if archive.is_archive(content) else "text/x-python"
        self.set_header("Content-Type", kind)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(content)

    head = get


class LogsHandler(Base):
    token_for = frozenset({"GET", "HEAD"})

    async def get(self, id_: str) -> None:
        wanted = logs.wanted(self.query(*logs.KEYS))
        reader = self.functions.logs(id_, wanted)
        text = await reader.start()
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(text)
        if wanted.follow and self.request.method != "HEAD":
            # it may go on for ever, so a stop does not wait for it
            self.in_flight.end(self)
            await self._follow(reader)

    head = get

    async def _follow(self, reader: logs.LogReader) -> None:
        try:
            await self.flush()
            while not (self.gone or self.in_flight.stopping.is_set()):
                if text := await reader.more():
                    self.write(text)
                    await self.flush()
        except FobError as error:
            self.write(f"==> {error.message} <==\n")
        except StreamClosedError:
            self.gone = True


class Described(Base):
    token_for = frozenset({"GET", "HEAD"})

    def initialize(self, descriptions: Descriptions, **common: Any) -> None:  # type: ignore[override]
        super().initialize(**common)
        self.descriptions = descriptions


class OpenApiHandler(Described):
    async def get(self, id_: str) -> None:
        here = f"{self.request.protocol}://{self.request.host}"
        self.write(await self.descriptions.openapi(id_, here))

    head = get


class SchemaHandler(Described):
    async def get(self, id_: str) -> None:
        self.write(await self.descriptions.schema(id_))

    head = get


class UnknownRouteHandler(Base):
    """Every path that is no route."""

    def admit(self) -> None:
        super().admit()
        raise NotFound(f"There is nothing at {self.request.path[:200]}; docs/api.md has the routes")
