"""Functions written for Nuclio, unchanged: their context, their events, and their answers."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of this function goes: from a `Call` to its result; `init_context` runs now."""
    handlers = core.part("handlers")
    thing = handlers.Thing
    context = thing(
        logger=Logger(core.log),
        user_data=thing(),
        Response=Response,
        worker_id=0,
        platform=None,
        trigger=thing(kind="http", name="http"),
    )
    module = sys.modules.get(getattr(function.target, "__module__", ""))
    prepare = getattr(module, "init_context", None)
    if prepare:
        function.wait(prepare(context), thing())

    def arguments(call: Any) -> list[Any]:
        return [context, event_of(call.request, core, handlers)]

    way: Callable[[Any], Any] = handlers.way(
        function, arguments, lambda result: answer(result, core)
    )
    return way


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


def event_of(request: Any, core: Any, handlers: Any) -> Any:
    kind = request.headers.get("content-type", "")
    headers = handlers.Headers(request.headers)
    return handlers.Thing(
        body=core.body_of(request) if request.body and "json" in kind else request.body,
        content_type=kind,
        fields=handlers.query_of(request, core),
        get_header=headers.get,
        headers=headers,
        id=request.headers.get("x-request-id") or handlers.new_id(),
        method=request.method,
        path=handlers.unquoted_path(request, core),
        shard_id=0,
        size=len(request.body),
        timestamp=time.time(),
        trigger=handlers.Thing(kind="http", name="http"),
        url=request.target,
    )


def answer(result: Any, core: Any) -> Any:
    """A Response, `(status, body)`, or the body itself."""
    if isinstance(result, tuple) and len(result) == 2 and type(result[0]) is int:
        result = Response(result[1], status_code=result[0])
    if not hasattr(result, "status_code"):
        result = Response(result)
    headers = dict(result.headers)
    if result.content_type and not isinstance(result.body, (dict, list)):
        headers.setdefault("Content-Type", result.content_type)
    return core.part("answers").body_reply(result.status_code, headers, result.body, core)
