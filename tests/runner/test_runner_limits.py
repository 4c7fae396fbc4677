"""Concurrent calls, output, time limits, shutdown, and harmful snippets."""

import contextlib
import json
import os
import random
import re
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from running import Command, Runner, Start, read_all

GATE = """
import threading
gate, inside = threading.Event(), threading.Semaphore(0)
def handler(open: bool = False, text: str = ""):
    if open:
        gate.set()
        return "opened"
    print("start", text)
    inside.release()
    gate.wait(20)
    print("end", text)
    return text
"""


def at_once(runner: Runner, targets: list[str]) -> list[Any]:
    with ThreadPoolExecutor(len(targets)) as pool:
        return list(pool.map(runner.call, targets))


def lines_in(path: Path, count: int) -> None:
    """Wait until a log has `count` lines."""
    deadline = time.monotonic() + 20
    while path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, path.read_text()
        time.sleep(0.01)


# calls at once


def test_blocking_calls_run_side_by_side_and_keep_their_output_apart(serve: Start) -> None:
    runner = serve(GATE)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(runner.call, f"/?text=t{n}") for n in range(8)]
        lines_in(runner.folder / "stdout", 8)
        assert runner.call("/?open=1").result == "opened"
        for n, call in enumerate(calls):
            assert call.result().json == {"result": f"t{n}", "output": f"start t{n}\nend t{n}\n"}
    assert sorted(runner.stdout.splitlines()) == sorted(
        [f"start t{n}" for n in range(8)] + [f"end t{n}" for n in range(8)]
    )


def test_no_more_calls_run_at_once_than_allowed(serve: Start) -> None:
    snippet = """
import threading, time
lock, now, most = threading.Lock(), 0, 0
def handler(ask: bool = False):
    global now, most
    if ask:
        return most
    with lock:
        now += 1
        most = max(most, now)
    time.sleep(0.05)
    with lock:
        now -= 1
"""
    runner = serve(snippet, FOB_CONCURRENCY="3")
    at_once(runner, ["/"] * 20)
    assert runner.call("/?ask=1").result == 3


def test_every_call_gets_its_own_response_whatever_others_do(serve: Start) -> None:
    snippet = """
import time
def handler(ms: float, text: str):
    print(text)
    time.sleep(ms / 1000)
    return text
"""
    runner = serve(snippet, FOB_CONCURRENCY="4")

    def client(number: int) -> None:
        chance = random.Random(number)
        with runner.connect() as sock, sock.makefile("rb") as answers:
            for _ in range(15):
                texts = [f"{number}-{n}" for n in range(chance.randint(1, 3))]
                for text in texts:
                    ms = chance.choice((0, 0, 0.5, 2, 8))
                    sock.sendall(f"GET /?ms={ms}&text={text} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert [next_answer(answers) for _ in texts] == [
                    {"result": text, "output": f"{text}\n"} for text in texts
                ]

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(client, range(12)))


def next_answer(file: BinaryIO) -> Any:
    size = 0
    while (line := file.readline()) != b"\r\n":
        assert line
        if line.startswith(b"Content-Length:"):
            size = int(line.split()[1])
    return json.loads(file.read(size))


def test_a_quick_function_is_served_by_one_thread(serve: Start) -> None:
    runner = serve("import threading\ndef f(): return threading.get_ident()")
    with runner.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
        sock.shutdown(socket.SHUT_WR)
        data = read_all(sock)
    assert len(set(re.findall(rb"result.: (\d+)", data))) == 1


MIXED = """
import time
def f(seconds: float = 0, words: int = 1):
    time.sleep(seconds)
    return "word " * words
"""


@contextlib.contextmanager
def asked_together(runner: Runner, targets: list[str]) -> Iterator[list[socket.socket]]:
    """Connections whose requests have all arrived before the first one is read."""
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(runner.connect()) for _ in targets]
        for sock in socks:  # until they are all let in
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"word" in sock.recv(65536)
        runner.process.send_signal(signal.SIGSTOP)
        for sock, target in zip(socks, targets, strict=True):
            sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        runner.process.send_signal(signal.SIGCONT)
        yield socks


