"""Which convention a function follows: the same with and without running the file."""

import pytest
from talk import Serve

import live
from fob.errors import BadRequest
from fob.runner.core.function import PLATFORM_PARAMETERS
from fob.runner.features import conventions
from fob.source import parsing
from fob.source.conventions import Convention

CALLABLE = "class C:\n    def __call__(self, {}): pass\n"


@pytest.mark.parametrize(
    ("file", "convention"),
    [
        ("def go(a, b): pass", "plain"),
        ("def go(*args, **event): pass", "plain"),
        ("def handler(event): pass", "event"),
        ("def anything(event=None): pass", "event"),
        ("def handler(event, limit=3): pass", "plain"),
        ("def handler(events): pass", "plain"),
        ("def go(event, context): pass", "aws"),
        ("def go(_event, _context): pass", "aws"),
        ("def go(event, _): pass", "aws"),
        ("async def lambda_handler(e, c): pass", "aws"),
        ("def handler(e, c): pass", "plain"),
        ("def lambda_handler(event): pass", "event"),
        ("def handle(event, context): pass", "openfaas"),
        ("def handle(req): pass", "openfaas-classic"),
        ("def handle(name): pass", "plain"),
        ("def handler(req): pass", "plain"),
        ("def handler(context, event): pass", "nuclio"),
        ("def main(args): pass", "openwhisk"),
        ("def main(params): pass", "openwhisk"),
        ("def main(name): pass", "plain"),
        ("def other(args): pass", "plain"),
        ("def hello(request): pass", "plain"),
        ("def go(scope, receive, send): pass", "asgi"),
        ("def go(env, start_response): pass", "wsgi"),
        ("def app(a, b): pass", "plain"),
        ("def app(environ, start_response): pass\ndef handler(): pass", "wsgi"),
        ("app = 5\ndef handler(event): pass", "event"),
        (CALLABLE.format("event") + "handler = C()", "event"),
        (CALLABLE.format("scope, receive, send") + "application = C()", "asgi"),
        (CALLABLE.format("environ, start_response") + "app = C", "wsgi"),
        ("handler = lambda event, context: 1", "aws"),
        ("def go(event): pass\nhandler = go", "event"),
        ("if True:\n    def handler(event): pass", "event"),
        ("print(1)", "script"),
        ("class C: pass\nprint(1)", "script"),
    ],
)
def test_both_sides_see_the_same(serve: Serve, file: str, convention: str) -> None:
    runner = serve(file)
    told = runner.call("*", method="OPTIONS").json
    assert told["convention"] == convention, told
    seen = parsing.check(file.encode()).convention
    assert seen == Convention(told["convention"], told["why"])


@pytest.mark.parametrize(
    ("entry", "convention", "result"),
    [
        ("other", "plain", "other"),
        ("second", "event", "second"),
        ("Class.method", "event", "method of 7"),
        ("Class.static", "plain", "static"),
        ("Class.made", "plain", "made"),
        ("thing.method", "event", "method of 7"),
        ("main:other", "plain", "other"),
        ("snippet:Class.method", "event", "method of 7"),
    ],
)
def test_the_entry_may_be_a_path(serve: Serve, entry: str, convention: str, result: str) -> None:
    file = (
        "def other(): return 'other'\n"
        "def second(event): return 'second'\n"
        "class Class:\n"
        "    def __init__(self): self.n = 7\n"
        "    def method(self, event): return f'method of {self.n}'\n"
        "    @staticmethod\n    def static(): return 'static'\n"
        "    @classmethod\n    def made(cls): return 'made'\n"
        "thing = Class()\n"
    )
    runner = serve(file, FOB_ENTRY=entry)
    assert runner.call("*", method="OPTIONS").json["convention"] == convention
    assert runner.call().result == result
    assert parsing.check(file.encode(), entry).convention.name == convention


def test_an_entry_that_is_not_in_the_file_may_be_in_a_module(serve: Serve) -> None:
    runner = serve("def other(): pass", FOB_ENTRY="math:factorial")
    assert runner.call("/?x=3").status == 400
    assert parsing.check(b"def other(): pass", "math:factorial").convention.name == "unknown"


def test_only_a_run_can_tell_what_a_call_returns(serve: Serve) -> None:
    file = "import functools\napp = functools.partial(print)\ndef handler(event): pass"
    assert parsing.check(file.encode()).convention == Convention(
        "unknown", "only running the file can tell"
    )
    told = serve(file).call("*", method="OPTIONS").json
    assert (told["entry"], told["convention"]) == ("handler", "event")


