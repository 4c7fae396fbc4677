"""The argument parser: commands, their arguments and their help."""

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import TypeAlias

from fob import __version__
from fob.config import Settings

EXIT_CODES = """\
exit codes:
  0    success
  1    the service refused or cannot be reached
  2    wrong usage
  3    the function failed: it raised, exited, timed out or cannot be imported
  130  interrupted by Ctrl-C
"""

GEN_WAIT_SECONDS = 60.0
# settings that get no flag, because they have no effect in this command
NOT_FOR_SERVE = ("url",)
NOT_FOR_ENGINE = ("url", "host", "port", "token")

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # no public name


def build() -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    It sets `args.run` to `module.function` below fob.cli, a function that takes `args`. It is a
    name, so that only the modules of this command are imported.
    """
    parser = argparse.ArgumentParser(
        prog="fob",
        description="Turn a Python file into an HTTP endpoint.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fob {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    _server(verbs, "serve", "local.serve", "run the service in the foreground", NOT_FOR_SERVE)
    _gen(verbs)
    _call(verbs)
    _meta(verbs)
    _client(verbs, "list", "commands.list_", "list all functions")
    _logs(verbs)
    _rm(verbs)
    alone = "run only fob's engine in the foreground"
    _server(verbs, "engine", "local.engine", alone, NOT_FOR_ENGINE)
    return parser


def _server(verbs: Commands, name: str, run: str, help_: str, without: Collection[str]) -> None:
    """Add a command with a flag for each setting; its help names the variable and default."""
    parser = verbs.add_parser(
        name,
        help=help_,
        description=f"{_sentence(help_)} A flag takes precedence over its environment variable.",
    )
    parser.set_defaults(run=run)
    for field in fields(Settings):
        if field.name in without:
            continue
        variable, default = field.metadata["name"], field.default
        allowed = field.metadata["kind"].allowed
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(default),
            metavar=variable,
            help=f"{field.metadata['help']} ({allowed}; default: {default!r})".replace("%", "%%"),
        )


def _client(
    verbs: Commands, name: str, run: str, help_: str, add_help: bool = True
) -> argparse.ArgumentParser:
    """Add a command that sends requests to the service."""
    parser = verbs.add_parser(name, help=help_, description=_sentence(help_), add_help=add_help)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--url", help="URL of the service (default: FOB_URL)")
    parser.add_argument("--token", help="the service's bearer token (default: FOB_TOKEN)")
    return parser


def _sentence(help_: str) -> str:
    return f"{help_[0].upper()}{help_[1:]}."


def _gen(verbs: Commands) -> None:
    parser = _client(verbs, "gen", "commands.gen", "register a function and print its id")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a Python file, a zip file or a folder; - reads standard input",
    )
    parser.add_argument("--name", help="a name that other commands accept instead of the id")
    parser.add_argument("--entry", help="what to call: NAME, MODULE or MODULE:NAME")
    parser.add_argument("--cpus", type=float, help="CPUs per instance")
    parser.add_argument("--mem", type=float, metavar="MIB", help="memory per instance")
    parser.add_argument("--instances", type=int, metavar="N", help="number of instances")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="time limit of a call")
    parser.add_argument("--concurrency", type=int, metavar="N", help="parallel calls per instance")
    parser.add_argument("--cors", metavar="ORIGINS", help="origins that may call it; * for any")
    parser.add_argument(
        "--activation",
        choices=("always", "on-demand"),
        help="run it always or only for calls (default: the service's setting)",
    )
    parser.add_argument(
        "--keep-alive",
        type=float,
        metavar="SECONDS",
        help="time without calls before an on-demand function goes idle",
    )
    parser.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="K=V",
        help="an environment variable of the function; repeatable",
    )
    parser.add_argument(
        "--wait",
        action="store_const",
        const=GEN_WAIT_SECONDS,
        help=f"wait until it is ready, at most {GEN_WAIT_SECONDS:g} seconds",
    )


def _call(verbs: Commands) -> None:
    help_ = "call a function and print its output and result"
    parser = _client(verbs, "call", "commands.call", help_, add_help=False)
    parser.add_argument(
        "-h",
        "--help",
        action=_FunctionHelp,
        nargs=0,
        const=_add_id(parser),
        default=argparse.SUPPRESS,
        help="show this message, or with an ID the parameters and result of that function",
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        default=[],
        metavar="K=V",
        help="an argument: K=V as text in the query string, K:=JSON in a JSON body",
    )
    parser.add_argument(
        "--data", metavar="BODY", help="the request body: text, @FILE, or @- for standard input"
    )
    parser.add_argument("--path", default="", help="path below the function's own, such as /x")
    parser.add_argument("--method", help="HTTP method (default: GET, with a body POST)")


class _FunctionHelp(argparse.Action):
    """`--help` that describes a function if an ID is given; `const` is the ID's argument.

    It does not exit like argparse's own, because the ID may follow. Instead it makes the ID
    optional and selects another command.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object
    ) -> None:
        namespace.run, namespace.parser = "commands.describe", parser
        self.const.required = False


def _meta(verbs: Commands) -> None:
    parser = _client(verbs, "meta", "commands.meta", "print the host and port of a function")
    _add_id(parser)
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="wait until it is ready, at most SECONDS",
    )


def _logs(verbs: Commands) -> None:
    parser = _client(verbs, "logs", "commands.logs", "print the output of a function")
    parser.add_argument("-f", "--follow", action="store_true", help="keep printing new output")
    parser.add_argument("--tail", type=int, metavar="N", help="print only the last N lines")
    _add_id(parser)


def _rm(verbs: Commands) -> None:
    parser = _client(verbs, "rm", "commands.rm", "remove functions")
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="an id, the beginning of one, or a name"
    )


def _add_id(parser: argparse.ArgumentParser) -> argparse.Action:
    return parser.add_argument("id", metavar="ID", help="an id, the beginning of one, or a name")
