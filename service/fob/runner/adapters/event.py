"""Functions whose only parameter is an event, as SeBS and OpenLambda call them."""

from __future__ import annotations

from fob.runner.adapters.common import adapter, query_of
from fob.runner.core.fields import body_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call


def make(function: Function) -> Invoke:
    """The whole request is the event: the fields of the query, and the body's JSON or form."""
    return adapter(function, arguments, lambda result: result)


def arguments(call: Call) -> list[Any]:
    fields = query_of(call.request)
    body = body_of(call.request) if call.request.body else {}
    return [{**fields, **body} if isinstance(body, dict) else body]