@pytest.mark.parametrize("concurrency", ["1", "16"])
@pytest.mark.parametrize("limit", ["60", "0.001"])
def test_quick_responses_do_not_wait_for_a_slow_call(
    serve: Start, patched: Command, concurrency: str, limit: str
) -> None:
    """Quick responses are held, to be sent together; the slow call starts before that."""
    command = patched(QUICK=1.0)  # all but the slow one, however busy the machine is
    runner = serve(MIXED, command, FOB_CONCURRENCY=concurrency, FOB_TIMEOUT=limit)
    with asked_together(runner, ["/"] * 5 + ["/?seconds=3"] + ["/"] * 5) as socks:
        began = time.monotonic()
        for sock in socks[:5]:
            assert sock.recv(65536).endswith(b'{"result": "word "}')
        assert time.monotonic() - began < 2.5
        assert not select.select([socks[5]], [], [], 0)[0] or limit != "60"
        for sock in socks[6:]:
            assert sock.recv(65536).endswith(b'{"result": "word "}')
        assert (b"word" if limit == "60" else b"timeout") in socks[5].recv(65536)


def test_a_client_that_disconnects_costs_no_other_client_its_response(
    serve: Start, patched: Command
) -> None:
    runner = serve(MIXED, patched(QUICK=1.0))
    files = Path(f"/proc/{runner.process.pid}/fd")
    before = len(list(files.iterdir()))
    for _ in range(20):
        with asked_together(runner, ["/"] * 8) as socks:
            for sock in socks[::2]:  # reset, not just closed
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
            for sock in socks[1::2]:
                assert sock.recv(65536).endswith(b'{"result": "word "}')
    deadline = time.monotonic() + 20
    while len(list(files.iterdir())) > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_responses_that_a_socket_does_not_accept_at_once_all_arrive(
    serve: Start, patched: Command
) -> None:
    runner = serve(MIXED, patched(QUICK=9.0, SLOW=9.0, TICK=9.0, MAX_HELD_BYTES=1 << 30))
    words = [2_000_000, 1, 2_000_000, 1]
    with asked_together(runner, [f"/?words={count}" for count in words]) as socks:
        for sock, count in zip(socks, words, strict=True):
            answer = sock.recv(65536)
            while not answer.endswith(b'"}'):
                answer += sock.recv(1 << 20)
            assert answer.count(b"word ") == count
        socks[0].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert socks[0].recv(65536).endswith(b'{"result": "word "}')


def test_coroutines_run_at_once_and_keep_their_output_apart(serve: Start) -> None:
    snippet = """
import asyncio
waiting = []
async def handler(n: int):
    print("start", n)
    waiting.append(event := asyncio.Event())
    if len(waiting) == 8:
        [event.set() for event in waiting]
    await event.wait()
    print("end", n)
"""
    answers = at_once(serve(snippet), [f"/?n={n}" for n in range(8)])
    assert [a.json["output"] for a in answers] == [f"start {n}\nend {n}\n" for n in range(8)]


# output


def test_ten_megabytes_of_output_are_truncated_in_the_response_and_whole_in_the_log(
    serve: Start,
) -> None:
    runner = serve("def f():\n    for _ in range(100_000): print('x' * 99)\n    return 1")
    answer = runner.call()
    assert answer.result == 1
    assert answer.json["output_truncated"] is True
    assert answer.json["output"] == ("x" * 99 + "\n") * 10485 + "x" * 76
    assert (runner.folder / "stdout").stat().st_size == 10_000_000
    status = Path(f"/proc/{runner.process.pid}/status").read_text()
    peak_kib = int(status.split("VmHWM:")[1].split()[0])
    assert peak_kib < 40_000