def test_the_reason_names_function_and_platform(serve: Serve) -> None:
    runner = serve("def lambda_handler(event, context): pass")
    why = "lambda_handler(event, context) has the signature of AWS Lambda"
    line = f"fob: lambda_handler(event, context) (aws: {why}) on 127.0.0.1:"
    live.until(lambda: line in runner.stderr, "the line")


@pytest.mark.parametrize(
    ("file", "looked_for"),
    [
        ("def lambda_handler(a, b, c): pass", "lambda_handler(event, context) of AWS Lambda"),
        ("def handle(a, b): pass", "handle(event, context) of OpenFaaS"),
        ("def handle(a, b): pass", "handle(req) of OpenFaaS's classic template"),
        ("def app(a, b): pass", "app(scope, receive, send) of ASGI applications"),
        ("def app(a, b): pass", "app(..., start_response) of WSGI applications"),
    ],
)
def test_an_error_names_the_conventions_that_did_not_fit(
    serve: Serve, file: str, looked_for: str
) -> None:
    error = serve(file).call("/", {}).error
    assert error["code"] == "bad_arguments"
    assert looked_for in error["details"]["why"]
    assert looked_for in parsing.check(file.encode()).convention.why


def test_an_application_that_is_neither_is_no_entry(launch: Serve) -> None:
    runner = launch("class App: pass\napp = App()\ndef a(): pass\ndef b(): pass")
    assert runner.exit_code() == 4
    assert "the entry is ambiguous: the snippet defines a, b" in runner.stderr


def test_every_parameter_of_a_rule_makes_the_runner_load_the_rules() -> None:
    for rule in conventions.RULES:
        parameters = rule[3]
        if parameters != conventions.ANY and rule[2] != "lambda_handler":
            assert PLATFORM_PARAMETERS.intersection(parameters), rule


# each form in which a module may bind a name at its top level
BINDINGS = (
    "handler = (lambda: {'a': 1})",
    "handler: object = (lambda: {'a': 1})",
    "handler, other = (lambda: {'a': 1}), 2",
    "[other, *_, (handler,)] = 2, 3, ((lambda: {'a': 1}),)",
    "first = handler = (lambda: {'a': 1})",
    "print(handler := (lambda: {'a': 1}))",
    "[handler := each for each in [lambda: {'a': 1}]]",
    "for handler in [lambda: {'a': 1}]: pass",
    "import contextlib\nwith contextlib.nullcontext(lambda: {'a': 1}) as handler: pass",
    "if True:\n    handler, other = (lambda: {'a': 1}), 2",
    "try:\n    1 / 0\nexcept ZeroDivisionError:\n    handler, _ = (lambda: {'a': 1}), 2",
    "match lambda: {'a': 1}:\n    case handler: pass",
    "match [2, lambda: {'a': 1}]:\n    case [2, *_, handler]: pass",
    "match {'key': lambda: {'a': 1}}:\n    case {'key': object() as handler}: pass",
    "from functools import partial\nhandler = partial(dict, a=1)",
    "import types\nclass handler(dict):\n    def __init__(self): super().__init__(a=1)",
)


@pytest.mark.parametrize("file", BINDINGS)
def test_each_way_to_bind_a_name_makes_an_entry_on_both_sides(serve: Serve, file: str) -> None:
    assert serve(file).call().json == {"result": {"a": 1}}
    assert parsing.check(file.encode(), "handler").convention.name in ("plain", "unknown")
    assert parsing.check(file.encode()).convention.name in ("plain", "unknown")


@pytest.mark.parametrize(
    "file",
    [
        "[handler for handler in (1, 2)]",
        "def _other(): handler = lambda: 1",
        "class Other: handler = lambda self: 1",
        "lambda: (handler := 1)",
        "print({'handler': 1})",
    ],
)
def test_a_name_bound_elsewhere_makes_no_entry_on_either_side(serve: Serve, file: str) -> None:
    assert serve(file).call("*", method="OPTIONS").json["convention"] == "script"
    assert parsing.check(file.encode()).convention.name == "script"
    with pytest.raises(BadRequest, match="defines no 'handler'"):
        parsing.check(file.encode(), "handler")
