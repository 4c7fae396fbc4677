import re
import subprocess
import sys

import live

SCRIPT = """
import asyncio
from fob import log
from fob.dispatcher.gateway.access_log import AccessLog

async def main():
    lines = AccessLog()
    print(lines.wanted)
    for path in "xy":
        lines.info(f"GET /{path} 200")

log.start("LEVEL")
asyncio.run(main())
"""


def written(level: str) -> tuple[str, str]:
    command = [sys.executable, "-c", SCRIPT.replace("LEVEL", level)]
    done = subprocess.run(command, cwd=live.SERVICE, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_the_lines_of_calls_look_like_a_loggers() -> None:
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO GET /%s 200 \[at line 10\]\n"
    wanted, lines = written("INFO")
    assert wanted == "True\n"
    assert re.fullmatch(form % "x" + form % "y", lines)


def test_who_logs_warnings_only_wants_no_lines_of_calls() -> None:
    assert written("WARNING")[0] == "False\n"
