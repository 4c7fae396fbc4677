"""OpenWhisk's web actions."""

from __future__ import annotations

from fob.runner.adapters.common import (
    HTTP_KEYS,
    adapter,
    decoded,
    dict_of,
    has_json,
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
    from fob.runner.core.request import Request
    from fob.runner.core.worker import Call

# media types of bodies that OpenWhisk decodes from base64
BINARY = ("image/", "audio/", "video/", "application/octet-stream", "application/zip")


def make(function: Function) -> Invoke:
    """The argument is a dict of all fields, with what a web action learns of the request."""
    return adapter(function, arguments, response)


def arguments(call: Call) -> list[Any]:
    request = call.request
    fields = query_of(request)
    if request.body:
        fields.update(body_fields(request))
    fields["__ow_method"] = request.method.lower()
    fields["__ow_headers"] = dict(request.headers)
    fields["__ow_path"] = unquoted_path(request).rstrip("/")
    fields["__ow_query"] = request.query
    return [fields]


def body_fields(request: Request) -> dict[str, Any]:
    """The fields of a JSON object or form; any other body is `__ow_body`."""
    kind = request.headers.get("content-type", "").lower()
    if has_json(request) or kind.startswith("application/x-www-form-urlencoded"):
        body = body_of(request)
        if isinstance(body, dict):
            return body
    return {"__ow_body": text_or_base64(request.body)[0]}


def response(result: Any) -> Any:
    """A web action's response if the result has statusCode, headers or body; else a value."""
    from fob.runner.features.responses import with_body

    if isinstance(result, dict) and isinstance(result.get("error"), dict):
        result = result["error"] if "statusCode" in result["error"] else result
    if not isinstance(result, dict) or HTTP_KEYS.isdisjoint(result):
        return result
    body = result.get("body")
    headers = dict_of(result, "headers")
    kind = next((str(v) for name, v in headers.items() if name.lower() == "content-type"), "")
    if isinstance(body, str) and kind.lower().startswith(BINARY):
        body = decoded(body)
    status = status_of(result, 204 if body in (None, "") else 200)
    return with_body(status, headers, body, "text/html; charset=utf-8")
