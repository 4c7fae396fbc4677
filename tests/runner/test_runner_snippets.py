"""Snippets: which are valid, what is called in them, and what the caller receives."""

import base64
import os
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

import live
from fob import timeline
from running import PROGRAM, Start


def code(text: str) -> str:
    return textwrap.dedent(text)


# which function


def test_the_published_sample_responds_with_what_it_prints(serve: Start) -> None:
    sample = (live.ROOT / "py_example.py").read_bytes()
    answer = serve(sample).call()
    assert answer.body == b'{"result": null, "output": "Hello serverless world!\\n"}'
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("snippet", "result"),
    [
        ("def handler(): return 'h'\ndef callme(): return 'c'", "c"),
        ("def handle(): return 1\ndef main(): return 2", 2),
        ("def _private(): pass\ndef hello(): return 3", 3),
        ("def other(): pass\ndef lambda_handler(): return 4", 4),
        ("main = 5\ndef handle(): return 6", 6),
        ("handler: object = lambda: 7", 7),
        ("import functools\nhandler = functools.partial(int, '8')", 8),
        ("class handler:\n    def __new__(cls): return 9", 9),
        ("try:\n    def hello(): return 10\nfinally: pass", 10),
        ("from os import getcwd as handler", os.getcwd),
    ],
)
def test_the_entry_is_found_in_the_documented_order(
    serve: Start, snippet: str, result: object
) -> None:
    runner = serve(snippet)
    assert runner.call().result == (str(runner.folder) if callable(result) else result)


def test_the_entry_setting_wins(serve: Start) -> None:
    runner = serve("def handler(): return 1\ndef other(): return 2", FOB_ENTRY="other")
    assert runner.call().result == 2


def test_a_script_runs_anew_for_each_call(serve: Start) -> None:
    runner = serve("n = 1\nprint(__name__, n)\nn += 1")
    for _ in range(2):
        assert runner.call().json == {"result": None, "output": "__main__ 1\n"}
    assert "imported" in runner.marks


def test_a_script_may_use_a_name_that_could_be_an_entry(serve: Start) -> None:
    assert serve("main = 3\nprint(main)").call().json["output"] == "3\n"


def test_a_lambda_does_not_make_a_script_a_function(serve: Start) -> None:
    runner = serve("key = lambda pair: pair[1]\nprint(sorted([(1, 3), (2, 1)], key=key))")
    assert runner.call().json["output"] == "[(2, 1), (1, 3)]\n"


def test_a_script_that_exits_has_failed(serve: Start) -> None:
    answer = serve("import sys\nsys.exit('no more')").call()
    assert answer.status == 500
    assert answer.error["message"] == "SystemExit: no more"


@pytest.mark.parametrize(
    ("snippet", "env", "names"),
    [
        ("def one(): pass\ndef two(): pass", {}, ["one", "two"]),
        ("def one(): pass", {"FOB_ENTRY": "nope"}, ["nope", "one"]),
        ("x = 1", {"FOB_ENTRY": "x"}, ["'x'", "none"]),
    ],
)
def test_nothing_to_call_is_exit_4_and_names_what_was_found(
    launch: Start, snippet: str, env: dict[str, str], names: list[str]
) -> None:
    runner = launch(snippet, **env)
    assert not runner.wait_for("imported")
    assert runner.exit_code() == 4
    assert all(name in runner.stderr for name in names)
    assert runner.marks == ["runner_up"]


@pytest.mark.parametrize(
    ("snippet", "told"),
    [
        (b"def f(:\n", ["SyntaxError", 'File "snippet.py", line 1']),
        (b"x = 1\ny = x / 0\ndef f(): pass", ["ZeroDivisionError", "y = x / 0", "line 2"]),
        (b"def f(): pass\nimport sys; sys.exit(3)", ["SystemExit: 3"]),
        (b"def f(): pass\nraise KeyboardInterrupt", ["KeyboardInterrupt"]),
        (b"def f(): return '\xe9'", ["SyntaxError", "snippet.py"]),
        (b"# coding: nope\ndef f(): pass", ["SyntaxError", "nope"]),
        (b"import no_such_module\ndef f(): pass", ["No module named 'no_such_module'"]),
        (b"(" * 300 + b")" * 300, ["too many nested parentheses"]),
    ],
)
def test_a_failed_import_is_exit_3_with_the_snippets_own_lines(
    launch: Start, snippet: bytes, told: list[str]
) -> None:
    runner = launch(snippet)
    assert not runner.wait_for("imported")
    assert runner.exit_code() == 3
    assert all(text in runner.stderr for text in told), runner.stderr
    assert "runner.py" not in runner.stderr


