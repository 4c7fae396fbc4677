"""The runner: one Python snippet, served over HTTP/1.1. Standard library only, one file.

Started by an engine, or by hand: `PORT0=8080 FOB_SNIPPET="$(cat f.py)" python3 -I -S runner.py`.
It is compiled anew at every cold start, so whatever only some calls need is imported by them.
docs/runner.md tells what a snippet may be and what its callers get.
"""

from __future__ import annotations

# signal, socket and json themselves cost 15 ms, for their enums and regular expressions
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import contextvars
import errno
import io
import os
import select
import sys
import threading
import time
from _json import encode_basestring_ascii, make_encoder

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 3 ms
    from collections.abc import Callable, Iterator
    from typing import Any

    Answer = tuple[int, bytes, bytes]  # status, header lines, body

HEAD_LIMIT = 65536  # bytes of a request's line and headers
KNOWN_LIMIT = 2048  # bytes of a head that is remembered
KNOWN_HEADS = 64  # remembered at once
BODY_LIMIT = 16 << 20  # bytes of a request's body
OUTPUT_LIMIT = 1 << 20  # bytes of a call's output kept for its answer
FIELD_LIMIT = 1000  # fields of a query string or form
TICK = 0.005  # seconds a call may keep the others waiting before another thread serves them
SLOW = 0.001  # seconds after which a call counts as one that had better run beside others
QUICK = 0.0001  # seconds of a call whose answer may be held, to be sent along with others
SHORT = 4096  # bytes of an answer that may be held
BATCH = 32  # events of one poll
STOP_GRACE = 1.0  # seconds a call that ran out of time has to end by itself
SEND_GRACE = 30.0  # seconds a client may take to read a part of its answer
LINGER = 0.1  # seconds in which what is on its way may come when the runner ends
LAST_WORDS = 5.0  # seconds clients have to read their answers when the runner ends

ENTRIES = ("callme", "call_me", "handler", "lambda_handler", "main", "handle")
APPLICATIONS = ("app", "application")  # asked for first: their routes may have any of those names
# parameters of functions written for other platforms; parts/conventions.py knows which
CLAIMED = ("lambda_handler", "handle", *APPLICATIONS)
HINTS = {"event", "context", "args", "params", "dict", "req", "request", "scope", "start_response"}
FILE = "snippet.py"  # the snippet's name in tracebacks
FOLDER = ""  # where the files of a snippet are that has several
PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST
LOCK = threading.Lock()  # for what calls make once
# results that JSON may hold; a tuple is one unless it is a whole answer
VALUES = frozenset((dict, list, str, int, float, bool, type(None)))
JSON = b"Content-Type: application/json\r\n"

ENDING = (signal.SIGTERM, signal.SIGINT)
BAD_START, BAD_IMPORT, NO_CALLABLE, STUCK, BROKEN = 2, 3, 4, 5, 70

# what only some functions need: sources by name, here when this file travels inside an app
PARTS: dict[str, str] = {}


def part(name: str) -> Any:
    """The module `parts/<name>.py`, compiled when it is first asked for."""
    full = "fob_" + name
    if full not in sys.modules:
        file = f"parts/{name}.py"
        module = type(sys)(full)
        exec(compile(PARTS[name], file, "exec", dont_inherit=True), module.__dict__)
        sys.modules.setdefault(full, module)  # only now: no other thread may get half of it
    return sys.modules[full]


def parts_beside() -> dict[str, str]:
    """The sources of all parts, when this file is run where it lies."""
    folder = os.path.join(os.path.dirname(__file__), "parts")
    sources = {}
    for name in os.listdir(folder):
        if name.endswith(".py"):
            with open(os.path.join(folder, name), encoding="utf-8") as file:
                sources[name[:-3]] = file.read()
    return sources


class Refused(Exception):
    """A request that gets an error for its answer."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.reply = {"error": {"code": code, "message": message, "details": details}}


class Expired(BaseException):
    """Raised inside a call that ran out of time."""


class CannotStart(Exception):
    """The runner ends with `code`; the message says why."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def write_all(fd: int, data: bytes | bytearray) -> None:
    """Write to a log; one that is full, closed or gone must not fail the call."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except OSError:
        pass


def log(text: str) -> None:
    write_all(2, text.encode("utf-8", "backslashreplace"))


# What a call prints


class Output:
    """What one call printed: kept for its answer, and sent on to the log line by line."""

    printed = truncated = False  # most calls print nothing, so until they do it has nothing else

    def write(self, data: bytes) -> None:
        if not self.printed:  # setdefault, for another thread of the call's may print just now
            self.kept: bytearray = vars(self).setdefault("kept", bytearray())
            self.line: bytearray = vars(self).setdefault("line", bytearray())
            self.printed = True
        room = OUTPUT_LIMIT - len(self.kept)
        self.kept += data[:room]
        self.truncated = self.truncated or len(data) > room
        self.line += data
        if b"\n" in data or len(self.line) > 8192:
            self.flush()

    def flush(self) -> None:
        if self.printed and self.line:
            line, self.line = self.line, bytearray()
            write_all(1, line)

    def text(self) -> str:
        return self.kept.decode("utf-8", "replace") if self.printed else ""

    def add_to(self, reply: dict[str, Any]) -> None:
        self.flush()
        if text := self.text():
            reply["output"] = text
        if self.truncated:
            reply["output_truncated"] = True


# a context variable, so that it follows a call into coroutines as well as into its thread
OUTPUT: contextvars.ContextVar[Output | None] = contextvars.ContextVar("output", default=None)


class Stdout(io.BufferedIOBase):
    """The bytes under `sys.stdout`: they go to the call that prints them, else to the log."""

    name = "<stdout>"

    def write(self, data: Any) -> int:
        output = OUTPUT.get()
        if output is None:
            write_all(1, data)
        else:
            output.write(bytes(data))
        return len(data)

    def fileno(self) -> int:
        return 1

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: later calls print too."""


def make_stdout() -> io.TextIOWrapper:
    return io.TextIOWrapper(
        Stdout(), encoding="utf-8", errors="backslashreplace", write_through=True
    )


# Arguments

TRUTH = dict.fromkeys(("true", "1", "yes", "on"), True)
TRUTH.update(dict.fromkeys(("false", "0", "no", "off"), False))
MISSING = object()
POSITIONAL_ONLY, PLAIN, VAR_POSITIONAL, KEYWORD_ONLY, VAR_KEYWORD = range(5)  # as in inspect


