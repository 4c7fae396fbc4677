import re
import subprocess
import sys

import live

SCRIPT = """
from fob import log
import logging
log.start("INFO")
logging.getLogger("fob.x").info("FOB dispatcher %s ===", "ready")
logging.getLogger("fob.x").debug("not this")
"""


def test_a_line_has_the_published_form() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=live.SERVICE, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d INFO FOB dispatcher ready === \[at line 5\]\n"
    assert re.fullmatch(form, done.stderr)