def test_os_exit_at_import_ends_the_process_with_its_code(launch: Start) -> None:
    runner = launch("import os\nos._exit(9)\ndef f(): pass")
    assert not runner.wait_for("imported")
    assert runner.exit_code() == 9


@pytest.mark.parametrize(
    "start", [b"# -*- coding: latin-1 -*-\n", b"\n# vim: set coding=latin-1 :\n"]
)
def test_the_coding_line_is_obeyed(serve: Start, start: bytes) -> None:
    runner = serve(start + b"def f(): raise ValueError('\xe9')  # \xe8")
    error = runner.call().error
    assert error["message"] == "ValueError: \xe9"
    assert error["details"]["traceback"][0].endswith(
        "in f: def f(): raise ValueError('\xe9')  # \xe8"
    )


def test_a_byte_order_mark_is_allowed(serve: Start) -> None:
    assert serve(b"\xef\xbb\xbfdef f(): return '\xc3\xa9'").call().result == "\xe9"


def test_the_snippet_is_a_module_that_pickle_and_dataclasses_find(serve: Start) -> None:
    snippet = code("""
        from __future__ import annotations
        import pickle
        from dataclasses import dataclass, asdict
        from typing import ClassVar

        @dataclass
        class Point:
            x: int
            zero: ClassVar[int] = 0

        def handler(x: int):
            return asdict(pickle.loads(pickle.dumps(Point(x))))
    """)
    assert serve(snippet).call("/?x=2").result == {"x": 2}


def test_tracebacks_made_by_the_snippet_show_its_lines(serve: Start) -> None:
    snippet = code("""
        import traceback, inspect
        def handler():
            try:
                boom = 1 / 0
            except ZeroDivisionError:
                return traceback.format_exc(), inspect.getsource(handler)
    """)
    text, source = serve(snippet).call().result
    assert "boom = 1 / 0" in text
    assert source.startswith("def handler")


def test_the_snippet_sees_no_descriptors_of_the_runner(serve: Start) -> None:
    snippet = code("""
        import os, sys, subprocess
        SEEN = dict(os.environ)
        def handler():
            listing = [sys.executable, "-c", "import os; print(len(os.listdir('/proc/self/fd')))"]
            return {
                "env": [n for n in SEEN if n.startswith("FOB_")],
                "fds": int(subprocess.check_output(listing, close_fds=False)),
                "argv": sys.argv,
            }
    """)
    result = serve(snippet).call().result
    assert result == {"env": [], "fds": 4, "argv": ["snippet.py"]}


# arguments


TYPED = """
def greet(name: str, times: int = 1, loud: bool = False, ratio: float = 0.5, rest=None):
    return [name, times, loud, ratio, rest]
"""


@pytest.mark.parametrize(
    ("target", "body", "result"),
    [
        ("/?name=Ann", None, ["Ann", 1, False, 0.5, None]),
        ("/any/path?name=A+%26+b&times=3", None, ["A & b", 3, False, 0.5, None]),
        ("/?name=Zo%C3%AB&loud=yes&ratio=2", None, ["Zoë", 1, True, 2.0, None]),
        ("/?name=&times=-3&loud=OFF", None, ["", -3, False, 0.5, None]),
        ("/?name=x&rest=1&rest=2", None, ["x", 1, False, 0.5, ["1", "2"]]),
        ("/", {"name": "x", "rest": {"a": [1]}}, ["x", 1, False, 0.5, {"a": [1]}]),
        ("/", {"name": "x", "times": "4", "ratio": 1}, ["x", 4, False, 1.0, None]),
        ("/?name=q", {"times": 2.0, "loud": True}, ["q", 2, True, 0.5, None]),
        ("/?name=q", {"name": "body wins"}, ["body wins", 1, False, 0.5, None]),
        ("/", "a string", ["a string", 1, False, 0.5, None]),
    ],
)
def test_arguments_come_from_query_and_json_by_annotation(
    serve: Start, target: str, body: object, result: list[object]
) -> None:
    assert serve(TYPED).call(target, body).result == result


