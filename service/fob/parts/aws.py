"""Functions written for AWS Lambda, unchanged: their events, their context, and their answers."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LOCAL = {"accountId": "000000000000", "apiId": "local", "stage": "$default"}


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of this function goes: from a `Call` to its result."""
    handlers = core.part("handlers")

    def arguments(call: Any) -> list[Any]:
        context = Context(function.name, call, handlers)
        return [event_of(call, context, core), context]

    way: Callable[[Any], Any] = handlers.way(
        function, arguments, lambda result: answer(result, core)
    )
    return way


class Context:
    """What AWS Lambda tells a function of its call."""

    function_version = "$LATEST"
    client_context = None

    def __init__(self, name: str, call: Any, handlers: Any) -> None:
        self._deadline = call.deadline
        self.function_name = os.environ.get("MARATHON_APP_LABEL_FOB_NAME") or name
        account = LOCAL["accountId"]
        self.invoked_function_arn = f"arn:aws:lambda:local:{account}:function:{self.function_name}"
        self.memory_limit_in_mb = str(int(float(os.environ.get("MARATHON_APP_RESOURCE_MEM", 64))))
        self.aws_request_id = call.request.headers.get("x-request-id") or handlers.new_id()
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = os.environ.get("MESOS_TASK_ID", "local")
        self.identity = handlers.Thing(cognito_identity_id=None, cognito_identity_pool_id=None)

    def get_remaining_time_in_millis(self) -> int:
        left: float = self._deadline - time.monotonic()
        return max(0, int(min(left, 1e9) * 1000))


def event_of(call: Any, context: Context, core: Any) -> Any:
    """The body's JSON when it is just sent to `/`, as `aws lambda invoke` does; else an event that
    tells of the request."""
    request = call.request
    plain = request.body and not request.query and request.path == "/"
    if plain and core.part("handlers").speaks_json(request):
        return core.body_of(request)
    return http_event(call, context, core)


def http_event(call: Any, context: Context, core: Any) -> dict[str, Any]:
    """An event of an HTTP API, payload version 2.0, with the fields that only REST APIs (1.0) have
    (docs.aws.amazon.com/apigateway, "payload format version")."""
    request, handlers = call.request, core.part("handlers")
    path, query = handlers.unquoted_path(request, core), handlers.query_of(request, core)
    several = {name: v if isinstance(v, list) else [v] for name, v in query.items()}
    headers = handlers.Headers(request.headers, str.lower)
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers,
        "queryStringParameters": {name: ",".join(values) for name, values in several.items()},
        "requestContext": request_context(call, path, context),
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method,
        "multiValueHeaders": handlers.Headers({k: [v] for k, v in headers.items()}, str.lower),
        "multiValueQueryStringParameters": several,
        "pathParameters": {"proxy": path[1:]},
        "stageVariables": None,
    }
    body, event["isBase64Encoded"] = handlers.text_or_base64(request.body)
    if "cookie" in headers:
        event["cookies"] = headers["cookie"].split("; ")
    if request.body:
        event["body"] = body
    return event


def request_context(call: Any, path: str, context: Context) -> dict[str, Any]:
    request, now = call.request, time.time()
    forwarded = request.headers.get("x-forwarded-for", "").partition(",")[0]
    client = {
        "sourceIp": forwarded or call.connection.sock.getpeername()[0],
        "userAgent": request.headers.get("user-agent", ""),
    }
    asked = {"path": path, "protocol": request.version}
    host = request.headers.get("host", "")
    at_ms, at = int(now * 1000), time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now))
    return {
        **LOCAL,
        **asked,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "http": {"method": request.method, **asked, **client},
        "httpMethod": request.method,
        "identity": client,
        "requestId": context.aws_request_id,
        "requestTime": at,
        "requestTimeEpoch": at_ms,
        "resourcePath": "/{proxy+}",
        "routeKey": "$default",
        "time": at,
        "timeEpoch": at_ms,
    }


def answer(result: Any, core: Any) -> Any:
    """A proxy answer when it has a statusCode, else a value."""
    if not isinstance(result, dict) or "statusCode" not in result:
        return result
    answers, handlers = core.part("answers"), core.part("handlers")
    body = result.get("body", "")
    if not isinstance(body, (str, bytes, type(None))):
        kind = type(body).__name__
        raise answers.invalid(core, f"the body of an AWS proxy answer is a {kind}; json.dumps it")
    if result.get("isBase64Encoded"):
        body = handlers.decoded(body, core)
    several = handlers.table(result, "multiValueHeaders", core)
    headers = {**handlers.table(result, "headers", core), **several}
    if result.get("cookies"):
        headers["Set-Cookie"] = [*result["cookies"]]
    status = handlers.status_of(result, 200, core)
    return answers.body_reply(status, headers, body or "", core, "application/json")
