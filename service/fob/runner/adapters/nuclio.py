"""Nuclio: its context, its events, and its responses."""

from __future__ import annotations

import sys
import time

from fob.runner.adapters.common import (
    Attributes,
    Headers,
    adapter,
    new_id,
    query_of,
    unquoted_path,
)
from fob.runner.core.fields import body_of
from fob.runner.core.output import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.request import Request


def make(function: Function) -> Invoke:
    """Make the context, and run the module's `init_context` with it."""
    context = Attributes(
        logger=Logger(),
        user_data=Attributes(),
        Response=Response,
        worker_id=0,
        platform=None,
        trigger=Attributes(kind="http", name="http"),
    )
    module = sys.modules.get(getattr(function.target, "__module__", ""))
    init_context = getattr(module, "init_context", None)
    if init_context:
        function.wait(init_context(context), Attributes())
    return adapter(function, lambda call: [context, event_of(call.request)], response)


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

    def __init__(self) -> None:
        for level in ("debug", "info", "warn", "warning", "error"):
            setattr(self, level, self._at(level.upper()))
            setattr(self, level + "_with", self._at(level.upper()))

    def _at(self, level: str) -> Callable[..., None]:
        def write(message: Any, *values: Any, **fields: Any) -> None:
            text = str(message) % values if values else str(message)
            pairs = "".join(f" {name}={value!r}" for name, value in fields.items())
            log(f"{level} {text}{pairs}\n")

        return write


def event_of(request: Request) -> Attributes:
    kind = request.headers.get("content-type", "")
    headers = Headers(request.headers)
    return Attributes(
        body=body_of(request) if request.body and "json" in kind else request.body,
        content_type=kind,
        fields=query_of(request),
        get_header=headers.get,
        headers=headers,
        id=request.headers.get("x-request-id") or new_id(),
        method=request.method,
        path=unquoted_path(request),
        shard_id=0,
        size=len(request.body),
        timestamp=time.time(),
        trigger=Attributes(kind="http", name="http"),
        url=request.target,
    )


def response(result: Any) -> Any:
    """What a Response, `(status, body)`, or a body becomes."""
    from fob.runner.features.responses import with_body

    if isinstance(result, tuple) and len(result) == 2 and type(result[0]) is int:
        result = Response(result[1], status_code=result[0])
    if not hasattr(result, "status_code"):
        result = Response(result)
    headers = dict(result.headers)
    if result.content_type and not isinstance(result.body, (dict, list)):
        headers.setdefault("Content-Type", result.content_type)
    return with_body(result.status_code, headers, result.body)
