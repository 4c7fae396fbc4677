"""ASGI applications: scope, bodies both ways, lifespan, disconnects, protocol errors."""

import socket

import pytest
from talk import GET, Serve, echoes_in_upper_case_while_it_is_sent_to, post, receive

import live
from running import Runner, read_all

# an application that has `answer` for its body, with the few things that most of them need
HEAD = """
import asyncio, json
async def begin(send, status=200, *headers):
    await send({'type': 'http.response.start', 'status': status, 'headers': list(headers)})
async def say(send, body=b'', more=False):
    await send({'type': 'http.response.body', 'body': body, 'more_body': more})
log = []
"""


def application(answer: str, lifespan: str = "raise ValueError('no lifespan')") -> str:
    def block(text: str) -> str:
        return "".join(f"        {line}\n" for line in text.splitlines())

    return (
        f"{HEAD}async def app(scope, receive, send):\n"
        f"    if scope['type'] == 'lifespan':\n{block(lifespan)}"
        f"    else:\n{block(answer)}"
    )


def test_the_scope_is_that_of_the_specification(serve: Serve) -> None:
    runner = serve(
        application(
            "shown = {k: v for k, v in scope.items() if k not in ('headers', 'client', 'server')}\n"
            "await begin(send)\n"
            "await say(send, repr(shown).encode() + repr(sorted(scope['headers'])).encode())\n"
            "assert scope['client'][0] == scope['server'][0] == '127.0.0.1'"
        )
    )
    with runner.connect() as sock:
        sock.sendall(b"PUT /a%20b%C3%A9?q=%20 HTTP/1.0\r\nX-A: B\r\nContent-Length: 0\r\n\r\n")
        text = read_all(sock).partition(b"\r\n\r\n")[2].decode()
    shown = eval(text.partition("}[")[0] + "}")
    assert shown == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.0",
        "method": "PUT",
        "scheme": "http",
        "path": "/a bé",
        "raw_path": b"/a%20b%C3%A9",
        "query_string": b"q=%20",
        "root_path": "",
        "state": {},
    }
    assert "[[b'content-length', b'0'], [b'x-a', b'B']]" in text
    assert "Traceback" not in runner.stderr


ECHO = application(
    "await begin(send, 200, (b'content-type', b'text/plain'))\n"
    "more = True\n"
    "while more:\n"
    "    message = await receive()\n"
    "    more = message['more_body']\n"
    "    await say(send, message['body'].upper(), more)"
)


def test_a_small_response_is_one_write_with_its_length(serve: Serve) -> None:
    answer = serve(ECHO).call("/", b"abc")
    assert answer.headers == {"content-type": "text/plain", "Content-Length": "3"}
    assert answer.body == b"ABC"


def test_bodies_stream_both_ways_at_once(serve: Serve) -> None:
    echoes_in_upper_case_while_it_is_sent_to(serve(ECHO))


def test_a_body_may_be_larger_than_what_functions_get_whole(serve: Serve) -> None:
    runner = serve(
        application(
            "size, more = 0, True\n"
            "while more:\n"
            "    message = await receive()\n"
            "    size, more = size + len(message['body']), message['more_body']\n"
            "await begin(send)\n"
            "await say(send, str(size).encode())"
        )
    )
    assert runner.call("/", bytes(20_000_000)).body == b"20000000"
    assert runner.call("/").body == b"0"


def test_100_continue_is_sent_when_the_application_reads_the_body(serve: Serve) -> None:
    runner = serve(ECHO)
    with runner.connect() as sock:
        sock.sendall(post(b"Content-Length: 3", b"Expect: 100-continue"))
        receive(sock, b"100 Continue")
        sock.sendall(b"abc")
        receive(sock, b"ABC")


def test_a_body_that_is_not_read_is_discarded(serve: Serve) -> None:
    runner = serve(application("await begin(send, 413)\nawait say(send, b'too much')"))
    answer = runner.call("/", bytes(3_000_000))
    assert (answer.status, answer.body) == (413, b"too much")
    assert answer.headers["Connection"] == "close"
    assert "Connection" not in runner.call("/", b"small").headers


def test_a_large_response_is_sent_at_the_clients_pace(serve: Serve) -> None:
    runner = serve(
        application(
            "await begin(send)\n"
            "for _ in range(300): await say(send, bytes(65536), True)\n"
            "await say(send)"
        )
    )
    with runner.connect() as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(runner.call().body) == 300 * 65536
        assert len(read_all(slow)) > 300 * 65536


