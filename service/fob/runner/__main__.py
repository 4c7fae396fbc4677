"""Runs the runner by hand, linked in memory:

PORT0=8080 FOB_SNIPPET="$(cat f.py)" python3 -I -S service/fob/runner
"""

import os
import sys

sys.path[0] = os.path.join(sys.path[0], "..", "..")
from fob.runner.linker import linking  # noqa: E402 - found there

del sys.path[0]
exec(compile(linking.link(), "runner.py", "exec"), {"__name__": "__main__"})
