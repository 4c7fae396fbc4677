"""The program: serve a snippet, and exit with a code that says how it went."""

from __future__ import annotations

import os
import sys

from fob.contract import STUCK
from fob.runner.core.errors import CannotStart
from fob.runner.core.feature import CORE
from fob.runner.core.output import log, make_stdout
from fob.runner.core.rehearsal import rehearse  # noqa: F401 - the zygote calls it
from fob.runner.core.server import on_signals
from fob.runner.core.snippet import SNIPPET_FILE
from fob.runner.core.startup import make_server


def serve() -> int:
    """Load the snippet and serve it; return the exit code."""
    # set by the program that runs this one: the app's command, or the zygote
    server = make_server(globals().pop("SNIPPET", b""))
    if server is None:
        return 0
    code = server.run()
    server.function.close()
    return code


def end(code: int) -> None:
    """Exit, whatever threads the snippet has left running."""
    try:
        if code != STUCK:
            import atexit

            atexit._run_exitfuncs()
        sys.stderr.flush()
    finally:
        os._exit(code)


def prepare() -> None:
    """Do what does not depend on the snippet. A spare child does it ahead of time."""
    on_signals(lambda *_: os._exit(0))  # until there is something to finish
    sys.stdout = make_stdout()
    sys.argv = [SNIPPET_FILE]


def main() -> None:
    if sys.argv != [SNIPPET_FILE]:  # not a spare child, which is prepared
        prepare()
    try:
        code = serve()
    except CannotStart as error:
        log(f"fob: {error}\n")
        code = error.code
    end(code)


# once linked, all of core is one namespace, and this makes it importable for features
CORE.__dict__.update(globals())

if __name__ == "__main__":
    main()