def test_output_of_every_kind_is_kept(serve: Start) -> None:
    snippet = """
import sys
def f():
    print("a", end="")
    sys.stdout.write("b")
    sys.stdout.buffer.write(b"c\\xff")
    sys.stdout.writelines(["d", "e"])
    print("f", file=sys.stdout, flush=True)
    print("to the log", file=sys.stderr)
    return [sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.fileno()]
"""
    runner = serve(snippet)
    assert runner.call().json == {"result": ["utf-8", False, 1], "output": "abc\ufffddef\n"}
    assert (runner.folder / "stdout").read_bytes() == b"abc\xffdef\n"
    assert "to the log\n" in runner.stderr


def test_what_the_import_and_other_threads_print_goes_to_the_log_only(serve: Start) -> None:
    snippet = """
import threading
print("import")
def f():
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()
"""
    runner = serve(snippet)
    assert runner.call().json == {"result": None}
    assert runner.stdout == "import\nthread\n"


@pytest.mark.parametrize("harm", ["sys.stdout.close()", "sys.stdout = None"])
def test_a_call_that_breaks_stdout_does_not_break_the_next(serve: Start, harm: str) -> None:
    runner = serve(
        "import sys, os\ndef f(harm: bool = False):\n"
        f"    if harm:\n        {harm}\n    print('still here')"
    )
    runner.call("/?harm=1")
    assert runner.call().json == {"result": None, "output": "still here\n"}


# time


@pytest.mark.parametrize(
    "snippet",
    [
        "def f(long: bool = False):\n    while long: pass\n    return 1",
        "import time\ndef f(long: bool = False):\n    while long: time.sleep(0.01)\n    return 1",
        "import asyncio\nasync def f(long: bool = False):\n    await asyncio.sleep(60 * long)"
        "\n    return 1",
        "def f(long: bool = False):\n    while long:\n        try:\n            while True: pass\n"
        "        finally: print('cleaned up')\n    return 1",
    ],
)
@pytest.mark.parametrize("concurrency", [pytest.param("1", marks=pytest.mark.slow), "16"])
def test_a_call_that_times_out_is_504_at_once_and_the_runner_goes_on(
    serve: Start, patched: Command, snippet: str, concurrency: str
) -> None:
    command = patched(STOP_GRACE=1.5)
    runner = serve(snippet, command, FOB_TIMEOUT="0.3", FOB_CONCURRENCY=concurrency)
    for _ in range(2):
        before = time.monotonic()
        answer = runner.call("/?long=1")
        assert 0.3 <= time.monotonic() - before < 30
        assert answer.status == 504
        assert answer.error["code"] == "timeout"
        assert "0.3 seconds" in answer.error["message"]
        assert answer.headers["Connection"] == "close"
        assert runner.call().result == 1
    time.sleep(1.6)  # longer than a stuck call would be given
    assert runner.call().result == 1
    assert runner.process.poll() is None


@pytest.mark.parametrize(
    "body",
    [
        "time.sleep(60)",
        "\n    while True:\n        try: time.sleep(0.01)\n        except BaseException: pass",
    ],
)
def test_a_call_that_cannot_be_stopped_ends_the_process_with_5(serve: Start, body: str) -> None:
    runner = serve(f"import time\ndef f(): {body}", FOB_TIMEOUT="0.2")
    before = time.monotonic()
    assert runner.call().status == 504
    assert runner.exit_code() == 5
    assert time.monotonic() - before < 3.5


def test_a_coroutine_that_blocks_the_loop_ends_the_process_with_5(serve: Start) -> None:
    runner = serve("import time\nasync def f(): time.sleep(60)", FOB_TIMEOUT="1.5")
    assert runner.call().status == 504
    assert runner.exit_code() == 5


def test_a_stuck_call_lets_the_others_finish(serve: Start) -> None:
    snippet = "import time\ndef f(seconds: float):\n    time.sleep(seconds)\n    return seconds"
    runner = serve(snippet, FOB_TIMEOUT="0.6")
    stuck, fine = at_once(runner, ["/?seconds=60", "/?seconds=0.5"])
    assert stuck.status == 504
    assert fine.result == 0.5
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(runner.call, "/?seconds=60")
        stuck.result()
        assert runner.call("/?seconds=0.3").result == 0.3
    assert runner.exit_code() == 5