@pytest.mark.parametrize("body", [b"name=A+b&times=2", b'{"name": "A b", "times": 2}'])
def test_arguments_come_from_a_form_or_from_json_that_curl_calls_one(
    serve: Start, body: bytes
) -> None:
    answer = serve(TYPED).call("/", body, Content_Type="application/x-www-form-urlencoded")
    assert answer.result == ["A b", 2, False, 0.5, None]


@pytest.mark.parametrize(
    ("target", "body", "faults"),
    [
        ("/", None, ["name is missing"]),
        ("/?nam=x", None, ["nam is not an argument", "name is missing"]),
        ("/?name=x&times=two&loud=2", None, ["times='two' is not int", "loud='2' is not bool"]),
        ("/?name=x&times=1_0", None, ["times='1_0' is not int"]),
        ("/?name=x&times=%D9%A3", None, ["times='\u0663' is not int"]),
        ("/?name=x&times=1.5", None, ["times='1.5' is not int"]),
        ("/", {"name": 5}, ["name=5 is not str"]),
        ("/", {"name": "x", "times": 1.5}, ["times=1.5 is not int"]),
        ("/", {"name": "x", "times": True}, ["times=True is not int"]),
        ("/", {"name": "x", "times": 1e400}, ["times=inf is not int"]),
        ("/", {"name": "x", "ratio": None}, ["ratio=None is not float"]),
        ("/?name=x&name=y", None, ["name=['x', 'y'] is not str"]),
        ("/?name=x", [1, 2], ["the body must be a JSON object that names the arguments"]),
    ],
)
def test_wrong_arguments_are_400_with_the_signature_and_every_fault(
    serve: Start, target: str, body: object, faults: list[str]
) -> None:
    raw = b'{"name": "x", "times": 1e400}' if "inf" in str(body) else body
    error = serve(TYPED).call(target, raw).error
    assert error["code"] == "bad_arguments"
    assert error["details"]["faults"] == faults
    signature = (
        "greet(name: str, times: int = 1, loud: bool = False, ratio: float = 0.5, rest = None)"
    )
    assert error["details"]["signature"] == signature
    assert signature in error["message"]
    assert faults[0] in error["message"]


@pytest.mark.parametrize(
    ("snippet", "target", "result"),
    [
        ("def f(*args, **kw): return [args, kw]", "/?a=1&b=2", [[], {"a": "1", "b": "2"}]),
        ("def f(a, /, b=2, *, c): return [a, b, c]", "/?c=3&a=1", ["1", 2, "3"]),
        ("def f(a=1, /, **kw): return [a, kw]", "/?b=2", [1, {"b": "2"}]),
        ("from __future__ import annotations\ndef f(n: int): return n", "/?n=1", 1),
        ("def f(n: list[int]): return n", "/?n=1", [1]),
        ("def f(n: [] = 0): return n", "/?n=1", "1"),
        ("class A:\n def m(self, n: int): return n\nhandler = A().m", "/?n=1", 1),
        (
            "import functools\ndef _d(f):\n @functools.wraps(f)\n def w(**k): return f(**k)\n"
            " return w\n@_d\ndef hello(n: int): return n",
            "/?n=1",
            1,
        ),
        ("import functools\n@functools.lru_cache\ndef f(n: int): return n", "/?n=1", 1),
        ("handler = dict", "/?n=1", {"n": "1"}),
        ("def f(a: str, **kw: int): return [a, kw]", "/?a=1&b=2", ["1", {"b": 2}]),
        ("def f(**kw: list[int]): return kw", "/?b=2", {"b": [2]}),
    ],
)
def test_every_kind_of_parameter_can_be_given(
    serve: Start, snippet: str, target: str, result: object
) -> None:
    assert serve(snippet).call(target).result == result


