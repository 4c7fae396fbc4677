"""Google's functions framework: `hello(request)` with Flask, and CloudEvents."""

from __future__ import annotations

from importlib import import_module

from fob.contract import BAD_IMPORT
from fob.runner.core.errors import CannotStart, RequestError
from fob.runner.core.failures import import_hint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fob.runner.adapters.common import Invoke
    from fob.runner.core.function import Function
    from fob.runner.core.worker import Call

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def make(function: Function) -> Invoke:
    """Raises CannotStart if the package that the function needs is not installed."""
    name = "cloudevents" if function.convention == "cloudevent" else "flask"
    try:
        found = import_module("cloudevents.http" if name == "cloudevents" else name)
    except ImportError as error:
        message = f"{function.name} takes an object of {name}, and {error}{import_hint(error)}"
        raise CannotStart(BAD_IMPORT, message) from None
    if name == "cloudevents":
        return cloudevent(function, found)
    from fob.runner.adapters.wsgi import serve

    return serve(application(function.target, found))


def application(target: Callable[..., Any], flask: Any) -> Any:
    """A Flask application that passes every request to the function."""
    app = flask.Flask("function", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def view(path: str = "") -> Any:
        return target(flask.request)

    app.add_url_rule("/", "root", view, methods=METHODS)
    app.add_url_rule("/<path:path>", "path", view, methods=METHODS)
    return app


def cloudevent(function: Function, http: Any) -> Invoke:
    """Pass each request as an event; as with Google, what the function returns is not sent."""
    from fob.runner.features.responses import with_body

    def invoke(call: Call) -> Any:
        try:
            event = http.from_http(call.request.headers, call.request.body)
        except Exception as error:  # noqa: BLE001 - the library's errors have no common parent
            message = f"the request is not a CloudEvent: {error}"
            raise RequestError(400, "bad_body", message) from None
        function.wait(function.target(event), call)
        return with_body(200, {}, "OK")

    return invoke