def test_a_declared_length_is_kept(serve: Serve) -> None:
    runner = serve(
        application(
            "await begin(send, 200, (b'content-length', b'4'))\n"
            "await say(send, b'ab', True)\nawait say(send, b'cd')"
        )
    )
    answer = runner.call()
    assert (answer.headers, answer.body) == ({"Content-Length": "4"}, b"abcd")
    assert runner.call(method="HEAD").headers == {"Content-Length": "4"}


@pytest.mark.parametrize("piece", ["b'abcdef'", "b'a'"])
def test_a_body_of_another_length_than_declared_is_aborted(serve: Serve, piece: str) -> None:
    runner = serve(
        application(
            f"await begin(send, 200, (b'content-length', b'4'))\nawait say(send, {piece}, True)\n"
            "await say(send)"
        )
    )
    runner.raw(GET)
    live.until(lambda: "than its Content-Length" in runner.stderr)


def test_a_disconnect_of_the_client_is_reported(serve: Serve) -> None:
    runner = serve(
        application(
            "if scope['path'] == '/log':\n"
            "    await begin(send)\n"
            "    return await say(send, repr(log).encode())\n"
            "await receive()\n"
            "log.append('waiting')\n"
            "log.append((await receive())['type'])\n"
        )
    )
    with runner.connect() as sock:
        sock.sendall(GET)
        live.until(lambda: runner.call("/log").body == b"['waiting']")
    live.until(lambda: runner.call("/log").body == b"['waiting', 'http.disconnect']")


def test_a_pipelined_request_is_no_disconnect(serve: Serve) -> None:
    runner = serve(
        application(
            "await receive()\n"
            "gone = asyncio.ensure_future(receive())\n"
            "done, _ = await asyncio.wait({gone}, timeout=0.05)\n"
            "await begin(send)\nawait say(send, repr(bool(done)).encode())\n"
            "await say(send)\n"
            "log.append((await gone)['type'])"
        )
    )
    with runner.connect() as sock:
        sock.sendall(GET + GET)
        received = b""
        while received.count(b"False") < 2:
            received += sock.recv(1000)


def test_the_application_may_go_on_after_its_response(serve: Serve) -> None:
    runner = serve(
        application(
            "await begin(send)\nawait say(send, repr(log).encode())\n"
            "await asyncio.sleep(0.1)\nlog.append('later')\nprint('done', flush=True)"
        )
    )
    assert runner.call().body == b"[]"
    assert runner.terminate() == 0
    assert runner.stdout == "done\n"


def test_a_signal_lets_both_streams_of_a_call_in_flight_finish(serve: Serve) -> None:
    runner = serve(ECHO)
    with runner.connect() as sock:
        sock.sendall(post(b"Content-Length: 6") + b"abc")
        receive(sock, b"ABC")
        runner.process.terminate()
        live.until(lambda: refused(runner))
        sock.sendall(b"def")
        assert read_all(sock).endswith(b"DEF\r\n0\r\n\r\n")
    assert runner.exit_code() == 0


def refused(runner: Runner) -> bool:
    try:
        runner.connect().close()
    except ConnectionError:
        return True
    return False


def test_an_error_after_the_response_is_logged(serve: Serve) -> None:
    runner = serve(application("await begin(send)\nawait say(send)\n1 / 0"))
    assert runner.call().status == 200
    live.until(lambda: "ZeroDivisionError" in runner.stderr)


# what applications do wrong


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        ("1 / 0", "exception", "division by zero"),
        ("await begin(send)\n1 / 0", "exception", "division by zero"),
        ("raise SystemExit(3)", "exception", "SystemExit: 3"),
        ("pass", "invalid_result", "it ended without a complete response"),
        ("await begin(send)", "invalid_result", "it ended without a complete response"),
        (
            "await say(send)",
            "invalid_result",
            "'http.response.body' before its http.response.start",
        ),
        ("await begin(send)\nawait begin(send)", "invalid_result", "after its http.response.start"),
        ("await send({'type': 'http.response.start'})", "invalid_result", "KeyError('status')"),
        ("await begin(send, 200, ('a', 'b'))", "invalid_result", "an invalid http.response.start"),
        ("await begin(send)\nawait say(send, 'text')", "invalid_result", "a str in the body"),
        ("await begin(send, 99)\nawait say(send)", "invalid_result", "99 is not the status"),
    ],
)
def test_a_protocol_error_of_the_application_is_500_with_the_reason(
    serve: Serve, answer: str, code: str, told: str
) -> None:
    runner = serve(application(answer))
    for _ in range(2):
        got = runner.call()
        assert (got.status, got.error["code"]) == (500, code)
        assert told in got.error["message"]