def to_int(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and "_" not in value:
        return int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        return int(value)
    raise ValueError


def to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    number = float(value)
    if not abs(number) < float("inf"):  # JSON has no such numbers, nor NaN
        raise ValueError
    return number


def to_bool(value: Any) -> bool:
    return TRUTH[str(value).lower()]


def to_str(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError


CONVERT: dict[Any, Callable[[Any], Any]]
CONVERT = {int: to_int, float: to_float, bool: to_bool, str: to_str}
# `from __future__ import annotations` leaves only the names
CONVERT.update({kind.__name__: convert for kind, convert in list(CONVERT.items())})


class Parameter:
    """One parameter of a function; `kind` is one of inspect's numbers."""

    def __init__(self, name: str, kind: int, default: Any, annotation: Any) -> None:
        self.name, self.kind, self.default, self.annotation = name, kind, default, annotation
        # the core's own conversion, and one by parts/types.py
        self.known = CONVERT.get(annotation) if isinstance(annotation, (type, str)) else None
        self.typed: Callable[[Any], Any] | None = None
        self.takes_objects = False  # as parts/types.py found out

    def __str__(self) -> str:
        text = {VAR_POSITIONAL: "*", VAR_KEYWORD: "**"}.get(self.kind, "") + self.name
        if self.annotation is not MISSING:
            text += ": " + written(self.annotation)
        if self.default is not MISSING:
            text += f" = {self.default!r:.50}"
        return text

    def convert(self, value: Any) -> Any:
        """`value` as the annotation wants it; ValueError says, as after its name, what it is
        when it is not of that kind."""
        if value is None and self.default is None:
            return value
        if self.typed:
            return self.typed(value)
        if self.known is None:
            return value
        try:
            return self.known(value)
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"={value!r:.80} is not {written(self.annotation)}") from None


def written(annotation: Any) -> str:
    """An annotation as the snippet has it."""
    text = str(annotation)
    if "[" in text or "|" in text:
        return text.replace("typing.", "").replace("snippet.", "")
    return str(getattr(annotation, "__name__", text))


def parameters_of(function: Any) -> list[Parameter]:
    """The parameters a caller may name; for a decorated function those of the one inside."""
    plain = type(unquote)
    while type(function) is plain and "__wrapped__" in vars(function):
        function = vars(function)["__wrapped__"]
    if type(function) is plain:
        return list(_from_code(function))
    import inspect  # 10 ms, so only for classes, methods, partials and their like

    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some built-ins have none
        return [Parameter("arguments", VAR_KEYWORD, MISSING, MISSING)]
    blank = inspect.Parameter.empty

    def known(value: Any) -> Any:
        return MISSING if value is blank else value

    return [Parameter(p.name, int(p.kind), known(p.default), known(p.annotation)) for p in found]


def _from_code(function: Any) -> Iterator[Parameter]:
    code = function.__code__
    names, count, only = code.co_varnames, code.co_argcount, code.co_kwonlyargcount
    values = function.__defaults__ or ()
    last = names[count - len(values) : count]
    defaults = dict(zip(last, values))  # noqa: B905 - strict= came with Python 3.10
    defaults.update(function.__kwdefaults__ or {})
    kinds = [POSITIONAL_ONLY] * code.co_posonlyargcount
    kinds += [PLAIN] * (count - len(kinds)) + [KEYWORD_ONLY] * only
    kinds += [VAR_POSITIONAL] * bool(code.co_flags & 4) + [VAR_KEYWORD] * bool(code.co_flags & 8)
    for name, kind in zip(names, kinds):  # noqa: B905 - as above
        note = function.__annotations__.get(name, MISSING)
        yield Parameter(name, kind, defaults.get(name, MISSING), note)


class Signature:
    """What a function takes, and how a request's fields become its arguments."""

    def __init__(self, name: str, function: Any) -> None:
        self.name, self.function = name, function
        self.parameters = parameters_of(function)
        named = [p for p in self.parameters if p.kind not in (VAR_POSITIONAL, VAR_KEYWORD)]
        self.named = {p.name: p for p in named}
        self.positional = [p.name for p in named if p.kind != KEYWORD_ONLY]
        self.required = [p.name for p in named if p.default is MISSING]
        self.leading = [p for p in named if p.kind == POSITIONAL_ONLY]
        self.others = next((p for p in self.parameters if p.kind == VAR_KEYWORD), None)
        taken = [*named, self.others] if self.others else named
        self.unread = [p for p in taken if p.annotation is not MISSING and not p.known]
        raw = [p.name for p in named if p.annotation in (bytes, "bytes")]
        if len(named) == 1 and named[0].name == "body" and named[0].annotation is MISSING:
            raw = ["body"]
        self.raw = raw[0] if len(raw) == 1 else ""  # the parameter that gets the body as it comes
        self.why = "its parameters are its arguments"

    def takes_raw(self, request: Request) -> bool:
        """True when the body is an argument as it is; beside others it may name them instead."""
        if not self.raw or len(self.named) == 1:
            return bool(self.raw)
        kind = request.headers.get("content-type", "").lower()
        return not kind.startswith(("application/json", "application/x-www-form-urlencoded"))

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def bind(self, fields: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments from `fields`; Refused names every fault."""
        if self.unread:
            self._read_types()
        faults: list[str] = []
        values = {}
        for name, value in fields.items():
            parameter = self.named.get(name, self.others)
            if parameter is None:
                faults.append(f"{name} is not an argument")
                continue
            try:
                values[name] = parameter.convert(value)
            except ValueError as error:
                faults += [name + fault for fault in getattr(error, "faults", [str(error)])]
        faults += [f"{name} is missing" for name in self.required if name not in fields]
        if faults:
            raise self.refusal("; ".join(faults), faults)
        # the positional-only ones are no keywords
        return [values.pop(p.name, p.default) for p in self.leading], values

    def whole(self, body: dict[str, Any]) -> str:
        """The name of the only parameter when it takes an object, and `body`, which does not name
        it, is that; else ""."""
        names = list(self.named)
        if len(names) != 1 or self.others or not body or names[0] in body:
            return ""
        if self.unread:
            self._read_types()
        return names[0] if self.named[names[0]].takes_objects else ""

    def _read_types(self) -> None:
        """Have the annotations read that the core does not know."""
        reader = self._reader()
        for parameter in self.unread:
            parameter.takes_objects = dict in reader.read(parameter.annotation).takes
            parameter.typed = reader.converter(parameter.annotation, "")
        self.unread = []  # only now: no other thread may miss one

    def _reader(self) -> Any:
        module = sys.modules.get(getattr(self.function, "__module__", "")) or sys
        makers = part("values").makers(CONVERT)
        return part("types").Reader(vars(module), makers, part("shapes"))

    def schemas(self) -> Any:
        """JSON Schemas of the arguments and of the result, None when nothing is said of that."""
        encode = part("values").encode
        return part("schema").schemas(self.function, self.raw, self._reader(), encode)

    def refusal(self, message: str, faults: list[str]) -> Refused:
        details = {"signature": str(self), "why": self.why, "faults": faults}
        return Refused(400, "bad_arguments", f"{message}; the function is {self}", details)


def fields_of(text: str) -> dict[str, Any]:
    """The fields of a query string or form; one given several times becomes a list."""
    fields: dict[str, Any] = {}
    pairs = text.split("&", FIELD_LIMIT)
    if len(pairs) > FIELD_LIMIT:
        raise Refused(400, "bad_arguments", f"more than {FIELD_LIMIT} fields")
    read = unquote if "%" in text or "+" in text else str
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            fields.setdefault(read(name), []).append(read(value))
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}


def unquote(text: str, plus: str = " ") -> str:
    text = text.replace("+", plus)
    if "%" not in text:
        return text
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise Refused(400, "bad_arguments", f"{text[:80]!r} is not UTF-8") from None


def body_of(request: Request) -> Any:
    """The body as a form's fields or a JSON value; Refused when it is neither."""
    return part("bodies").read(request, CORE)


# Results


def no_json(value: Any) -> Any:
    raise TypeError


# what json.dumps makes anew for every value, but for its search for circles
ENCODE: Any = make_encoder(
    None, no_json, encode_basestring_ascii, None, ": ", ", ", False, False, False
)


def encoded(value: Any) -> bytes:
    """`value` as JSON; what that has no type for is written as parts/values.py says."""
    try:
        return "".join(ENCODE(value, 0)).encode("ascii")
    except (TypeError, ValueError, RecursionError):  # the careful one can, or says why not
        import json

        encoder = json.JSONEncoder(allow_nan=False, default=part("values").encode)
        return encoder.encode(value).encode("ascii")


# The snippet


class Snippet:
    """The user's file as a module; tracebacks ask it for their source lines."""

    def __init__(self, source: bytes, file: str = FILE, package: str = "") -> None:
        self.source, self.file, self.package = source, file, package
        self.code = compile(source, file, "exec", dont_inherit=True)
        self._statements: list[Any] | None = None

    @property
    def statements(self) -> list[Any]:
        """Those that run when the file does. They are not read until somebody asks, for what has
        a known name needs no more than its code."""
        if self._statements is None:
            tree: Any = compile(self.source, self.file, "exec", PARSE_ONLY, dont_inherit=True)
            self._statements = list(statements(tree.body))
        return self._statements

    @statements.deleter
    def statements(self) -> None:
        self._statements = None

    def get_source(self, _name: str) -> str:
        """The text, as linecache asks of a module's `__loader__`."""
        import importlib.util

        return importlib.util.decode_source(self.source)

    def run(self, name: str) -> dict[str, Any]:
        """Run the file as the module `name`; what it defines."""
        module = type(sys)(name)
        module.__file__, module.__package__ = self.file, self.package
        module.__loader__ = self  # type: ignore[assignment]
        if name != "__main__":  # pickle and dataclasses look it up; __main__ is the runner's
            sys.modules[name] = module
        if name != "__main__" and not self.package:  # so that `from . import storage` works
            module.__package__, module.__path__ = name, [FOLDER] if FOLDER else []
        exec(self.code, module.__dict__)
        return module.__dict__

    def is_script(self) -> bool:
        """True when nothing in the text can be a function to call."""
        if any(getattr(made, "co_name", "") in ENTRIES for made in self.code.co_consts):
            return False
        functions, others = bound_names(self.statements)
        return not functions and not others.intersection((*ENTRIES, *APPLICATIONS, "*"))


def bound_names(statements: list[Any]) -> tuple[list[str], set[str]]:
    """Public functions a file defines at its top, and all other names it binds there."""
    functions, others = [], set()
    for node in statements:
        kind = type(node).__name__
        if kind in ("FunctionDef", "AsyncFunctionDef"):
            functions.append(node.name)
        elif kind == "ClassDef":
            others.add(node.name)
        elif kind in ("Import", "ImportFrom"):
            others.update(alias.asname or alias.name for alias in node.names)
        elif kind in ("Assign", "AnnAssign"):
            targets = node.targets if kind == "Assign" else [node.target]
            others.update(target.id for target in targets if hasattr(target, "id"))
    public = dict.fromkeys(name for name in functions if not name.startswith("_"))
    return list(public), others


def statements(body: list[Any]) -> Iterator[Any]:
    """The statements that run when the file does, those under if, try, with and loops too."""
    for node in body:
        yield node
        if type(node).__name__ not in ("FunctionDef", "AsyncFunctionDef", "ClassDef"):
            for block in ("body", "orelse", "handlers", "finalbody", "cases"):
                yield from statements(getattr(node, block, []))


def find(snippet: Snippet, names: dict[str, Any], entry: str) -> tuple[str, Any] | None:
    """Name and value of what to call, None for a script; CannotStart when it is not clear."""
    if entry:
        found = part("conventions").resolve(names, entry)
        if callable(found):
            return entry, found
        message = f"FOB_ENTRY is {entry!r}, and the snippet has no such function; it has "
        raise CannotStart(NO_CALLABLE, message + (", ".join(public_in(snippet, names)) or "none"))
    for name in (*APPLICATIONS, *ENTRIES):
        found = names.get(name)
        if callable(found) and (name not in APPLICATIONS or is_application(name, found)):
            return name, found
    public = public_in(snippet, names)
    if len(public) > 1 and b"functions_framework" in snippet.source:
        public = part("conventions").marked(snippet.statements, public) or public
    if len(public) > 1:
        message = "which one is it? The snippet defines " + ", ".join(public)
        message += f"; name one of them {' or '.join(ENTRIES)}, or give the entry"
        raise CannotStart(NO_CALLABLE, message)
    return (public[0], names[public[0]]) if public else None


def public_in(snippet: Snippet, names: dict[str, Any]) -> list[str]:
    """The public functions that a snippet defines, and that are still what their names stand
    for."""
    return [name for name in bound_names(snippet.statements)[0] if callable(names.get(name))]


def is_application(name: str, found: Any) -> bool:
    """True for an ASGI or WSGI application, or a class of them."""
    of_class = isinstance(found, type)
    taken = Signature(name, found.__call__ if of_class else found).positional
    return bool(part("conventions").is_application(taken[of_class:]))


class Function:
    """What a request calls, and how: `invoke` makes a result of a `Call`."""

    def __init__(self, snippet: Snippet, entry: str) -> None:
        """Import the snippet and find the function in it; a script is run by each call."""
        self.snippet = snippet
        self.stdout = sys.stdout
        self.loop: Any = None  # the event loop, once there is something to await
        self.cors: Any = None  # headers for web pages of others: parts/cors.py
        self.streams = False  # whether it reads the body by itself, while that comes
        self.close: Callable[[], object] = lambda: None  # what is to be done at the end
        self.invoke: Callable[[Call], Any] = self._result
        self.name, self.target = "", self._run_script
        if entry or not snippet.is_script():
            names = snippet.run("snippet")
            self.name, self.target = find(snippet, names, entry) or (self.name, self.target)
        if isinstance(self.target, type):
            self.target = part("conventions").instance(self.target)
        self.signature = Signature(self.name or FILE, self.target)
        self.convention, self.why = "script", "the file defines no public function"
        if self.name:
            self._recognise()
        del snippet.statements

    def __str__(self) -> str:
        return f"{self.signature} ({self.convention}: {self.why})"

    def _recognise(self) -> None:
        """Find out whose convention the function follows; most follow none but fob's own."""
        self.convention, self.why = "plain", "its parameters are its arguments"
        hints = HINTS.intersection(name.strip("_") for name in self.signature.positional)
        if hints or self.name in CLAIMED or b"functions_framework" in self.snippet.source:
            self.convention, self.why, home = part("conventions").recognise(
                self.name, self.signature.positional, self.snippet.statements
            )
            self.signature.why = self.why
            if home:
                self.invoke = part(home).make(self, CORE)

    def _run_script(self) -> None:
        self.snippet.run("__main__")

    def answer(self, call: Call) -> Answer | None:
        """Call it; what to send the caller, None when that has been sent. Whatever the snippet
        raises ends here."""
        sys.stdout = self.stdout  # the last call may have left another
        output = Output()
        OUTPUT.set(output)
        try:
            result = self.invoke(call)
            if type(result) not in VALUES:
                made: Answer | None = part("answers").send(result, call, CORE)
                if made or call.begun:
                    output.flush()
                    return made
            status, reply = 200, {"result": result}
        except Refused as refused:
            status, reply = refused.status, refused.reply
        except BaseException as error:  # noqa: BLE001 - a call's boundary: SystemExit is an error
            status, reply = 500, failure(error)
        if output.printed:
            output.add_to(reply)
        if call.begun:
            call.connection.cut()
            return None
        try:
            return status, JSON, encoded(reply)
        except Exception as error:  # noqa: BLE001 - the result's own methods run in here
            reply.update(part("faults").not_json(reply.pop("result", None), error, log))
            return 500, JSON, encoded(reply)

    def before(self, connection: Connection, request: Request) -> Answer | None:
        """The answer to a request that asks about the function and does not call it."""
        if request.target == "*":
            return self._told()
        if self.cors:
            connection.extra, preflight = self.cors(request)
            return (204, b"", b"") if preflight else None
        return None

    def _told(self) -> Answer:
        """What the function is, with the schemas of what it takes and gives where fob knows."""
        try:
            about = part("conventions").describe(self)
            if self.invoke == self._result:
                about["parameters"], about["returns"] = self.signature.schemas()
            return 200, JSON, encoded(about)
        except Exception as error:  # noqa: BLE001 - the snippet's own classes run in here
            return 500, JSON, encoded(failure(error))

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

    def wait(self, result: Any, call: Call) -> Any:
        """`result`, or what it will be when it is awaited."""
        if type(result) in VALUES or not hasattr(type(result), "__await__"):
            return result
        if self.loop is None:
            with LOCK:
                self.loop = self.loop or part("loop").Loop(CORE)
        return self.loop.wait(result, call)

    def _add_body(self, fields: dict[str, Any], request: Request) -> None:
        """A JSON object or form adds its fields; any other value is the one missing argument."""
        if self.signature.takes_raw(request):
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
            raise self.signature.refusal(fault, [fault])
        fields[missing[0]] = body


# What went wrong in a call


def teller() -> Any:
    return part("faults").Teller(FILE, FOLDER)


def trace(error: BaseException | None) -> Any:
    """The traceback as Python prints it, without the runner's own lines."""
    return teller().trace(error)


def failure(error: BaseException) -> Any:
    """The answer for a call that raised; its traceback goes to the log."""
    log(trace(error))
    return teller().answer(error)


def wanted(error: BaseException) -> Any:
    """What to do about an import that failed, if that is known."""
    return part("faults").wanted(error, getattr(sys, "stdlib_module_names", ()))


# HTTP

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
REASONS = """200 OK; 201 Created; 204 No Content; 301 Moved Permanently; 302 Found; 303 See Other;
304 Not Modified; 307 Temporary Redirect; 400 Bad Request; 401 Unauthorized; 403 Forbidden;
404 Not Found; 405 Method Not Allowed; 409 Conflict; 413 Content Too Large; 417 Expectation Failed;
422 Unprocessable Content; 429 Too Many Requests; 431 Request Header Fields Too Large;
500 Internal Server Error; 501 Not Implemented; 502 Bad Gateway; 503 Service Unavailable;
504 Gateway Timeout; 505 HTTP Version Not Supported"""
REASON = {int(r.split()[0]): r.split(None, 1)[1].encode() for r in REASONS.split(";")}
HEAD = b"HTTP/1.1 %d %b\r\n%bContent-Length: %d\r\n%b\r\n"
USUAL = b"HTTP/1.1 200 OK\r\n" + JSON + b"Content-Length: %d\r\n\r\n%b"
BARE = b"HTTP/1.1 %d %b\r\n%b%b\r\n"  # what has no body
BODILESS = (204, 304)
ID_LINE = b"X-Request-Id: "


class Request:
    """One request; `length` is its body's size in bytes, -1 when it comes in chunks.

    One without a body is shared by all calls with the same head, so nobody changes it.
    """

    def __init__(self, head: bytes) -> None:
        """Read the line and headers; Refused when they are not strictly HTTP/1."""
        lines = head.decode("latin-1").split("\r\n")
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise bad_request("a line does not end in CR LF")
        if b"\0" in head:
            raise bad_request("a NUL byte")
        self._read_line(lines.pop(0))
        self._read_headers(lines)
        self.body = b""
        self.length = self._body_length()
        expected = self.headers.get("expect", "").lower()
        self.expects = expected == "100-continue" and self.version == "HTTP/1.1"
        if expected not in ("", "100-continue"):
            raise Refused(417, "expectation_failed", "the only expectation known is 100-continue")
        choice = self.headers.get("connection", "").lower()
        self.keep = self.version == "HTTP/1.0" and "keep-alive" in choice
        self.close = "close" in choice or (self.version == "HTTP/1.0" and not self.keep)
        # its answer is a head and a body, and says nothing of the connection
        self.plain = not (self.keep or self.close or self.method == "HEAD")

    def with_header(self, name: str, value: str) -> Request:
        """Another that is like this one, but for a header that this one does not have."""
        other = Request.__new__(Request)
        other.__dict__ = self.__dict__ | {"headers": self.headers | {name: value}}
        return other

    def _read_line(self, line: str) -> None:
        try:
            self.method, target, self.version = line.split(" ")
            if not target.isascii():
                target = target.encode("latin-1").decode()
        except ValueError:
            raise bad_request("the first line is not METHOD TARGET VERSION") from None
        if not self.method or self.method.lower().strip(TOKEN) or not target.isprintable():
            raise bad_request("the first line is not METHOD TARGET VERSION")
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            if self.version[:5] == "HTTP/":
                raise Refused(505, "http_version", "this server speaks HTTP/1.1 and HTTP/1.0")
            raise bad_request("the first line does not end in HTTP/1.1")
        self.target = target
        self.query = target.partition("#")[0].partition("?")[2]

    def _read_headers(self, lines: list[str]) -> None:
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            name = name.lower()
            value = value.strip(" \t")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
            if not colon:
                raise bad_request("a header without a colon")
        if "" in headers or "".join(headers).strip(TOKEN):
            raise bad_request("a header's name is not a token")
        host = headers.get("host")
        if "," in host if host is not None else self.version == "HTTP/1.1":
            raise bad_request("not exactly one Host header")
        self.headers = headers

    def _body_length(self) -> int:
        coding, length = (self.headers.get(h) for h in ("transfer-encoding", "content-length"))
        if coding is not None:
            if length is not None or self.version == "HTTP/1.0":
                raise bad_request("Transfer-Encoding with Content-Length, or in HTTP/1.0")
            if coding.lower() != "chunked":
                raise Refused(501, "not_implemented", "the only transfer coding known is chunked")
            return -1
        if length is None:
            return 0
        if not (length.isascii() and length.isdigit()):
            raise bad_request("Content-Length is not a number")
        if len(length) > 15:
            raise too_large()
        return int(length)

    def again(self) -> Request:
        """The same request, whose body comes anew."""
        other = Request.__new__(Request)
        other.__dict__.update(self.__dict__)
        return other

    @property
    def path(self) -> str:
        """The path as it was sent, quoted."""
        path = self.target.partition("#")[0].partition("?")[0]
        return path if path[:1] == "/" else "/" + path.partition("://")[2].partition("/")[2]


class Heads(dict):  # type: ignore[type-arg]
    """Requests by their heads, empty line and all: clients send the same ones over and over, but
    for the id that a dispatcher writes into the last line."""

    def __missing__(self, head: bytes) -> Request:
        last = head.rfind(b"\r\n", 0, -4) + 2
        if head.startswith(ID_LINE, last):
            value = head[last + len(ID_LINE) : -4].decode("latin-1")
            if value.replace("-", "").isalnum() and value.isascii():
                request: Request = self[head[:last] + b"\r\n"]
                if "x-request-id" not in request.headers:
                    return request.with_header("x-request-id", value)
        request = Request(head[:-4])
        if len(head) <= KNOWN_LIMIT:
            if len(self) >= KNOWN_HEADS:
                self.clear()
            self[head] = request
        return request


def bad_request(message: str) -> Refused:
    return Refused(400, "bad_request", f"not a good HTTP request: {message}")


def too_large() -> Refused:
    return Refused(413, "too_large", f"the body is larger than {BODY_LIMIT} bytes")


def head_too_large() -> Refused:
    return Refused(431, "head_too_large", f"the headers are larger than {HEAD_LIMIT} bytes")


class Connection:
    """A client's connection: bytes in, requests out; answers in, bytes out. Never waits."""

    def __init__(self, sock: socket.socket, heads: Heads, streams: bool) -> None:
        self.sock, self.heads = sock, heads
        sock.setblocking(False)
        self.streams = streams  # a request is complete when its head is
        self.extra = b""  # header lines for every answer
        self.mask = 0  # what the epoll watches it for; 0 while a thread has it
        self.since = time.monotonic()  # when its last call began
        self.buffer: bytes | bytearray = b""
        self.request: Request | None = None  # one whose body is still to come
        self.chunks = bytearray()
        self.unsent: memoryview | None = None
        self.closing = False  # after what is unsent
        self.spill = 0  # bytes still to be read and thrown away

    def read(self) -> bool:
        """Take what has come; False when the client has gone."""
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return True
        if not self.buffer:
            self.buffer = data
        else:
            if type(self.buffer) is bytes:
                self.buffer = bytearray(self.buffer)
            self.buffer += data
        return bool(data)

    def next_request(self) -> Request | None:
        """The next request when all of it is here; Refused when it is not good HTTP."""
        if self.request is None and type(self.buffer) is bytes:
            known: Request | None = self.heads.get(self.buffer)
            if known and not known.length:
                self.buffer = b""
                return known
        request = self.request or self._next_head()
        if request is None or not request.length:
            return request
        if request.length > BODY_LIMIT and not self.streams:
            raise too_large()
        if request.length < 0:
            whole = self.take_chunks(request)
        else:
            whole = len(self.buffer) >= request.length
            if whole:
                self.take(request)
        if whole or self.streams:
            self.request = None
            return request
        self.welcome(request)
        self.request = request
        return None

    def welcome(self, request: Request) -> None:
        """Ask for a body that waits to be asked for."""
        if request.expects and not self.buffer:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.expects = False

    def take(self, request: Request) -> None:
        """Move what is here of a body of known length from the buffer to the request."""
        request.body = bytes(self.buffer[: request.length])
        self.buffer = self.buffer[request.length :]
        request.length -= len(request.body)

    def _next_head(self) -> Request | None:
        if self.buffer[:2] == b"\r\n":  # some clients end their body with one too many
            self.buffer = self.buffer.lstrip(b"\r\n")
        end = self.buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        if end >= 0:
            head, self.buffer = bytes(self.buffer[: end + 4]), self.buffer[end + 4 :]
            request: Request = self.heads[head]
            return request.again() if request.length else request
        if len(self.buffer) >= HEAD_LIMIT:
            raise head_too_large()
        if b"\n\n" in self.buffer or self.buffer[:1].lower().strip(TOKEN.encode()):
            raise bad_request("the first line is not METHOD TARGET VERSION with CR LF")
        return None

    def take_chunks(self, request: Request) -> bool:
        if type(self.buffer) is bytes:
            self.buffer = bytearray(self.buffer)
        whole = bool(part("chunks").take(self.buffer, self.chunks, CORE))
        if whole:
            request.length = 0
        if whole or self.streams:
            request.body, self.chunks = bytes(self.chunks), bytearray()
        return whole

    def send(self, data: bytes | memoryview) -> None:
        """Send what the socket takes now; the rest is `unsent`."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = memoryview(data)[sent:] if sent < len(data) else None
        if self.unsent:
            grace_ms = int(SEND_GRACE * 1000)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, grace_ms)

    def answer(self, answer: Answer, request: Request | None, close: bool) -> None:
        """Send a whole answer in one write."""
        self.send(self.written(answer, request, close))

    def written(self, answer: Answer, request: Request | None, close: bool) -> bytes:
        """A whole answer as it is sent, and what becomes of the connection settled."""
        status, headers, body = answer
        usual = request and request.plain and not (request.length or close or self.extra)
        if usual and headers is JSON and status == 200:
            return USUAL % (len(body), body)
        choice = self.choose(request, close)
        if status in BODILESS:
            return BARE % (status, REASON[status], headers, choice)
        head = HEAD % (status, REASON.get(status, b""), headers, len(body), choice)
        return head if request and request.method == "HEAD" else head + body

    def choose(self, request: Request | None, close: bool) -> bytes:
        """Settle what becomes of the connection after this answer; header lines that say it."""
        # more may come, and a reset would take the answer away
        unread = request is None or request.length != 0
        self.closing = close or unread or (request is not None and request.close)
        if unread:
            self.spill = BODY_LIMIT
        if self.closing:
            return self.extra + b"Connection: close\r\n"
        if request and request.keep:
            return self.extra + b"Connection: keep-alive\r\n"
        return self.extra

    def cut(self) -> None:
        """End it in the middle of an answer, which the client must not take for whole."""
        self.closing, self.spill, self.unsent = True, 0, None
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:  # the client has gone
            return

    def throw_away(self) -> bool:
        """Drop what was read; False when that has gone on for too long."""
        self.spill -= len(self.buffer)
        self.buffer = b""
        return self.spill > 0

    def stop_reading(self) -> None:
        """Make it end after what has come so far."""
        try:
            self.sock.shutdown(socket.SHUT_RD)
        except OSError:  # the client has gone
            return


# The server


class Call:
    """One call in hand."""

    expired = False
    begun = False  # something of the answer has been sent
    cancel: Callable[[], object] | None = None  # how to end it when it is a coroutine

    def __init__(self, server: Server, connection: Connection, request: Request) -> None:
        self.server, self.connection, self.request = server, connection, request
        self.started = connection.since = time.monotonic()

    @property
    def deadline(self) -> float:
        return self.started + self.server.timeout


class Worker(threading.Thread):
    """A thread that serves; `leading` tells whether it polls, `held` are the answers that it is
    about to send, with their connections.

    `hand` holds the call in hand. Who takes it out has it: the worker at its end, without a lock,
    or for a moment the main thread, with the server's.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(target=server.work, args=(self,), name="call", daemon=True)
        self.leading = False
        self.hand: list[Call] = []
        self.held: list[tuple[Connection, bytes]] = []

    @property
    def call(self) -> Call | None:
        return next(iter(self.hand), None)

    def take(self, call: Call) -> bool:
        """Take `call` out of its hand; False when that has ended."""
        try:
            found = self.hand.pop()
        except IndexError:
            return False
        if found is not call:
            self.hand.append(found)
        return found is call


class Server:
    """Threads that share one epoll, of which one, the leader, polls.

    The leader runs the calls it finds by itself, one after the other: for a function that is
    quick nothing is faster. It gives the lead to another thread, a new one if none is free,
    before a call when the last one was slow; and the main thread, which serves nothing, takes it
    from a leader whose call turns out to be slow. A connection whose call runs without the lead
    is out of the epoll meanwhile, so the new leader cannot see it.

    The leader holds short answers of quick calls until it has seen to all that one poll told of,
    or loses the lead: sent in a row they cost less, for who reads them is awake after the first.
    It holds none on a connection on which more has been asked, so none is overtaken.

    `lock` guards who leads, what is in hand, and what the epoll watches.
    """

    def __init__(
        self, listener: socket.socket, function: Function, timeout: float, most: int, marks: Marks
    ) -> None:
        """Serve `function` on `listener`, at most `most` calls at once of `timeout` seconds."""
        self.listener, self.function, self.marks = listener, function, marks
        self.address = listener.getsockname()[:2]
        self.timeout, self.most = timeout, most
        self.heads = Heads()
        self.connections: dict[int, Connection] = {}
        self.connections_limit = min(10_000, os.sysconf("SC_OPEN_MAX") * 3 // 4)
        self.workers: list[Worker] = []
        self.overdue: list[Worker] = []  # whose call ran out of time and has not ended
        self.waiting = 0  # workers that wait for the lead
        self.lead, self.lock = threading.Lock(), threading.RLock()
        self.slow = self.dozing = self.stopping = self.forked = False
        self.epoll = select.epoll()
        self.bell, self.bell_button = os.pipe()
        os.set_blocking(self.bell, False)
        os.set_blocking(self.bell_button, False)
        self.listening_fd = listener.fileno()
        self.sleeper = select.poll()
        self.sleeper.register(self.bell, select.POLLIN)
        self.served_one = False
        self.called = self.looked = time.monotonic()  # when the last call ended, and had by a look
        self.rest: Any = None  # parts/rest.py's, for one that may go to rest

    def __str__(self) -> str:
        host, port = self.address
        return f"{self.function} on {host}:{port}"

    def run(self) -> int:
        """Serve until a signal says stop, or a call is stuck; the exit code."""
        os.register_at_fork(after_in_child=self._after_fork)
        self.open()
        self.marks.add("listening")
        self._reinforce()  # without the lock, for it is waited for here until it runs
        self._sleep(TICK)  # who has been waiting for it is answered first
        log(f"fob: {self}\n")
        while not self.stopping and not self._stuck():
            self._watch()
        return 0 if self.rest and self.rest.over() else self._drain()

    def open(self) -> None:
        """Let the epoll see who comes, and signals end what `run` does."""
        self.listener.setblocking(False)
        self.epoll.register(self.listener, select.EPOLLIN)
        signal.set_wakeup_fd(self.bell_button, warn_on_full_buffer=False)
        on_signals(self._on_signal)

    def close(self) -> None:
        """Close what is its own, once nobody serves."""
        signal.set_wakeup_fd(-1)
        for connection in list(self.connections.values()):
            self._close(connection)
        self.epoll.close()
        self.listener.close()
        os.close(self.bell)
        os.close(self.bell_button)

    def _on_signal(self, *_: object) -> None:
        self.stopping = True

    def _after_fork(self) -> None:
        """A child must not serve: its copies would keep the port and the connections open."""
        self.forked = True
        signal.set_wakeup_fd(-1)
        on_signals(signal.SIG_DFL)
        self.epoll.close()
        self.listener.close()
        for connection in list(self.connections.values()):
            connection.sock.close()

    # the main thread: who is slow, who is out of time

    def _watch(self) -> None:
        """Sleep until there may be something to do, then look; quick calls cost one look a tick."""
        busy = self.called != self.looked
        self.looked, self.dozing = self.called, not busy
        pause = self._look()
        if self.rest:
            pause = min(pause, self.rest.left())
        if pause > TICK and not busy:
            self._sleep(pause)
        self.dozing = False
        self._sleep(TICK)

    def _sleep(self, seconds: float) -> None:
        if self.sleeper.poll(seconds * 1000):
            os.read(self.bell, 4096)

    def _look(self) -> float:
        """Take the lead from who is slow, end what is out of time; seconds to the next look."""
        now, pause = time.monotonic(), 3600.0
        for worker in [*self.workers, *self.overdue]:
            call = worker.call
            if call is None:
                continue
            if worker.leading:
                pause = 0.0
                if now - call.started >= TICK:
                    self._take_lead(worker, call)
            if now >= call.deadline and not call.expired:
                self._expire(worker, call)
            pause = min(pause, call.deadline + STOP_GRACE * call.expired - now)
        return pause

    def _take_lead(self, worker: Worker, call: Call) -> None:
        with self.lock:
            if worker.leading and worker.take(call):
                self._hand_over(worker, call.connection)
                worker.hand.append(call)

    def _expire(self, worker: Worker, call: Call) -> None:
        """Answer 504 for a call, and make it end; its worker serves no more."""
        interrupt = self._interrupter()
        with self.lock:
            if not worker.take(call):
                return
            call.expired = True
            self.workers.remove(worker)
            self.overdue.append(worker)
            if worker.leading:
                self._hand_over(worker, call.connection)
            else:
                self._reinforce()
            (call.cancel or (lambda: interrupt(worker.ident)))()
            worker.hand.append(call)
        message = f"the call took longer than {self.timeout:g} seconds"
        log(f"fob: {message}\n")
        if call.begun:
            call.connection.cut()
        else:
            body = encoded(Refused(504, "timeout", message).reply)
            call.connection.answer((504, JSON, body), call.request, True)
        self._settle(call.connection)

    def _interrupter(self) -> Callable[[int | None], object]:
        try:
            import ctypes
        except ImportError:  # a Python without it: the call ends by itself, or the process does
            return lambda ident: None
        raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
        return lambda ident: raise_in(ctypes.c_ulong(ident or 0), ctypes.py_object(Expired))

    def _stuck(self) -> bool:
        now = time.monotonic()
        calls = [worker.call for worker in self.overdue]
        return any(call and now >= call.deadline + STOP_GRACE for call in calls)

    def _drain(self) -> int:
        """Take no more, let the calls in hand end and be answered; the exit code."""
        self.stopping = True
        stuck = self._stuck()
        if self.rest:  # others have the listening socket too, and keep it open for a moment
            self._linger()
        self.epoll.unregister(self.listener)
        while self._accept():  # who has come before is served
            pass
        self.listener.close()
        if not stuck:
            self._linger()
        calls = [worker.call for worker in [*self.workers, *self.overdue]]
        busy = [call.connection for call in calls if call]  # which may read the body by themselves
        for connection in list(self.connections.values()):
            if connection not in busy:
                connection.stop_reading()
        until = time.monotonic() + (STOP_GRACE if stuck else LAST_WORDS)
        while self.connections and time.monotonic() < until:
            self._look()
            stuck = stuck or self._stuck()
            if not stuck and any(worker.call for worker in [*self.workers, *self.overdue]):
                until = time.monotonic() + LAST_WORDS
            self._sleep(TICK)
        return STUCK if stuck else 0

    def _linger(self) -> None:
        """Serve for a moment still: a client learns of the end only with its next answer."""
        until = time.monotonic() + LINGER
        while (self.rest or self.connections) and time.monotonic() < until:
            self._look()
            self._sleep(TICK)

    # the workers

    def work(self, worker: Worker) -> None:
        try:
            while True:
                self._wait_for_lead(worker)
                self._lead(worker)
        except Expired:
            pass
        except BaseException as error:  # noqa: BLE001 - a fault of ours: end, to be started anew
            log(f"fob: the runner is broken\n{trace(error)}")
            os._exit(BROKEN)
        with self.lock:
            self.overdue.remove(worker)

    def _wait_for_lead(self, worker: Worker) -> None:
        with self.lock:
            self.waiting += 1
        self.lead.acquire()
        with self.lock:
            self.waiting -= 1
            worker.leading = True

    def _lead(self, worker: Worker) -> None:
        while worker.leading:
            for fd, _ in self.epoll.poll(-1, BATCH):
                if connection := self.connections.get(fd):
                    self._serve(worker, connection)
                else:
                    self._send_held(worker)
                    self._attend(worker, fd)
                if not worker.leading:
                    break
            else:
                self._send_held(worker)

    def _attend(self, worker: Worker, fd: int) -> None:
        """See to what is no connection, or one that was closed a moment ago."""
        if fd == self.listening_fd:
            self._accept()
        elif self.rest:
            self.rest.rung(worker, fd)

    def _send_held(self, worker: Worker) -> None:
        """Send the answers that the worker holds, and have watched what the sockets do not take.
        By the worker, or with the lock held by who takes the lead from it."""
        held, worker.held = worker.held, []
        for connection, data in held:
            try:
                connection.send(data)
                if connection.unsent:
                    self._watch_for(connection, select.EPOLLOUT)
            except OSError:
                connection.cut()  # the leader closes it when it sees that

    def _hand_over(self, worker: Worker, connection: Connection) -> None:
        """Give the lead to another worker; called with the lock held."""
        self._send_held(worker)
        worker.leading = False
        self.epoll.unregister(connection.sock)
        connection.mask = 0
        self.lead.release()
        self._reinforce()

    def _reinforce(self) -> None:
        """Start a worker if none is free and one more may be; called with the lock held."""
        if self.waiting or len(self.workers) >= self.most:
            return
        worker = Worker(self)
        self.workers.append(worker)
        try:
            worker.start()
        except RuntimeError as error:  # no more threads here: those that are go on
            self.workers.remove(worker)
            log(f"fob: {error}\n")

    def _accept(self) -> bool:
        """Take a connection; False when there was none, or no room for it."""
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
            sock = socket.socket(self.listener.family, socket.SOCK_STREAM, 0, fd)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._make_room()
            return False
        if len(self.connections) >= self.connections_limit:
            self._make_room()
        self.add(sock)
        return True

    def add(self, sock: socket.socket) -> Connection:
        connection = Connection(sock, self.heads, self.function.streams)
        self.connections[sock.fileno()] = connection
        self._watch_for(connection, select.EPOLLIN)
        return connection

    def _make_room(self) -> None:
        """Close the connection that has been idle for longest."""
        with self.lock:
            idle = [c for c in list(self.connections.values()) if c.mask]
        if idle:
            self._close(min(idle, key=lambda c: c.since))
        else:  # it is the snippet that has all file descriptors
            time.sleep(0.05)

    def _watch_for(self, connection: Connection, mask: int) -> None:
        if connection.mask == mask:
            return
        with self.lock:  # the leader must not see it before its mask is set
            if connection.mask:
                self.epoll.modify(connection.sock, mask)
            else:
                self.epoll.register(connection.sock, mask)
            connection.mask = mask

    def _close(self, connection: Connection) -> None:
        with self.lock:
            self.connections.pop(connection.sock.fileno(), None)
            if connection.mask:
                self.epoll.unregister(connection.sock)
        connection.sock.close()

    def _serve(self, worker: Worker, connection: Connection) -> None:
        try:
            alive = self._advance(worker, connection)
        except OSError:
            alive = False
        if not alive:
            self._close(connection)
        elif connection.closing or connection.unsent or connection.mask != select.EPOLLIN:
            self._settle(connection)

    def _advance(self, worker: Worker, connection: Connection) -> bool:
        """Go on with a connection: send or read, run what is complete; False when it is over."""
        if connection.unsent:
            connection.send(connection.unsent)
            if connection.unsent:
                return True
        elif not connection.read():
            return False
        if connection.spill:
            return connection.throw_away()
        while connection.buffer and not connection.unsent and not connection.closing:
            try:
                request = connection.next_request()
            except Refused as refused:
                body = encoded(refused.reply)
                connection.answer((refused.status, JSON, body), None, True)
                break
            if request is None:
                break
            self._call(worker, connection, request)
        return True

    def _settle(self, connection: Connection) -> None:
        """Let the epoll watch for what comes next on it, or close it when all is said."""
        try:
            if connection.unsent:
                self._watch_for(connection, select.EPOLLOUT)
            elif not connection.closing:
                self._watch_for(connection, select.EPOLLIN)
            elif connection.spill:
                connection.sock.shutdown(socket.SHUT_WR)
                self._watch_for(connection, select.EPOLLIN)
            else:
                self._close(connection)
        except OSError:
            self._close(connection)

    def _call(self, worker: Worker, connection: Connection, request: Request) -> None:
        if request.method == "OPTIONS" or self.function.cors:
            told = self.function.before(connection, request)
            if told:
                connection.answer(told, request, self.stopping)
                return
        call = Call(self, connection, request)
        if self.slow and worker.leading:
            with self.lock:
                self._hand_over(worker, connection)
        worker.hand.append(call)
        if self.dozing:
            self._ring()
        answer = contextvars.Context().run(self.function.answer, call)
        if self.forked:  # the snippet forked, and its child came back here
            os._exit(0)
        try:
            worker.hand.pop()
        except IndexError:
            with self.lock:  # the main thread has given it back
                worker.hand.pop()
        if call.expired:  # it has been answered, and the connection is no longer ours
            raise Expired
        self.called = time.monotonic()
        took = self.called - call.started
        self.slow = took > SLOW
        if answer:
            data = connection.written(answer, request, self.stopping)
            last = not (connection.buffer or connection.closing)
            if last and worker.leading and self.served_one and took < QUICK and len(data) < SHORT:
                worker.held.append((connection, data))
            else:
                connection.send(data)
        if not self.served_one:
            self.served_one = True
            self.marks.add("first_call")

    def _ring(self) -> None:
        try:
            os.write(self.bell_button, b"!")
        except BlockingIOError:  # it rings already
            return


# The start


class Marks:
    """The marks of this instance's timeline: to the engine's pipe, or a file in the sandbox."""

    def __init__(self, fd: int | None, sandbox: str | None) -> None:
        self.fd, self.sandbox = fd, sandbox
        self.held = b""

    def add(self, name: str, hold: bool = False) -> None:
        """Write a mark; or `hold` it, for one that follows at once, so that whoever reads them is
        not woken twice."""
        at_ns, seconds = time.monotonic_ns(), time.time()
        utc = "{}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time.gmtime(seconds))
        line = self.held + f"{at_ns} {utc}.{int(seconds % 1 * 1000):03d}Z {name}\n".encode()
        self.held = line if hold else b""
        if not hold:
            self._write(line)

    def _write(self, line: bytes) -> None:
        try:
            if self.fd is not None:
                os.write(self.fd, line)
            elif self.sandbox:
                with open(os.path.join(self.sandbox, "timeline"), "ab", 0) as file:
                    file.write(line)
        except OSError:  # nobody reads them: no reason not to serve
            pass


USAGE = """what to serve, and where? By hand:
  PORT0=8080 FOB_SNIPPET="$(cat f.py)" python3 -I -S runner.py"""


def number(name: str, default: float, least: float) -> float:
    text = os.environ.get(name) or str(default)
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not value >= least:
        raise CannotStart(BAD_START, f"{name}={text!r} is not a number of at least {least:g}")
    return value


def inherited_fd(name: str) -> int | None:
    """A file descriptor handed down, which neither the snippet nor its children get to see."""
    text = os.environ.pop(name, "")
    try:
        if text:
            os.set_inheritable(int(text), False)
        return int(text) if text else None
    except (ValueError, OSError, OverflowError):
        raise CannotStart(BAD_START, f"{name}={text!r} is not an open file descriptor") from None


def kept_fds() -> list[int]:
    """Connections that were open when the instance before this one went to rest."""
    names = [name for name in os.environ if name.startswith("FOB_KEPT_FD_")]
    return [fd for fd in map(inherited_fd, names) if fd is not None]


def listen(fd: int | None) -> socket.socket:
    """The socket handed down, or one bound to PORT0."""
    port = 0 if fd is not None else int(number("PORT0", 0, 0))
    host = "0.0.0.0" if "MESOS_TASK_ID" in os.environ else "127.0.0.1"
    try:
        if fd is not None:
            return socket.socket(fileno=fd)
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
        return listener
    except (OSError, OverflowError) as error:
        raise CannotStart(BAD_START, f"cannot listen on {fd or port}: {error}") from None


def installed() -> str:
    """The folder of the packages that the snippet needs, there by now; "" when it needs none."""
    if "FOB_SITE_PACKAGES" in os.environ or "FOB_REQUIREMENTS" not in os.environ:
        return os.environ.get("FOB_SITE_PACKAGES", "")
    try:
        return str(part("packages").install(os.environ))
    except (RuntimeError, OSError) as error:
        raise CannotStart(BAD_IMPORT, f"the snippet cannot be imported: {error}") from None


def add_packages(folder: str) -> None:
    """Let the snippet import what is installed in `folder`, after the standard library."""
    if any(name.endswith(".pth") for name in os.listdir(folder)):
        import site  # only it knows those files, and it takes 3 ms

        site.addsitedir(folder)
    else:
        sys.path.append(folder)


def unpacked(source: bytes, entry: str) -> tuple[Snippet, str]:
    """The snippet, a file or a zip archive of several, and the name to call in it, if given."""
    global FOLDER
    if source[:4] != b"PK\3\4":
        return Snippet(source), entry
    FOLDER = part("unzip").unpack(source, os.environ.get("MESOS_SANDBOX"))
    return part("files").load(FOLDER, entry, Snippet)  # type: ignore[no-any-return]


def load(source: bytes) -> Function:
    try:
        return Function(*unpacked(source, os.environ.get("FOB_ENTRY", "")))
    except CannotStart:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever importing it may raise
        log(trace(error))
        message = f"the snippet cannot be imported: {type(error).__name__}{wanted(error)}"
        raise CannotStart(BAD_IMPORT, message) from None


def on_signals(handler: Any) -> list[Any]:
    """Have `handler` called by the signals that end the process; the handlers so far."""
    return [signal.signal(name, handler) for name in ENDING]


def made_server() -> Server | None:
    """The snippet loaded, and what will serve it; None in a child that came out of the snippet."""
    fd = inherited_fd("FOB_LISTEN_FD")
    marks = Marks(inherited_fd("FOB_NOTIFY_FD"), os.environ.get("MESOS_SANDBOX"))
    marks.add("runner_up")
    engine = inherited_fd("FOB_REST_FD")
    kept = [] if engine is None else kept_fds()
    if not PARTS and "__file__" in globals():
        PARTS.update(parts_beside())
    source = globals().pop("SNIPPET", None) or os.environb.pop(b"FOB_SNIPPET", b"")
    if not source or (fd is None and not os.environ.get("PORT0")):
        raise CannotStart(BAD_START, USAGE)
    timeout = number("FOB_TIMEOUT", 60, 0) or float("inf")
    most = int(number("FOB_CONCURRENCY", 16, 1))
    keep_alive = number("FOB_KEEP_ALIVE", 60, 0)
    if packages := installed():
        add_packages(packages)
    if b"storage" in source or b"nosql" in source or source[:2] == b"PK":
        root = os.environ.get("FOB_STORAGE") or os.environ.get("MESOS_SANDBOX") or ""
        sys.meta_path.append(part("helpers").Finder(part, root))
    pid = os.getpid()
    function = load(source)
    if origins := os.environ.get("FOB_CORS"):
        function.cors = part("cors").make(origins)
    if os.getpid() != pid:  # the snippet forked, and its child came back here
        return None
    marks.add("imported", fd is not None)  # what is listened on already will soon be served
    server = Server(listen(fd), function, timeout, most, marks)
    for connection in kept:
        server.add(socket.socket(fileno=connection))
    if engine is not None:
        task = os.environ.get("MESOS_TASK_ID", "")
        server.rest = part("rest").Rest(server, engine, task, keep_alive)
    return server


def serve() -> int:
    """Load the snippet and serve it; the exit code."""
    server = made_server()
    if server is None:
        return 0
    code = server.run()
    server.function.close()
    return code


def end(code: int) -> None:
    """Leave, whatever threads the snippet has left behind."""
    try:
        if code != STUCK:
            import atexit

            atexit._run_exitfuncs()
        sys.stderr.flush()
    finally:
        os._exit(code)


def prepare() -> None:
    """All that can be done without knowing what to serve."""
    on_signals(lambda *_: os._exit(0))  # until there is something to finish
    sys.stdout = make_stdout()
    sys.argv = [FILE]


def main() -> None:
    if sys.argv != [FILE]:  # else it has waited to be told
        prepare()
    try:
        code = serve()
    except CannotStart as error:
        log(f"fob: {error}\n")
        code = error.code
    end(code)


def rehearse() -> None:
    """Do all that a function does from its start to its first answer, so that what this needs is
    loaded and in memory: for a process that others are forked from, and for one that waits to be
    a function."""
    for name in ("conventions", "handlers", "aws", "answers", "bodies", "rest"):
        part(name)
    before = on_signals(signal.SIG_DFL)
    client, listening = _called()
    notify = os.open(os.devnull, os.O_WRONLY)
    os.environ["FOB_LISTEN_FD"], os.environ["FOB_NOTIFY_FD"] = str(listening), str(notify)
    os.environ["FOB_SNIPPET"] = "def handle(): return {}"
    make_stdout()
    server: Any = made_server()
    str(server).encode()
    server.open()
    _answer_one(server)
    client.close()
    server.close()
    os.close(notify)
    for name, handler in zip(ENDING, before):  # noqa: B905 - strict= came with Python 3.10
        signal.signal(name, handler)
    del sys.modules["snippet"]


def _called() -> tuple[socket.socket, int]:
    """A client that has asked for something, and the descriptor of the socket it has asked."""
    listener, client = (socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2))
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    at_once = (1).to_bytes(4, sys.byteorder) + bytes(4)  # so that closing it leaves nothing behind
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    client.connect(listener.getsockname())
    client.sendall(b"GET / HTTP/1.1\r\nHost: fob\r\n\r\n")
    return client, listener.detach()


def _answer_one(server: Server) -> None:
    """Accept a connection that is there, and answer what is asked on it, in a worker's thread."""
    threads = _threads()

    def accept_and_serve(worker: Worker) -> None:
        server.epoll.poll(-1, BATCH)
        server._accept()
        server._serve(worker, *server.connections.values())

    server.work = accept_and_serve  # type: ignore[method-assign]
    server._reinforce()
    server._look()
    while _threads() > threads:  # one that is not gone may hold locks, for a fork to take along
        time.sleep(0.0001)


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


# what parts get of all this, for they import nothing of it
CORE: Any = type(sys)("fob_core")
CORE.__dict__.update(globals())

if __name__ == "__main__":
    main()
