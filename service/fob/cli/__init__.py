"""The `fob` command: a client of the service's HTTP API, and the commands that run the service.

Exit codes: 0 success; 1 the service refused or cannot be reached; 2 wrong usage; 3 the function
failed (it raised, exited, timed out or cannot be imported); 130 interrupted by Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from fob.cli import parser
from fob.cli.errors import FunctionFailed, in_cli_terms
from fob.errors import FobError

OK, ERROR, FUNCTION_FAILED, INTERRUPTED = 0, 1, 3, 130  # argparse exits with 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Results go to stdout, everything else to stderr."""
    args = parser.build().parse_args(argv)
    try:
        code = _run(args)
        sys.stdout.flush()
    except FunctionFailed as error:
        return _report(error, FUNCTION_FAILED, args)
    except FobError as error:
        return _report(error, ERROR, args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has exited (`fob logs | head`). With a closed pipe the
        # interpreter's own flush at exit would fail, so stdout is replaced.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _run(args: argparse.Namespace) -> int:
    module, _, function = args.run.partition(".")
    return int(getattr(import_module(f"fob.cli.{module}"), function)(args) or OK)


def _report(error: FobError, code: int, args: argparse.Namespace) -> int:
    """Print the error, with --json as the API's error object; return the exit code."""
    as_json = getattr(args, "json", False)
    text = json.dumps(error.body()) if as_json else f"fob: {in_cli_terms(error.message)}"
    print(text, file=sys.stderr)
    return code
