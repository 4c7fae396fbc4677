import pytest

from fob.errors import BadRequest
from fob.runner.core.names import ENTRY_NAMES
from fob.source import parsing


def refusal(body: bytes, entry: str | None = None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        parsing.check(body, entry)
    return caught.value


@pytest.mark.parametrize("body", [b"", b" \n\t\n", b"# only a comment\n"])
def test_a_file_without_code_is_an_empty_body(body: bytes):
    assert refusal(body).code == "empty_body"


def test_the_sample_is_a_function():
    found = parsing.check(b'def call_me():\n    print("Hello serverless world!")\n')
    assert found.functions == ("call_me",)


def test_latin_1_without_a_coding_line_is_refused_with_a_remedy():
    error = refusal("x = 1\ns = 'é'\n".encode("latin-1"))
    assert error.code == "not_text"
    assert "line 2" in error.message
    assert "coding: latin-1" in error.message


def test_latin_1_with_a_coding_line_is_fine():
    parsing.check("# -*- coding: latin-1 -*-\ndef f(): return 'é'\n".encode("latin-1"))


def test_a_byte_order_mark_is_fine():
    parsing.check("\ufeffdef f(): return 1\n".encode())


def test_an_unknown_coding_is_refused():
    assert refusal(b"# coding: klingon\nx = 1\n").code == "not_text"


@pytest.mark.parametrize("body", [b"x = 1\0\n", "x = 1\n".encode("utf-16")])
def test_nul_bytes_are_refused(body: bytes):
    assert refusal(body).code == "not_text"


def test_a_syntax_error_has_its_line_and_column():
    error = refusal(b"def f():\n    return )\n")
    assert error.code == "syntax_error"
    assert error.details == {"line": 2, "column": 12, "text": "    return )"}
    assert "line 2, column 12" in error.message


def test_an_error_found_by_the_compiler_is_a_syntax_error():
    assert refusal(b"return 1\n").code == "syntax_error"


@pytest.mark.parametrize("body", [b"x = " + b"(" * 5000, b"x = " + b"-" * 50000 + b"1"])
def test_excessive_nesting_is_a_syntax_error(body: bytes):
    assert refusal(body).code == "syntax_error"


def test_an_invalid_escape_sequence_is_accepted():
    parsing.check(b"def f(): return '\\d'\n")


def test_several_functions_without_a_known_name_are_refused_with_the_names_found():
    error = refusal(b"def a(): pass\ndef b(): pass\ndef _c(): pass\n")
    assert error.code == "no_callable"
    assert error.details == {"found": ["a", "b"]}
    assert "a, b" in error.message


@pytest.mark.parametrize("name", ENTRY_NAMES)
def test_a_known_name_is_enough(name: str):
    parsing.check(f"def a(): pass\ndef b(): pass\ndef {name}(): pass\n".encode())


@pytest.mark.parametrize(
    "last",
    [
        "handler = a",
        "from elsewhere import main",
        "from elsewhere import *",
        "import handler.part",
        "if a: handler = b",
        "with open('x') as handler: pass",
        "try:\n    pass\nexcept E:\n    handler = b",
        "for main in (): pass",
        "match a:\n    case 1:\n        handle = b",
        "class handler: pass",
        "(main := a)",
        "def __getattr__(name): pass",
    ],
)
def test_a_known_name_bound_by_any_statement_is_accepted(last: str):
    parsing.check(f"def a(): pass\ndef b(): pass\n{last}\n".encode())


@pytest.mark.parametrize(
    "text",
    [
        "def a(): pass\ndef _b(): pass\n",
        "print('a script')\n",
        "import x\nif x:\n    def a(): pass\nelse:\n    def b(): pass\n",
        "import x\n@x.task\ndef a(): pass\n@x.task\ndef b(): pass\n",
        "def a(): pass\ndef b(): pass\ndel b\n",
        "def a(): pass\ndef b(): pass\nb = 1\n",
        "def a():\n    def b(): pass\n",
        "class A:\n    def b(self): pass\n    def c(self): pass\n",
        "def a(): pass\nasync def a(): pass\n",
    ],
)
def test_a_file_that_may_have_a_callable_is_accepted(text: str):
    parsing.check(text.encode())


def test_a_missing_entry_is_refused_with_the_names_found():
    error = refusal(b"def a(): pass\n", entry="b")
    assert error.code == "no_callable"
    assert error.details == {"found": ["a"]}


@pytest.mark.parametrize(
    "text", ["def go(): pass", "go = 1", "from m import go", "from m import *"]
)
def test_an_entry_that_may_exist_is_accepted(text: str):
    parsing.check(text.encode(), entry="go")