def test_unknown_names_are_converted_as_kwargs_is_annotated(serve: Start) -> None:
    for annotation, fault in (("int", "n='x' is not int"), ("list[int]", "n[0]='x' is not int")):
        error = serve(f"def f(**kw: {annotation}): return kw").call("/?n=x&m=1").error
        assert error["details"]["faults"] == [fault]


ITEM = """
from dataclasses import dataclass
from typing import Optional, TypedDict
@dataclass
class Item:
    name: str
    price: float = 0.0
class Named(TypedDict, total=False):
    name: str
"""


@pytest.mark.parametrize(
    ("snippet", "body", "result"),
    [
        ("def f(item: Item): return item", {"name": "a"}, {"name": "a", "price": 0.0}),
        ("def f(item: 'Item'): return item", {"item": {"name": "a"}}, {"name": "a", "price": 0.0}),
        ("def f(item: Optional[Item] = None): return item.name", {"name": "a"}, "a"),
        ("def f(item: Optional[Item] = None): return item", {}, None),
        ("def f(it: Named): return it", {"name": "a"}, {"name": "a"}),
        ("def f(it: dict): return it", {"a": {"b": 1}}, {"a": {"b": 1}}),
    ],
)
def test_an_object_is_the_value_of_the_only_argument_that_accepts_one(
    serve: Start, snippet: str, body: object, result: object
) -> None:
    assert serve(ITEM + snippet).call("/", body).result == result


@pytest.mark.parametrize(
    ("snippet", "body", "faults"),
    [
        (
            "def f(item: Item): pass",
            {"nme": "a"},
            ["item.nme is not a field of Item", "item.name is missing"],
        ),
        ("def f(item: Item, n: int = 1): pass", {"name": "a"}, ["name is not an argument"]),
        ("def f(item: Item, **kw): pass", {"name": "a"}, ["item is missing"]),
        ("def f(item): pass", {"name": "a"}, ["name is not an argument"]),
        ("def f(item: list): pass", {"name": "a"}, ["name is not an argument"]),
        ("def f(item: Item): pass", {}, ["item is missing"]),
    ],
)
def test_an_object_names_the_arguments_otherwise(
    serve: Start, snippet: str, body: object, faults: list[str]
) -> None:
    told = serve(ITEM + snippet).call("/", body).error["details"]["faults"]
    assert [fault for fault in told if fault in faults] == faults


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"{bad", "application/json", "neither JSON nor a form"),
        (b'{"name": NaN}', "application/json", "NaN"),
        (b'"\xff"', "application/json", "neither JSON nor a form"),
        (b"plain text", "text/plain", "neither JSON nor a form"),
        (b"[" * 100_000, "application/json", "too deeply nested"),
        (b'{"name":' * 100_000, "application/json", "too deeply nested"),
        (b"1" * 5000, "application/json", "neither JSON nor a form"),
        (b"name=%ff", "application/x-www-form-urlencoded", "is not UTF-8"),
        (b"name=\xff", "application/x-www-form-urlencoded", "neither JSON nor a form"),
        (b"a&" * 2000, "application/x-www-form-urlencoded", "more than 1000 fields"),
    ],
)
def test_a_body_that_cannot_be_parsed_is_400(
    serve: Start, body: bytes, kind: str, told: str
) -> None:
    runner = serve(TYPED)
    answer = runner.call("/", body, Content_Type=kind)
    assert answer.status == 400
    assert told in answer.error["message"]
    assert runner.call("/?name=x").status == 200


# results and failures


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("{1, 2}", "set"),
        ("float('nan')", "float"),
        ("{'a': [float('inf')]}", "dict"),
        ("loop", "list"),
        ("deep", "list"),
        ("{(1, 2): 3}", "dict"),
        ("Odd(a=1)", "Odd"),
    ],
)
def test_a_result_that_is_not_json_is_500_naming_its_type(
    serve: Start, expression: str, kind: str
) -> None:
    runner = serve(
        "loop = []; loop.append(loop)\n"
        "deep = []\nfor _ in range(100000): deep = [deep]\n"
        "class Odd(dict):\n def items(self): raise RuntimeError('odd')\n"
        f"def handler():\n    print('seen')\n    return {expression}"
    )
    answer = runner.call()
    assert answer.status == 500
    assert answer.error["code"] == "not_json"
    assert answer.error["details"] == {"type": kind}
    assert kind in answer.error["message"]
    assert answer.json["output"] == "seen\n"


