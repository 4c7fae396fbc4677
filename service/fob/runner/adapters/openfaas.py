"""OpenFaaS: functions of its python3-http template, and of the classic one."""

from __future__ import annotations

import os

from fob.runner.adapters.common import (
    HTTP_KEYS,
    Attributes,
    Headers,
    adapter,
    dict_of,
    query_of,
    status_of,
    unquoted_path,
)
from fob.runner.core.errors import RequestError
from fob.runner.core.output import OUTPUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call


def make(function: Function) -> Invoke:
    if function.convention == "openfaas-classic":
        return adapter(function, text_of, text_response)
    context = Attributes(hostname=os.uname().nodename)
    return adapter(function, lambda call: [event_of(call), context], response)


def event_of(call: Call) -> Attributes:
    request = call.request
    return Attributes(
        body=request.body,
        headers=Headers(request.headers),
        method=request.method,
        query=query_of(request),
        path=unquoted_path(request),
    )


def response(result: Any) -> Any:
    """Status, headers and body of a dict that has any of them; any other result is the body."""
    from fob.runner.features.responses import with_body

    if isinstance(result, tuple):
        return result
    if isinstance(result, dict) and not HTTP_KEYS.isdisjoint(result):
        headers, status = dict_of(result, "headers"), status_of(result, 200)
        return with_body(status, headers, result.get("body"))
    return with_body(200, {}, result)


def text_of(call: Call) -> list[Any]:
    try:
        return [call.request.body.decode()]
    except UnicodeDecodeError as error:
        raise RequestError(400, "bad_body", f"the body is not UTF-8: {error}") from None


def text_response(result: Any) -> Any:
    """The classic template's body: what the function printed, then what it returned."""
    from fob.runner.features.responses import with_body

    if result is None or isinstance(result, str):
        output = OUTPUT.get()
        result = (output.text() if output else "") + (result or "")
    return with_body(200, {}, result)
