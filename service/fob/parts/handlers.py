"""Functions written for OpenWhisk, OpenFaaS, SeBS and OpenLambda, unchanged; and what the parts for
other platforms share.

A result that says nothing about HTTP is answered as any function's is: `{"result": ...}`.
"""

from __future__ import annotations

import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Way = tuple[Callable[[Any], list[Any]], Callable[[Any], Any]]

LOOPS = threading.local()
HTTP_KEYS = {"statusCode", "headers", "body"}
# media types whose bodies OpenWhisk takes for base64
BINARY = ("image/", "audio/", "video/", "application/octet-stream", "application/zip")


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of this function goes: from a `Call` to its result."""
    return way(function, *WAYS[function.convention](core))


def way(
    function: Any, arguments: Callable[[Any], list[Any]], answer: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    """The way by the arguments of a `Call`, and by what a result means."""
    target, wait = function.target, function.wait

    def invoke(call: Any) -> Any:
        give_loop()
        return answer(wait(target(*arguments(call)), call))

    return invoke


def give_loop() -> None:
    """Let `asyncio.get_event_loop()` work in this thread: the other platforms call functions in the
    main thread, where there always is one."""
    asyncio = sys.modules.get("asyncio")
    if asyncio and not hasattr(LOOPS, "loop"):
        LOOPS.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(LOOPS.loop)


class Headers(dict):  # type: ignore[type-arg]
    """Headers by name, whatever the case of its letters; listed as `form` makes it."""

    def __init__(self, headers: dict[str, Any], form: Callable[[str], str] = str.title) -> None:
        super().__init__({form(name): value for name, value in headers.items()})
        self._form = form

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._form(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(self._form(name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._form(name), default)


class Thing:
    """An object with just these attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def unquoted_path(request: Any, core: Any) -> str:
    return str(core.unquote(request.path, "+"))


def query_of(request: Any, core: Any) -> dict[str, Any]:
    return dict(core.fields_of(request.query))


def new_id() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def speaks_json(request: Any) -> bool:
    """Whether the body is JSON by its type; `curl -d '{...}'` calls its JSON a form."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("application/x-www-form-urlencoded") or not kind:
        return bool(request.body.lstrip()[:1] in (b"{", b"["))
    return "json" in kind.partition(";")[0]


def text_or_base64(body: bytes) -> tuple[str, bool]:
    """The body as text, or what is not text as base64, and whether it is that."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        import binascii

        return binascii.b2a_base64(body, newline=False).decode(), True


def status_of(result: dict[str, Any], default: int, core: Any) -> int:
    """The statusCode, which may be text."""
    status = result.get("statusCode", default)
    if isinstance(status, bool) or not str(status).isdecimal():
        raise core.part("answers").invalid(core, f"the statusCode {status!r:.80} is not a number")
    return int(status)


def table(result: dict[str, Any], key: str, core: Any) -> dict[str, Any]:
    found = result.get(key) or {}
    if not isinstance(found, dict):
        raise core.part("answers").invalid(core, f"{key} is a {type(found).__name__}, not a dict")
    return found


def decoded(body: Any, core: Any) -> bytes:
    import binascii

    try:
        return binascii.a2b_base64(body or "")
    except ValueError as error:
        message = f"isBase64Encoded, and the body is not base64: {error}"
        raise core.part("answers").invalid(core, message) from None


# event: SeBS, OpenLambda


def event_way(core: Any) -> Way:
    """The whole request is the event: the body's JSON, or the fields of query and form."""

    def arguments(call: Any) -> list[Any]:
        fields = query_of(call.request, core)
        body = core.body_of(call.request) if call.request.body else {}
        return [{**fields, **body} if isinstance(body, dict) else body]

    return arguments, same


def same(result: Any) -> Any:
    return result


# OpenWhisk


def openwhisk_way(core: Any) -> Way:
    """A dict of all fields, and what a web action is told of the request."""

    def arguments(call: Any) -> list[Any]:
        request = call.request
        fields = query_of(request, core)
        if request.body:
            fields.update(openwhisk_body(request, core))
        fields["__ow_method"] = request.method.lower()
        fields["__ow_headers"] = dict(request.headers)
        fields["__ow_path"] = unquoted_path(request, core).rstrip("/")
        fields["__ow_query"] = request.query
        return [fields]

    return arguments, lambda result: openwhisk_answer(result, core)


def openwhisk_body(request: Any, core: Any) -> dict[str, Any]:
    """The fields of a JSON object or form; any other body is `__ow_body`."""
    kind = request.headers.get("content-type", "").lower()
    if speaks_json(request) or kind.startswith("application/x-www-form-urlencoded"):
        body = core.body_of(request)
        if isinstance(body, dict):
            return body
    return {"__ow_body": text_or_base64(request.body)[0]}


def openwhisk_answer(result: Any, core: Any) -> Any:
    """A web action's answer when it has statusCode, headers or body, else a value."""
    if isinstance(result, dict) and isinstance(result.get("error"), dict):
        result = result["error"] if "statusCode" in result["error"] else result
    if not isinstance(result, dict) or HTTP_KEYS.isdisjoint(result):
        return result
    body = result.get("body")
    headers = table(result, "headers", core)
    kind = next((str(v) for name, v in headers.items() if name.lower() == "content-type"), "")
    if isinstance(body, str) and kind.lower().startswith(BINARY):
        body = decoded(body, core)
    status = status_of(result, 204 if body in (None, "") else 200, core)
    return core.part("answers").body_reply(status, headers, body, core, "text/html; charset=utf-8")


# OpenFaaS


def openfaas_way(core: Any) -> Way:
    context = Thing(hostname=os.uname().nodename)

    def arguments(call: Any) -> list[Any]:
        request = call.request
        event = Thing(
            body=request.body,
            headers=Headers(request.headers),
            method=request.method,
            query=query_of(request, core),
            path=unquoted_path(request, core),
        )
        return [event, context]

    return arguments, lambda result: openfaas_answer(result, core)


def openfaas_answer(result: Any, core: Any) -> Any:
    """Status, headers and body of a dict that has any of them; else the result is the body."""
    if isinstance(result, tuple):
        return result
    reply = core.part("answers").body_reply
    if isinstance(result, dict) and not HTTP_KEYS.isdisjoint(result):
        headers, status = table(result, "headers", core), status_of(result, 200, core)
        return reply(status, headers, result.get("body"), core)
    return reply(200, {}, result, core)


def classic_way(core: Any) -> Way:
    """Text in, text out: what it printed, and what it returned."""

    def arguments(call: Any) -> list[Any]:
        try:
            return [call.request.body.decode()]
        except UnicodeDecodeError as error:
            raise core.Refused(400, "bad_body", f"the body is not UTF-8: {error}") from None

    def answer(result: Any) -> Any:
        if result is None or isinstance(result, str):
            result = core.OUTPUT.get().text() + (result or "")
        return core.part("answers").body_reply(200, {}, result, core)

    return arguments, answer


WAYS = {
    "event": event_way,
    "openwhisk": openwhisk_way,
    "openfaas": openfaas_way,
    "openfaas-classic": classic_way,
}
