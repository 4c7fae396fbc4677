"""The command line, `fob`: what a user types, turned into calls of the service.

Exit codes: 0 done; 1 fob said no, or is not there; 2 not a command we know; 3 the function itself
failed (it raised, died, took too long or cannot be imported); 130 stopped by Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from fob.cli import parser
from fob.cli.failures import FunctionFailed
from fob.errors import FobError

OK, ERROR, FUNCTION_FAILED, INTERRUPTED = 0, 1, 3, 130  # and argparse's own 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code. Answers go to stdout, all else to stderr."""
    args = parser.build().parse_args(argv)
    try:
        code = _run(args)
        sys.stdout.flush()
    except FunctionFailed as error:
        return _complain(error, FUNCTION_FAILED, args)
    except FobError as error:
        return _complain(error, ERROR, args)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (`fob logs | head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return code


def _run(args: argparse.Namespace) -> int:
    module, _, function = args.run.partition(".")
    return int(getattr(import_module(f"fob.cli.{module}"), function)(args) or OK)


def _complain(error: FobError, code: int, args: argparse.Namespace) -> int:
    as_json = getattr(args, "json", False)
    print(json.dumps(error.body()) if as_json else f"fob: {error.message}", file=sys.stderr)
    return code
