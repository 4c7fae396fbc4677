import resource
import signal
import subprocess
import sys

import live

SCRIPT = """
import asyncio, os, signal, time
from fob import process

process.ECHO_SECONDS = 0.05

async def main():
    stopping = process.stop_event(REPEAT)
    os.kill(os.getpid(), signal.SIGTERM)
    await stopping.wait()
    os.kill(os.getpid(), signal.SIGINT)  # part of the same stop
    await asyncio.sleep(0.2)
    print("stopping", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(0.2)
    print("done")

asyncio.run(main())
"""


def run(code: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=live.SERVICE, capture_output=True, text=True, timeout=30
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout.split()


def test_a_signal_after_the_stop_signal_ends_the_process_if_asked_to() -> None:
    code = SCRIPT.replace("REPEAT", "exit_on_repeat=True")
    assert run(code) == (128 + signal.SIGINT, ["stopping"])


def test_signals_after_the_stop_signal_are_ignored_otherwise() -> None:
    assert run(SCRIPT.replace("REPEAT", "")) == (0, ["stopping", "done"])


def test_the_file_limit_becomes_the_hard_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource; from fob import process\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (100, {hard}))\n"
        "process.raise_file_limit(); print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    assert run(code) == (0, [str(hard), str(hard)])
