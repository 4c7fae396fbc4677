"""Functions in the way of Google's functions framework: `hello(request)` and CloudEvents."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def make(function: Any, core: Any) -> Callable[[Any], Any]:
    """How a call of this function goes: from a `Call` to a `Reply`."""
    name = "cloudevents" if function.convention == "cloudevent" else "flask"
    try:
        found = import_module("cloudevents.http" if name == "cloudevents" else name)
    except ImportError as error:
        message = f"{function.name} takes an object of {name}, and {error}{core.wanted(error)}"
        raise core.CannotStart(core.BAD_IMPORT, message) from None
    if name == "cloudevents":
        return cloudevent(function, found, core)
    serve: Callable[[Any], Any] = core.part("wsgi").serve(application(function.target, found), core)
    return serve


def application(target: Callable[..., Any], flask: Any) -> Any:
    """A Flask application that hands every request to the function."""
    app = flask.Flask("function", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = True

    def view(path: str = "") -> Any:
        return target(flask.request)

    app.add_url_rule("/", "root", view, methods=METHODS)
    app.add_url_rule("/<path:path>", "path", view, methods=METHODS)
    return app


def cloudevent(function: Any, http: Any, core: Any) -> Callable[[Any], Any]:
    """An event for each request; what the function returns is not answered, as with Google."""

    def invoke(call: Any) -> Any:
        try:
            event = http.from_http(call.request.headers, call.request.body)
        except Exception as error:  # noqa: BLE001 - the library has many, of several parents
            message = f"the request is not a CloudEvent: {error}"
            raise core.Refused(400, "bad_body", message) from None
        function.wait(function.target(event), call)
        return core.part("answers").body_reply(200, {}, "OK", core)

    return invoke
