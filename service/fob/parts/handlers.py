"""Functions written for AWS Lambda, OpenWhisk, OpenFaaS, Nuclio, SeBS and OpenLambda, unchanged.

Each way is a pair of functions: the arguments of a call, and what the result means. A result that
says nothing about HTTP is answered as any function's is: `{"result": ...}`.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Way = tuple[Callable[[Any], list[Any]], Callable[[Any], Any]]

HTTP_KEYS = {"statusCode", "headers", "body"}
# media types whose bodies OpenWhisk takes for base64
BINARY = ("image/", "audio/", "video/", "application/octet-stream", "application/zip")


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of this function goes: from a `Call` to its result."""
    arguments, answer = WAYS[function.convention](function, core)
    target, wait = function.target, function.wait

    def invoke(call: Any) -> Any:
        return answer(wait(target(*arguments(call)), call))

    return invoke


class Headers(dict):  # type: ignore[type-arg]
    """Headers by name, whatever the case of its letters; listed as `Content-Type`."""

    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__({name.title(): value for name, value in headers.items()})

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.title())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(name.title())

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.title(), default)


class Thing:
    """An object with just these attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def unquoted_path(request: Any, core: Any) -> str:
    return str(core.unquote(request.path, "+"))


def query_of(request: Any, core: Any) -> dict[str, Any]:
    return dict(core.fields_of(request.query))


def joined(value: Any) -> Any:
    """A field's value as text, when it was given several times as AWS has it."""
    return ",".join(value) if isinstance(value, list) else value


# event: SeBS, OpenLambda


def event_way(_function: Any, core: Any) -> Way:
    """The whole request is the event: the body's JSON, or the fields of query and form."""

    def arguments(call: Any) -> list[Any]:
        fields = query_of(call.request, core)
        body = core.body_of(call.request) if call.request.body else {}
        return [{**fields, **body} if isinstance(body, dict) else body]

    return arguments, same


def same(result: Any) -> Any:
    return result


# AWS Lambda


class LambdaContext:
    """What AWS Lambda tells a function of its call."""

    identity = client_context = None

    def __init__(self, name: str, call: Any) -> None:
        self._deadline = call.deadline
        self.function_name = os.environ.get("FOB_NAME") or name
        self.function_version = "$LATEST"
        arn = f"arn:aws:lambda:local:000000000000:function:{self.function_name}"
        self.invoked_function_arn = arn
        self.memory_limit_in_mb = str(int(float(os.environ.get("MARATHON_APP_RESOURCE_MEM", 64))))
        self.aws_request_id = call.request.headers.get("x-request-id") or new_id()
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = os.environ.get("MESOS_TASK_ID", "local")

    def get_remaining_time_in_millis(self) -> int:
        left: float = self._deadline - time.monotonic()
        return max(0, int(min(left, 1e9) * 1000))


def new_id() -> str:
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def aws_way(function: Any, core: Any) -> Way:
    def arguments(call: Any) -> list[Any]:
        context = LambdaContext(function.name, call)
        return [aws_event(call.request, context, core), context]

    return arguments, lambda result: aws_answer(result, core)


def aws_event(request: Any, context: LambdaContext, core: Any) -> Any:
    """The body's JSON when it is just sent to `/`, as `aws lambda invoke` does; else an event of an
    HTTP API, version 2.0 (docs.aws.amazon.com/apigateway, "payload format version")."""
    if request.body and not request.query and request.path == "/" and speaks_json(request):
        return core.body_of(request)
    body, encoded = text_or_base64(request.body)
    client = request.headers.get("x-forwarded-for", "").partition(",")[0]
    http = {
        "method": request.method,
        "path": unquoted_path(request, core),
        "protocol": request.version,
        "sourceIp": client,
        "userAgent": request.headers.get("user-agent", ""),
    }
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": http["path"],
        "rawQueryString": request.query,
        "headers": dict(request.headers),
        "requestContext": {
            "http": http,
            "requestId": context.aws_request_id,
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": encoded,
    }
    if request.query:
        query = query_of(request, core)
        event["queryStringParameters"] = {name: joined(value) for name, value in query.items()}
    if "cookie" in request.headers:
        event["cookies"] = request.headers["cookie"].split("; ")
    if request.body:
        event["body"] = body
    return event


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


