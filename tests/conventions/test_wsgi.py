"""WSGI applications: PEP 3333, bodies both ways, protocol errors."""

import pytest
from talk import GET, Serve, echoes_in_upper_case_while_it_is_sent_to, post

import live


def application(body: str) -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"closed = []\ndef app(environ, start_response):\n{lines}"


OK = "start_response('200 OK', [('Content-Type', 'text/plain')])\n"


def test_the_environment_is_as_the_pep_defines_it(serve: Serve) -> None:
    runner = serve(
        application(
            OK + "text = {k: v for k, v in environ.items() if isinstance(v, (str, bool, tuple))}\n"
            "return [repr(text).encode()]"
        )
    )
    shown = eval(runner.call("/a%20b%C3%A9?q=%20", b"x", "PUT", X_A="b", Content_Type="a/b").body)
    assert shown.pop("REMOTE_PORT").isdigit()
    assert shown.pop("HTTP_HOST") == f"127.0.0.1:{shown['SERVER_PORT']}"
    assert shown == {
        "REQUEST_METHOD": "PUT",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b\u00c3\u00a9",
        "QUERY_STRING": "q=%20",
        "CONTENT_TYPE": "a/b",
        "CONTENT_LENGTH": "1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(runner.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_A": "b",
        "HTTP_ACCEPT_ENCODING": "identity",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


@pytest.mark.parametrize(
    ("read", "got"),
    [
        ("file.read()", b"one\ntwo\nthree"),
        ("file.read(5)", b"one\nt"),
        ("file.readline()", b"one\n"),
        ("file.readline(2)", b"on"),
        ("b'|'.join(file.readlines())", b"one\n|two\n|three"),
        ("b'|'.join(file)", b"one\n|two\n|three"),
        ("file.read(-1) + file.read()", b"one\ntwo\nthree"),
    ],
)
def test_the_input_is_a_file(serve: Serve, read: str, got: bytes) -> None:
    runner = serve(application(OK + f"file = environ['wsgi.input']\nreturn [{read}]"))
    assert runner.call("/", b"one\ntwo\nthree").body == got


def test_bodies_stream_both_ways_at_once(serve: Serve) -> None:
    runner = serve(application(OK + "for line in environ['wsgi.input']: yield line.upper()"))
    echoes_in_upper_case_while_it_is_sent_to(runner)


def test_a_body_may_be_larger_than_what_functions_get_whole(serve: Serve) -> None:
    runner = serve(application(OK + "return [str(sum(map(len, environ['wsgi.input']))).encode()]"))
    assert runner.call("/", bytes(20_000_000)).body == b"20000000"


def test_a_client_that_disconnects_in_the_middle_of_its_body_is_a_read_error(serve: Serve) -> None:
    runner = serve(application(OK + "return [environ['wsgi.input'].read()]"))
    runner.raw(post(b"Content-Length: 10") + b"abc")
    live.until(lambda: "the client has disconnected" in runner.stderr)
    assert runner.call().status == 200


@pytest.mark.parametrize(
    ("result", "length"),
    [
        ("[b'abc']", "3"),
        ("iter([b'', b'abc'])", "3"),
        ("[]", "0"),
        ("[b'']", "0"),
        ("(b for b in [b'abc'])", None),
        ("[b'ab', b'c']", None),
    ],
)
def test_a_complete_body_has_its_length_and_any_other_is_streamed(
    serve: Serve, result: str, length: str | None
) -> None:
    answer = serve(application(OK + f"return {result}")).call()
    assert answer.headers.get("Content-Length") == length
    assert answer.body == (b"" if length == "0" else b"abc")


def test_a_declared_length_makes_a_generators_piece_complete(serve: Serve) -> None:
    runner = serve(
        application("start_response('201 Made', [('Content-Length', '3')])\nyield b'abc'")
    )
    assert (runner.call().headers, runner.call().body) == ({"Content-Length": "3"}, b"abc")
    assert runner.call(method="HEAD").headers == {"Content-Length": "3"}


def test_write_sends_at_once(serve: Serve) -> None:
    runner = serve(application(OK.replace("start", "write = start") + "write(b'a')\nreturn [b'b']"))
    assert runner.call().body == b"ab"


def test_the_iterable_is_closed_whatever_happens(serve: Serve) -> None:
    runner = serve(
        application(
            "class Pieces:\n"
            "    def __iter__(self):\n"
            "        if environ['QUERY_STRING'] == 'fail': raise ValueError\n"
            "        yield b'%d' % len(closed)\n"
            "    def close(self): closed.append(1)\n" + OK + "return Pieces()"
        )
    )
    assert runner.call("/?fail").status == 500
    assert runner.call().body == b"1"
    assert runner.call().body == b"2"


def test_errors_go_to_the_log(serve: Serve) -> None:
    runner = serve(
        application(OK + "print('oh', file=environ['wsgi.errors'], flush=True)\nreturn []")
    )
    runner.call()
    assert "oh\n" in runner.stderr


def test_exc_info_replaces_a_head_that_was_not_sent(serve: Serve) -> None:
    runner = serve(
        "import sys\n"
        + application(
            OK + "try: 1 / 0\n"
            "except ZeroDivisionError: start_response('500 Oops', [], sys.exc_info())\n"
            "return [b'sorry']"
        )
    )
    answer = runner.call()
    assert (answer.status, answer.body) == (500, b"sorry")


def test_exc_info_after_the_head_was_sent_is_raised(serve: Serve) -> None:
    runner = serve(
        "import sys\n"
        + application(
            OK + "yield b'a'\nyield b'b'\ntry: 1 / 0\n"
            "except ZeroDivisionError: start_response('500 Oops', [], sys.exc_info())\n"
            "yield b'c'"
        )
    )
    assert runner.raw(GET).endswith(b"1\r\nb\r\n")
    assert "ZeroDivisionError" in runner.stderr


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        ("1 / 0", "exception", "division by zero"),
        (OK + "1 / 0", "exception", "division by zero"),
        (OK + "raise SystemExit", "exception", "SystemExit"),
        ("return [b'a']", "invalid_result", "a body before start_response was called"),
        ("return None", "exception", "NoneType"),
        (OK + "return 'abc'", "invalid_result", "a str in the body"),
        (OK + "return ['a']", "invalid_result", "a str in the body"),
        (OK + OK + "return []", "exception", "start_response was called twice"),
        ("start_response('OK', [])\nreturn []", "invalid_result", "the status 'OK'"),
        ("start_response('200 OK', [('A\\n', '')])\nreturn []", "invalid_result", "of a header"),
    ],
)
def test_a_protocol_error_of_the_application_is_500_with_the_reason(
    serve: Serve, body: str, code: str, told: str
) -> None:
    runner = serve(application(body))
    for _ in range(2):
        got = runner.call()
        assert (got.status, got.error["code"]) == (500, code)
        assert told in got.error["message"]


def test_an_error_after_the_head_aborts_the_connection(serve: Serve) -> None:
    runner = serve(application(OK + "yield b'a'\nyield b'b'\n1 / 0"))
    assert runner.raw(GET).endswith(b"1\r\na\r\n1\r\nb\r\n")


def test_an_application_that_never_responds_is_504(serve: Serve) -> None:
    runner = serve(
        "import time\n"
        + application(OK + "while environ['PATH_INFO'] == '/': time.sleep(0.01)\nreturn [b'x']"),
        FOB_TIMEOUT="0.2",
    )
    assert runner.call().error["code"] == "timeout"
    assert runner.call("/ok").body == b"x"


def test_a_body_that_never_arrives_is_504(serve: Serve) -> None:
    runner = serve(application(OK + "return [environ['wsgi.input'].read()]"), FOB_TIMEOUT="0.3")
    with runner.connect() as sock:
        sock.sendall(post(b"Content-Length: 10") + b"abc")
        assert sock.recv(1000).startswith(b"HTTP/1.1 504 ")
    assert runner.call("/", b"ok").body == b"ok"