def test_timeout_0_is_no_limit(serve: Start) -> None:
    runner = serve("import time\ndef f(): time.sleep(0.3)", FOB_TIMEOUT="0")
    assert runner.call().result is None


# the end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_call_in_flight_finish(serve: Start, number: signal.Signals) -> None:
    snippet = "import time\ndef f():\n    print('in')\n    time.sleep(0.7)\n    return 1"
    runner = serve(snippet)
    idle = runner.connect()
    partial = runner.connect()
    partial.sendall(b"GET / HT")
    with ThreadPoolExecutor(1) as pool, idle, partial:
        call = pool.submit(runner.call)
        lines_in(runner.folder / "stdout", 1)
        runner.process.send_signal(number)
        assert idle.recv(100) == b""
        assert partial.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            runner.connect()
        answer = call.result()
    assert answer.result == 1
    assert answer.headers["Connection"] == "close"
    assert runner.exit_code() == 0


def test_a_request_that_arrived_before_the_signal_gets_its_response(serve: Start) -> None:
    snippet = "import time\ndef f(n: float):\n    print('in')\n    time.sleep(n)\n    return n"
    runner = serve(snippet, FOB_CONCURRENCY="1")
    with runner.connect() as second, ThreadPoolExecutor(1) as pool:
        call = pool.submit(runner.call, "/?n=0.5")
        lines_in(runner.folder / "stdout", 1)
        second.sendall(b"GET /?n=0 HTTP/1.1\r\nHost: x\r\n\r\n")
        runner.process.send_signal(signal.SIGTERM)
        assert call.result().result == 0.5
        assert b'{"result": 0.0' in read_all(second)
    assert runner.exit_code() == 0


def test_a_connection_not_yet_accepted_at_the_signal_is_served(serve: Start) -> None:
    snippet = "import time\ndef f(n: float):\n    print('in')\n    time.sleep(n)\n    return n"
    runner = serve(snippet, FOB_CONCURRENCY="1")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(runner.call, "/?n=0.5")
        lines_in(runner.folder / "stdout", 1)
        with runner.connect() as second:
            second.sendall(b"GET /?n=0 HTTP/1.1\r\nHost: x\r\n\r\n")
            runner.process.send_signal(signal.SIGTERM)
            assert call.result().result == 0.5
            assert b'{"result": 0.0' in read_all(second)
    assert runner.exit_code() == 0


def test_a_call_on_its_way_at_the_signal_is_served(serve: Start, patched: Command) -> None:
    # long enough for this test to get a turn on a busy machine
    runner = serve("def f(n: int): return n", patched(LINGER=5.0))
    request = b"POST /?n=%d HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with runner.connect() as kept, runner.connect() as new:
        kept.sendall(request % 1)
        assert b'{"result": 1}' in kept.recv(65536)
        runner.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionRefusedError):
            while True:  # until it has seen the signal
                runner.connect().close()
        for sock in (kept, new):
            sock.sendall(request % 2)
        for sock in (kept, new):
            assert b'{"result": 2}' in read_all(sock)
    assert runner.exit_code() == 0


def test_an_idle_runner_ends_at_once(serve: Start) -> None:
    runner = serve("def f(): return 1")
    before = time.monotonic()
    assert runner.terminate() == 0
    assert time.monotonic() - before < 0.5


def test_a_signal_during_the_import_ends_it(launch: Start) -> None:
    runner = launch("import time\nprint('importing', flush=True)\ntime.sleep(60)\ndef f(): pass")
    lines_in(runner.folder / "stdout", 1)
    assert runner.terminate() == 0


def test_threads_of_the_snippet_do_not_delay_the_exit(serve: Start) -> None:
    snippet = """
import atexit, signal, threading, time
atexit.register(print, "goodbye")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(60,)).start()
def f(): pass
"""
    runner = serve(snippet)
    assert runner.terminate() == 0
    assert runner.stdout == "goodbye\n"