def aws_answer(result: Any, core: Any) -> Any:
    """A proxy answer when it has a statusCode, else a value."""
    if not isinstance(result, dict) or "statusCode" not in result:
        return result
    answers = core.part("answers")
    body = result.get("body", "")
    if not isinstance(body, (str, bytes, type(None))):
        kind = type(body).__name__
        raise answers.invalid(core, f"the body of an AWS proxy answer is a {kind}; json.dumps it")
    if result.get("isBase64Encoded"):
        body = decoded(body, core)
    headers = {**table(result, "headers", core), **table(result, "multiValueHeaders", core)}
    if result.get("cookies"):
        headers["Set-Cookie"] = [*result["cookies"]]
    status = status_of(result, 200, core)
    return answers.body_reply(status, headers, body or "", core, "application/json")


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


# OpenWhisk


def openwhisk_way(_function: Any, core: Any) -> Way:
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


def openfaas_way(_function: Any, core: Any) -> Way:
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


def classic_way(_function: Any, core: Any) -> Way:
    """Text in, text out: what it printed, and what it returned."""

    def arguments(call: Any) -> list[Any]:
        try:
            return [call.request.body.decode()]
        except UnicodeDecodeError as error:
            raise core.Refused(400, "bad_body", f"the body is not UTF-8: {error}") from None

    def answer(result: Any) -> Any:
        if result is None or isinstance(result, str):
            result = bytes(core.OUTPUT.get().kept).decode("utf-8", "replace") + (result or "")
        return core.part("answers").body_reply(200, {}, result, core)

    return arguments, answer


# Nuclio


class Response:
    """Nuclio's own: `context.Response(...)`."""

    def __init__(
        self,
        body: Any = None,
        headers: dict[str, Any] | None = None,
        content_type: str = "",
        status_code: int = 200,
    ) -> None:
        self.body, self.headers = body, headers or {}
        self.content_type, self.status_code = content_type, status_code


class Logger:
    """Nuclio's `context.logger`: lines on standard error."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        for level in ("debug", "info", "warn", "warning", "error"):
            setattr(self, level, self._at(level.upper()))
            setattr(self, level + "_with", self._at(level.upper()))

    def _at(self, level: str) -> Callable[..., None]:
        def say(message: Any, *values: Any, **fields: Any) -> None:
            text = str(message) % values if values else str(message)
            told = "".join(f" {name}={value!r}" for name, value in fields.items())
            self._log(f"{level} {text}{told}\n")

        return say


def nuclio_way(function: Any, core: Any) -> Way:
    context = Thing(
        logger=Logger(core.log),
        user_data=Thing(),
        Response=Response,
        worker_id=0,
        platform=None,
        trigger=Thing(kind="http", name="http"),
    )
    module = sys.modules.get(getattr(function.target, "__module__", ""))
    prepare = getattr(module, "init_context", None)
    if prepare:
        function.wait(prepare(context), Thing())

    def arguments(call: Any) -> list[Any]:
        return [context, nuclio_event(call.request, core)]

    return arguments, lambda result: nuclio_answer(result, core)


def nuclio_event(request: Any, core: Any) -> Thing:
    kind = request.headers.get("content-type", "")
    headers = Headers(request.headers)
    return Thing(
        body=core.body_of(request) if request.body and "json" in kind else request.body,
        content_type=kind,
        fields=query_of(request, core),
        get_header=headers.get,
        headers=headers,
        id=request.headers.get("x-request-id") or new_id(),
        method=request.method,
        path=unquoted_path(request, core),
        shard_id=0,
        size=len(request.body),
        timestamp=time.time(),
        trigger=Thing(kind="http", name="http"),
        url=request.target,
    )


def nuclio_answer(result: Any, core: Any) -> Any:
    """A Response, `(status, body)`, or the body itself."""
    if isinstance(result, tuple) and len(result) == 2 and type(result[0]) is int:
        result = Response(result[1], status_code=result[0])
    if not hasattr(result, "status_code"):
        result = Response(result)
    headers = dict(result.headers)
    if result.content_type and not isinstance(result.body, (dict, list)):
        headers.setdefault("Content-Type", result.content_type)
    return core.part("answers").body_reply(result.status_code, headers, result.body, core)


WAYS = {
    "event": event_way,
    "aws": aws_way,
    "openwhisk": openwhisk_way,
    "openfaas": openfaas_way,
    "openfaas-classic": classic_way,
    "nuclio": nuclio_way,
}
