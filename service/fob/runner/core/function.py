"""The function: what a request calls, and how its result becomes a response."""

from __future__ import annotations

import sys
import threading

from fob.runner.core.encoding import JSON_TYPES, encoded
from fob.runner.core.entry import find
from fob.runner.core.errors import RequestError
from fob.runner.core.failures import failure
from fob.runner.core.feature import feature
from fob.runner.core.fields import body_of, fields_of
from fob.runner.core.names import APPLICATION_NAMES
from fob.runner.core.output import OUTPUT, Output
from fob.runner.core.response import JSON_TYPE
from fob.runner.core.signature import Signature
from fob.runner.core.snippet import SNIPPET_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fob.runner.core.connection import Connection
    from fob.runner.core.request import Request
    from fob.runner.core.response import Response
    from fob.runner.core.snippet import Snippet
    from fob.runner.core.worker import Call

# What functions written for other platforms are called, and what their parameters are called.
# features/conventions.py, which decides, is loaded for these only.
PLATFORM_NAMES = ("lambda_handler", "handle", *APPLICATION_NAMES)
PLATFORM_PARAMETERS = frozenset(
    ("event", "context", "args", "params", "dict", "req", "request", "scope", "start_response")
)
LOOP_LOCK = threading.Lock()  # two calls may be the first to await something


class Function:
    """What a request calls. `invoke` returns the result of a `Call`; adapters replace it."""

    def __init__(self, snippet: Snippet, entry: str) -> None:
        """Import the snippet and find the function in it; a script is run by each call instead."""
        self.snippet = snippet
        self.stdout = sys.stdout
        self.loop: Any = None  # features/loop.py, once a result has to be awaited
        self.cors: Any = None  # makes headers for pages of other origins: features/cors.py
        self.streams = False  # reads bodies itself, as they arrive
        self.close: Callable[[], object] = lambda: None  # called when the server has stopped
        self.invoke: Callable[[Call], Any] = self._result
        self.name = ""
        self.target: Any = self._run_script
        if entry or not snippet.is_script():
            names = snippet.run("snippet")
            self.name, self.target = find(snippet, names, entry) or (self.name, self.target)
        if isinstance(self.target, type):
            self.target = feature("conventions").instance(self.target)
        self.signature = Signature(self.name or SNIPPET_FILE, self.target)
        self.convention, self.why = "script", "the file defines no public function"
        if self.name:
            self._recognise()
        del snippet.statements

    def __str__(self) -> str:
        return f"{self.signature} ({self.convention}: {self.why})"

    def _recognise(self) -> None:
        """Find out which convention the function follows; most follow none but fob's own."""
        self.convention, self.why = "plain", "its parameters are its arguments"
        bare = (name.strip("_") for name in self.signature.positional)
        known = self.name in PLATFORM_NAMES or PLATFORM_PARAMETERS.intersection(bare)
        if known or b"functions_framework" in self.snippet.source:
            self.convention, self.why, adapter = feature("conventions").recognise(
                self.name, self.signature.positional, self.snippet.statements
            )
            self.signature.why = self.why
            if adapter:
                self.invoke = feature(adapter).make(self)

    def _run_script(self) -> None:
        self.snippet.run("__main__")

    def respond(self, call: Call) -> Response | None:
        """Run a call; return the response, or None if it has been sent.

        Whatever the snippet raises ends here.
        """
        sys.stdout = self.stdout  # the last call may have replaced it
        output = Output()
        OUTPUT.set(output)
        try:
            result = self.invoke(call)
            if type(result) not in JSON_TYPES:
                response: Response | None = feature("responses").send(result, call)
                if response or call.begun:
                    output.flush()
                    return response
            status, content = 200, {"result": result}
        except RequestError as error:
            status, content = error.status, error.content
        except BaseException as error:  # noqa: BLE001 - a call's boundary: SystemExit is an error
            status, content = 500, failure(error)
        if output.printed:
            output.add_to(content)
        if call.begun:
            call.connection.abort()
            return None
        try:
            return status, JSON_TYPE, encoded(content)
        except Exception as error:  # noqa: BLE001 - the result's own methods run in here
            result = content.pop("result", None)
            content.update(feature("tracebacks").not_json(result, error))
            return 500, JSON_TYPE, encoded(content)

    def respond_without_call(self, connection: Connection, request: Request) -> Response | None:
        """The response to a question about the function; None for a request that calls it."""
        if request.target == "*":
            return self._description()
        if self.cors:
            connection.extra_headers, preflight = self.cors(request)
            return (204, b"", b"") if preflight else None
        return None

    def _description(self) -> Response:
        """The response to `OPTIONS *`; of plain functions with schemas of parameters and result."""
        try:
            about = feature("conventions").describe(self)
            if self.invoke == self._result:
                about["parameters"], about["returns"] = self.signature.schemas()
            return 200, JSON_TYPE, encoded(about)
        except Exception as error:  # noqa: BLE001 - the snippet's own classes run in here
            return 500, JSON_TYPE, encoded(failure(error))

    def _result(self, call: Call) -> Any:
        request = call.request
        if request.query or request.body or self.signature.required:
            fields = fields_of(request.query) if request.query else {}
            if request.body:
                self._add_body(fields, request)
            positional, named = self.signature.bind(fields)
            result = self.target(*positional, **named)
        else:
            result = self.target()
        return self.wait(result, call)

    def wait(self, result: Any, call: Any) -> Any:
        """Return `result`, awaited if it is awaitable; `call` gets a way to cancel it."""
        if type(result) in JSON_TYPES or not hasattr(type(result), "__await__"):
            return result
        if self.loop is None:
            with LOOP_LOCK:
                self.loop = self.loop or feature("loop").Loop()
        return self.loop.wait(result, call)

    def _add_body(self, fields: dict[str, Any], request: Request) -> None:
        """Add the fields of a JSON object or form; any other value is the one missing argument."""
        if self.signature.wants_raw(request):
            fields[self.signature.raw] = request.body
            return
        body = body_of(request)
        if isinstance(body, dict):
            whole = self.signature.whole(body)
            fields.update({whole: body} if whole else body)
            return
        missing = [name for name in self.signature.required if name not in fields]
        if len(missing) != 1:
            fault = "the body must be a JSON object that names the arguments"
            raise self.signature.error(fault, [fault])
        fields[missing[0]] = body