@pytest.mark.parametrize(
    "before", ["", "await receive()\nawait receive()\n", "await begin(send)\n"]
)
def test_an_application_that_never_responds_is_504(serve: Serve, before: str) -> None:
    runner = serve(
        application(
            "if scope['path'] == '/ok':\n    await begin(send)\n    return await say(send, b'ok')\n"
            f"{before}await asyncio.sleep(60)"
        ),
        FOB_TIMEOUT="0.2",
    )
    assert runner.call().error["code"] == "timeout"
    assert runner.call("/ok").body == b"ok"


def test_a_response_that_does_not_end_is_aborted(serve: Serve) -> None:
    runner = serve(
        application("await begin(send)\nawait say(send, b'a', True)\nawait asyncio.sleep(60)"),
        FOB_TIMEOUT="0.2",
    )
    got = runner.raw(GET)
    assert got.endswith(b"1\r\na\r\n")


def test_websockets_are_refused(serve: Serve) -> None:
    answer = serve(ECHO).call("/", Connection="Upgrade", Upgrade="websocket")
    assert (answer.status, answer.error["code"]) == (501, "upgrade_refused")


# lifespan

LIFESPAN = """
scope['state']['n'] = 1
assert (await receive())['type'] == 'lifespan.startup'
print('up', flush=True)
await send({'type': 'lifespan.startup.complete'})
assert (await receive())['type'] == 'lifespan.shutdown'
print('down', flush=True)
await send({'type': 'lifespan.shutdown.complete'})
"""


def test_the_lifespan_is_run_and_its_state_passed_on(serve: Serve) -> None:
    runner = serve(
        application(
            "await begin(send)\nscope['state']['n'] += 1\n"
            "await say(send, str(scope['state']['n']).encode())",
            LIFESPAN,
        )
    )
    assert [runner.call().body, runner.call().body] == [b"2", b"2"]
    assert runner.terminate() == 0
    assert runner.stdout == "up\ndown\n"


def test_a_failed_startup_is_exit_3_with_the_reason(launch: Serve) -> None:
    failed = "await send({'type': 'lifespan.startup.failed', 'message': 'no database'})"
    runner = launch(application("pass", failed))
    assert runner.exit_code() == 3
    assert "startup failed: no database" in runner.stderr
    assert "listening" not in runner.marks


@pytest.mark.parametrize("lifespan", ["return", "raise KeyError('type')", "await receive()\n1 / 0"])
def test_an_application_without_a_lifespan_is_served_too(serve: Serve, lifespan: str) -> None:
    runner = serve(application("await begin(send)\nawait say(send, b'x')", lifespan))
    assert runner.call().body == b"x"
    assert runner.terminate() == 0


@pytest.mark.parametrize(
    "end", ["await send({'type': 'lifespan.shutdown.failed', 'message': 'x'})", "1 / 0", "return"]
)
def test_a_failed_shutdown_does_not_keep_the_runner_from_exiting(serve: Serve, end: str) -> None:
    up = "await receive()\nawait send({'type': 'lifespan.startup.complete'})\nawait receive()\n"
    runner = serve(application("pass", up + end))
    assert runner.terminate() == 0


def test_a_class_and_an_instance_may_be_the_application(serve: Serve) -> None:
    body = (
        "    async def __call__(self, scope, receive, send):\n"
        "        assert scope['type'] == 'http'\n"
        "        await begin(send)\n        await say(send, b'x')\n"
    )
    for end in ("app = App()", "app = App", ""):
        runner = serve(f"{HEAD}class App:\n{body}{end}", FOB_ENTRY="" if end else "App.__call__")
        assert runner.call().body == b"x"


def test_a_method_may_be_the_application_as_on_knative(serve: Serve) -> None:
    runner = serve(
        f"{HEAD}class Function:\n"
        "    async def handle(self, scope, receive, send):\n"
        "        await begin(send)\n        await say(send, scope['path'].encode())\n"
        "def new(): return Function()\n",
        FOB_ENTRY="Function.handle",
    )
    assert runner.call("/a").body == b"/a"
    assert runner.call("/b").body == b"/b"


def test_many_concurrent_calls_get_their_own_responses(serve: Serve) -> None:
    runner = serve(
        application(
            "await asyncio.sleep(0.01)\nawait begin(send)\nawait say(send, scope['query_string'])"
        )
    )
    socks: list[socket.socket] = [runner.connect() for _ in range(40)]
    for n, sock in enumerate(socks):
        sock.sendall(b"GET /?%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % n)
    for n, sock in enumerate(socks):
        with sock:
            assert read_all(sock).endswith(b"\r\n\r\n%d" % n)
