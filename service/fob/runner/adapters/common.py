"""What adapters share: reading requests, and the HTTP fields of results."""

from __future__ import annotations

import os
import sys
import threading

from fob.runner.core.fields import fields_of, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fob.runner.core.function import Function
    from fob.runner.core.request import Request
    from fob.runner.core.worker import Call

    Invoke = Callable[[Call], Any]

LOOPS = threading.local()
HTTP_KEYS = {"statusCode", "headers", "body"}


def adapter(
    function: Function, arguments: Callable[[Call], list[Any]], respond: Callable[[Any], Any]
) -> Invoke:
    """Return what a call does: `arguments` reads it, `respond` converts the function's result."""
    target, wait = function.target, function.wait

    def invoke(call: Call) -> Any:
        provide_loop()
        return respond(wait(target(*arguments(call)), call))

    return invoke


def provide_loop() -> None:
    """Let `asyncio.get_event_loop()` work in this thread.

    Other platforms call functions in the main thread, where it always does.
    """
    asyncio = sys.modules.get("asyncio")
    if asyncio and not hasattr(LOOPS, "loop"):
        LOOPS.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(LOOPS.loop)


class Headers(dict):  # type: ignore[type-arg]
    """Headers by name in any case; `form` makes the names under which they are listed."""

    def __init__(self, headers: dict[str, Any], form: Callable[[str], str] = str.title) -> None:
        super().__init__({form(name): value for name, value in headers.items()})
        self._form = form

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._form(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(self._form(name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(self._form(name), default)


class Attributes:
    """An object with just these attributes."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def unquoted_path(request: Request) -> str:
    return unquote(request.path, "+")


def query_of(request: Request) -> dict[str, Any]:
    return fields_of(request.query)


def new_id() -> str:
    """A random UUID, without the module uuid."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def has_json(request: Request) -> bool:
    """Whether the body is JSON by its type; `curl -d '{...}'` calls its JSON a form."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("application/x-www-form-urlencoded") or not kind:
        return request.body.lstrip()[:1] in (b"{", b"[")
    return "json" in kind.partition(";")[0]


def text_or_base64(body: bytes) -> tuple[str, bool]:
    """The body as text, or as base64 and True if it is not UTF-8."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        import binascii

        return binascii.b2a_base64(body, newline=False).decode(), True


def status_of(result: dict[str, Any], default: int) -> int:
    """The statusCode of a result, which may be text. Raises RequestError."""
    from fob.runner.features.responses import invalid

    status = result.get("statusCode", default)
    if isinstance(status, bool) or not str(status).isdecimal():
        raise invalid(f"the statusCode {status!r:.80} is not a number")
    return int(status)


def dict_of(result: dict[str, Any], key: str) -> dict[str, Any]:
    """The dict under `key` of a result, {} if there is none. Raises RequestError."""
    from fob.runner.features.responses import invalid

    found = result.get(key) or {}
    if not isinstance(found, dict):
        raise invalid(f"{key} is a {type(found).__name__}, not a dict")
    return found


def decoded(body: Any) -> bytes:
    """The bytes of a base64 body. Raises RequestError."""
    import binascii

    from fob.runner.features.responses import invalid

    try:
        return binascii.a2b_base64(body or "")
    except ValueError as error:
        raise invalid(f"isBase64Encoded, and the body is not base64: {error}") from None
