import re
import subprocess
import sys

import live

SCRIPT = """
import asyncio
from fob import log
from fob.dispatcher.gateway.access_log import AccessLog

async def main():
    calls = AccessLog()
    print(calls.enabled)
    for path in "xy":
        calls.info(f"GET /{path} 200")

log.start("LEVEL")
asyncio.run(main())
"""


def written(level: str) -> tuple[str, str]:
    command = [sys.executable, "-c", SCRIPT.replace("LEVEL", level)]
    done = subprocess.run(command, cwd=live.SERVICE, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_lines_of_calls_look_like_those_of_a_logger() -> None:
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO GET /%s 200 \[at line 10\]\n"
    enabled, lines = written("INFO")
    assert enabled == "True\n"
    assert re.fullmatch(form % "x" + form % "y", lines)


def test_calls_are_not_logged_at_level_warning() -> None:
    assert written("WARNING")[0] == "False\n"
