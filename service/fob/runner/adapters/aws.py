"""AWS Lambda: its events, its context, and its proxy responses."""

from __future__ import annotations

import os
import time

from fob.runner.adapters.common import (
    Attributes,
    Headers,
    adapter,
    decoded,
    dict_of,
    has_json,
    new_id,
    query_of,
    status_of,
    text_or_base64,
    unquoted_path,
)
from fob.runner.core.fields import body_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call

LOCAL = {"accountId": "000000000000", "apiId": "local", "stage": "$default"}


def make(function: Function) -> Invoke:
    def arguments(call: Call) -> list[Any]:
        context = Context(function.name, call)
        return [event_of(call, context), context]

    return adapter(function, arguments, response)


class Context:
    """The context object of AWS Lambda."""

    function_version = "$LATEST"
    client_context = None

    def __init__(self, name: str, call: Call) -> None:
        self._deadline = call.deadline
        self.function_name = os.environ.get("MARATHON_APP_LABEL_FOB_NAME") or name
        account = LOCAL["accountId"]
        self.invoked_function_arn = f"arn:aws:lambda:local:{account}:function:{self.function_name}"
        self.memory_limit_in_mb = str(int(float(os.environ.get("MARATHON_APP_RESOURCE_MEM", 64))))
        self.aws_request_id = call.request.headers.get("x-request-id") or new_id()
        self.log_group_name = f"/aws/lambda/{self.function_name}"
        self.log_stream_name = os.environ.get("MESOS_TASK_ID", "local")
        self.identity = Attributes(cognito_identity_id=None, cognito_identity_pool_id=None)

    def get_remaining_time_in_millis(self) -> int:
        left = self._deadline - time.monotonic()
        return max(0, int(min(left, 1e9) * 1000))


def event_of(call: Call, context: Context) -> Any:
    """The body's JSON if it is all there is, as `aws lambda invoke` sends it; or an HTTP event."""
    request = call.request
    if request.body and not request.query and request.path == "/" and has_json(request):
        return body_of(request)
    return http_event(call, context)


def http_event(call: Call, context: Context) -> dict[str, Any]:
    """An event of an HTTP API, payload version 2.0, with the fields that only REST APIs (1.0) have
    (docs.aws.amazon.com/apigateway, "payload format version")."""
    request = call.request
    path = unquoted_path(request)
    lists = {n: v if isinstance(v, list) else [v] for n, v in query_of(request).items()}
    headers = Headers(request.headers, str.lower)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query,
        "headers": headers,
        "queryStringParameters": {name: ",".join(values) for name, values in lists.items()},
        "requestContext": request_context(call, path, context),
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": request.method,
        "multiValueHeaders": Headers({k: [v] for k, v in headers.items()}, str.lower),
        "multiValueQueryStringParameters": lists,
        "pathParameters": {"proxy": path[1:]},
        "stageVariables": None,
    }
    body, event["isBase64Encoded"] = text_or_base64(request.body)
    if "cookie" in headers:
        event["cookies"] = headers["cookie"].split("; ")
    if request.body:
        event["body"] = body
    return event


def request_context(call: Call, path: str, context: Context) -> dict[str, Any]:
    request, now = call.request, time.time()
    forwarded = request.headers.get("x-forwarded-for", "").partition(",")[0]
    client = {
        "sourceIp": forwarded or call.connection.sock.getpeername()[0],
        "userAgent": request.headers.get("user-agent", ""),
    }
    target = {"path": path, "protocol": request.version}
    host = request.headers.get("host", "")
    at_ms, at = int(now * 1000), time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(now))
    return {
        **LOCAL,
        **target,
        "domainName": host,
        "domainPrefix": host.partition(".")[0],
        "http": {"method": request.method, **target, **client},
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


def response(result: Any) -> Any:
    """A proxy response if the result has a statusCode; else a value."""
    if not isinstance(result, dict) or "statusCode" not in result:
        return result
    from fob.runner.features.responses import invalid, with_body

    body = result.get("body", "")
    if not isinstance(body, (str, bytes, type(None))):
        kind = type(body).__name__
        raise invalid(f"the body of an AWS proxy response is a {kind}; json.dumps it")
    if result.get("isBase64Encoded"):
        body = decoded(body)
    headers = {**dict_of(result, "headers"), **dict_of(result, "multiValueHeaders")}
    if result.get("cookies"):
        headers["Set-Cookie"] = [*result["cookies"]]
    return with_body(status_of(result, 200), headers, body or "", "application/json")