def test_any_text_arrives_unchanged(serve: Start) -> None:
    snippet = "def f(s): print(s); return s"
    text = "é\u20ac\U0001f600\n\t\x00"
    assert serve(snippet).call("/", {"s": text}).json == {"result": text, "output": text + "\n"}


def test_half_a_surrogate_pair_is_no_reason_to_fail(serve: Start) -> None:
    answer = serve("def f(s): print(s); return s").call("/", b'{"s": "\\ud800"}')
    assert answer.json == {"result": "\ud800", "output": "\\ud800\n"}


def test_an_exception_is_500_with_the_snippets_own_lines(serve: Start) -> None:
    snippet = code("""
        import json
        def inner(text):
            return json.loads(text)

        def handler():
            print("before")
            return inner("{")
    """)
    runner = serve(snippet)
    answer = runner.call()
    assert answer.status == 500
    assert answer.json["output"] == "before\n"
    assert answer.error["code"] == "exception"
    assert answer.error["message"].startswith("JSONDecodeError: Expecting property name")
    details = answer.error["details"]
    assert details["type"] == "JSONDecodeError"
    assert details["message"] == answer.error["message"].partition(": ")[2]
    assert details["traceback"] == [
        'line 8, in handler: return inner("{")',
        "line 4, in inner: return json.loads(text)",
    ]
    assert "Traceback (most recent call last)" in runner.stderr
    assert "return inner" in runner.stderr
    assert "runner.py" not in runner.stderr


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("raise SystemExit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("handler()", "RecursionError"),
        ("raise Rude()", "Rude"),
        ("import sys; sys.exit()", "SystemExit"),
        ("raise MemoryError", "MemoryError"),
    ],
)
@pytest.mark.parametrize("define", ["def", "async def"])
def test_nothing_a_call_raises_ends_the_runner(
    serve: Start, define: str, body: str, kind: str
) -> None:
    if define == "async def" and "handler()" in body:
        body = "await handler()"
    runner = serve(
        "class Rude(Exception):\n    def __str__(self): raise ValueError\n    __repr__ = __str__\n"
        f"{define} handler():\n    {body}"
    )
    for _ in range(2):
        answer = runner.call()
        assert answer.status == 500
        assert answer.error["details"]["type"] == kind
    assert runner.terminate() == 0


def test_a_coroutine_function_is_awaited(serve: Start) -> None:
    snippet = code("""
        import asyncio
        LOOPS = set()
        async def handler(n: int):
            LOOPS.add(id(asyncio.get_running_loop()))
            await asyncio.sleep(0)
            print("n is", n)
            return [n, len(LOOPS)]
    """)
    runner = serve(snippet)
    for n in range(3):
        assert runner.call(f"/?n={n}").json == {"result": [n, 1], "output": f"n is {n}\n"}


def test_a_task_that_exits_does_not_end_the_event_loop(serve: Start) -> None:
    snippet = code("""
        import asyncio
        async def stray():
            raise SystemExit
        async def handler():
            task = asyncio.create_task(stray())
            await asyncio.sleep(0)
            return 1
    """)
    runner = serve(snippet, FOB_TIMEOUT="5")
    assert [runner.call().result for _ in range(3)] == [1, 1, 1]


def test_context_variables_do_not_leak_from_call_to_call(serve: Start) -> None:
    snippet = code("""
        from contextvars import ContextVar
        V = ContextVar("V", default=0)
        def handler():
            V.set(V.get() + 1)
            return V.get()
    """)
    runner = serve(snippet)
    assert [runner.call().result for _ in range(3)] == [1, 1, 1]


# the start