def test_a_client_that_does_not_read_does_not_delay_the_exit(
    serve: Start, patched: Command
) -> None:
    runner = serve("def f(n: int): return 'x' * n", command=patched(DRAIN_GRACE=0.3))
    with runner.connect() as sock:
        sock.sendall(b"GET /?n=15000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(10) == b"HTTP/1.1 2"
        assert runner.terminate() == 0


# harm


def test_os_exit_in_a_call_ends_the_process_with_its_code(serve: Start) -> None:
    runner = serve("import os\ndef f(): os._exit(9)")
    with pytest.raises(ConnectionError):
        runner.call()
    assert runner.exit_code() == 9


FORK = """
import os, time
def f():
    child = os.fork()
    if child == 0:
        {child}
        return "child"
    return os.waitpid(child, 0)[1]
"""


@pytest.mark.parametrize("child", ["pass", "raise ValueError", "raise SystemExit(3)"])
def test_a_forked_child_does_not_serve(serve: Start, child: str) -> None:
    runner = serve(FORK.format(child=child))
    for _ in range(3):
        assert runner.call().result == 0
    assert runner.terminate() == 0


def test_a_child_forked_at_import_does_not_serve(serve: Start) -> None:
    runner = serve("import os\nkid = os.fork()\ndef f(): return os.waitpid(kid, 0)[1]")
    assert runner.call().result == 0


def test_a_forked_child_has_a_main_thread_that_exits_cleanly(serve: Start) -> None:
    """After a fork in a thread unknown to `threading`, its main thread could not be joined."""
    snippet = """
import multiprocessing, threading
def f():
    threading.current_thread()  # as logging asks
    child = multiprocessing.get_context("fork").Process(target=print)
    child.start()
    child.join()
    return child.exitcode
"""
    assert serve(snippet).call().result == 0


def test_a_forked_child_holds_neither_port_nor_connections_nor_signals(serve: Start) -> None:
    snippet = """
import os, time
def f(quit=False):
    pid = 0 if quit else os.fork()
    if pid == 0 and not quit:
        print("child", flush=True)
        time.sleep(60)
    return pid
"""
    runner = serve(snippet)
    with runner.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        data = read_all(sock)  # ends: the child has no copy of the connection
    pid = json.loads(data.split(b"\r\n\r\n")[1])["result"]
    lines_in(runner.folder / "stdout", 1)
    os.kill(pid, signal.SIGTERM)  # the child's, and no business of the runner
    assert runner.call("/?quit=1").status == 200
    assert runner.terminate() == 0
    with pytest.raises(ConnectionRefusedError):
        runner.connect()


def test_multiprocessing_works(serve: Start) -> None:
    snippet = """
import multiprocessing
def double(n): return 2 * n
def handler():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(double, [1, 2, 3])
"""
    runner = serve(snippet)
    assert runner.call().result == [2, 4, 6]
    assert runner.terminate() == 0


def test_a_snippet_that_closes_every_descriptor_ends_the_process(serve: Start) -> None:
    runner = serve("import os\ndef f(): os.closerange(3, 100)", FOB_TIMEOUT="1")
    with pytest.raises((ConnectionError, TimeoutError)):
        runner.call()
    assert runner.exit_code() != 0


@pytest.mark.parametrize(
    "body",
    [
        "import threading; [threading.Thread(target=int).start() for _ in range(20)]",
        "class D:\n        def __del__(self): raise ValueError\n    D()",
        "import sys; sys.setrecursionlimit(60)",
        "import sys; sys.stderr.close()",
        "import sys; sys.modules.clear()",
        "import builtins; del builtins.print",
    ],
)
def test_odd_snippets_do_not_stop_the_server(serve: Start, body: str) -> None:
    runner = serve(f"def f():\n    {body}")
    assert runner.call().status == 200
    assert runner.call("/?nope=1").status == 400
    assert runner.terminate() == 0


def test_a_signal_wakes_a_runner_whose_threads_are_all_busy(serve: Start) -> None:
    runner = serve(GATE, FOB_CONCURRENCY="1", FOB_TIMEOUT="1")
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(runner.call)
        lines_in(runner.folder / "stdout", 1)
        runner.process.send_signal(signal.SIGTERM)
        assert call.result().status == 504
    assert runner.exit_code() in (0, 5)