def test_it_starts_as_the_app_definition_starts_it(launch: Start) -> None:
    snippet = b"# coding: latin-1\ndef handler(): return '\xe9\x00'.strip(chr(0))".replace(
        b"\x00", b""
    )
    blob = base64.b64encode(zlib.compress(PROGRAM + b"\0" + snippet)).decode()
    cmd = (
        f"exec {sys.executable} -I -S -c 'import os,zlib,binascii;r,_,s=zlib.decompress("
        'binascii.a2b_base64(os.environ.pop("FOB_FUNCTION"))).partition(b"\\0");exec(compile(r,'
        '"runner.py","exec"),{"__name__":"__main__","SNIPPET":s})\''
    )
    runner = launch(b"", command=["/bin/sh", "-c", cmd], FOB_FUNCTION=blob)
    assert runner.wait_for("listening"), runner.stderr
    assert runner.call().result == "\xe9"
    assert runner.terminate() == 0


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"FOB_LISTEN_FD": ""}, "PORT0=8080 FOB_SNIPPET="),
        ({"FOB_LISTEN_FD": "77"}, "FOB_LISTEN_FD='77' is not an open file descriptor"),
        ({"FOB_LISTEN_FD": "x"}, "FOB_LISTEN_FD='x'"),
        ({"FOB_LISTEN_FD": "0"}, "cannot listen"),
        ({"FOB_LISTEN_FD": "", "PORT0": "http"}, "PORT0='http'"),
        ({"FOB_LISTEN_FD": "", "PORT0": "70000"}, "cannot listen on 70000"),
        ({"FOB_TIMEOUT": "soon"}, "FOB_TIMEOUT='soon'"),
        ({"FOB_TIMEOUT": "nan"}, "FOB_TIMEOUT='nan'"),
        ({"FOB_CONCURRENCY": "0"}, "FOB_CONCURRENCY='0'"),
    ],
)
def test_a_wrong_start_is_exit_2_and_says_why(
    launch: Start, env: dict[str, str], told: str
) -> None:
    runner = launch("def f(): pass", **env)
    assert runner.exit_code() == 2
    assert told in runner.stderr


def test_without_a_snippet_it_says_how_to_start_it(launch: Start) -> None:
    runner = launch("")
    assert runner.exit_code() == 2
    assert "PORT0=8080 FOB_SNIPPET=" in runner.stderr


def test_started_by_hand_it_binds_its_port_on_this_machine_only(launch: Start) -> None:
    runner = launch("def f(): return 1", FOB_LISTEN_FD="", PORT0="0")
    assert runner.wait_for("listening"), runner.stderr
    address = live.until(lambda: runner.stderr.partition(" on ")[2].strip())
    host, _, port = address.partition(":")
    runner.port = int(port)
    assert host == "127.0.0.1"
    assert runner.call().result == 1


def test_as_a_mesos_task_it_listens_on_every_address(launch: Start) -> None:
    runner = launch("def f(): return 1", FOB_LISTEN_FD="", PORT0="0", MESOS_TASK_ID="t.1")
    assert runner.wait_for("listening"), runner.stderr
    live.until(lambda: " on 0.0.0.0:" in runner.stderr)


def test_marks_go_to_the_pipe_in_order(serve: Start) -> None:
    runner = serve("def f(): return 1")
    assert runner.marks == ["runner_up", "imported", "listening"]
    runner.call()
    assert runner.wait_for("first_call")
    runner.call()
    assert runner.marks == ["runner_up", "imported", "listening", "first_call"]


def test_without_a_pipe_marks_go_to_the_sandbox(launch: Start, tmp_path: Path) -> None:
    runner = launch("def f(): return 1", FOB_NOTIFY_FD="", MESOS_SANDBOX=str(tmp_path))
    runner.call()
    assert runner.terminate() == 0
    marks = timeline.parse((tmp_path / "timeline").read_text())
    assert [mark.name for mark in marks] == ["runner_up", "imported", "listening", "first_call"]
    assert [mark.at_ns for mark in marks] == sorted(mark.at_ns for mark in marks)
    assert all(len(mark.at) == len("2016-04-02T23:09:47.123Z") for mark in marks)
