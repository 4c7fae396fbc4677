"""What can be typed: the commands, their arguments and their help."""

import argparse
from collections.abc import Collection
from dataclasses import fields
from typing import TypeAlias

from fob import __version__
from fob.config import Settings

EXIT_CODES = """\
exit codes:
  0  done
  1  fob said no, or is not there
  2  not a command we know
  3  the function failed: it raised, died, took too long or cannot be imported
  130  stopped by Ctrl-C
"""

GEN_WAIT_SECONDS = 60.0
# settings that a command has no use for: a flag without effect would mislead
NOT_SERVES = ("url",)
NOT_ENGINES = ("url", "host", "port", "token")

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # no public name


def build() -> argparse.ArgumentParser:
    """The whole parser; the parsed command is `args.run`, a module of fob.cli and a
    function in it that takes `args` (a name, so that only what runs is imported).
    """
    parser = argparse.ArgumentParser(
        prog="fob",
        description="POST a Python file, get an endpoint.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"fob {__version__}")
    verbs = parser.add_subparsers(metavar="COMMAND", required=True)
    _server(verbs, "serve", "local.serve", "run the service in the foreground", NOT_SERVES)
    _gen(verbs)
    _call(verbs)
    _meta(verbs)
    _client(verbs, "list", "commands.list_", "list the functions")
    _logs(verbs)
    _rm(verbs)
    alone = "run fob's engine alone, in the foreground"
    _server(verbs, "engine", "local.engine", alone, NOT_ENGINES)
    return parser


def _server(verbs: Commands, name: str, run: str, help_: str, without: Collection[str]) -> None:
    """A command that takes the settings: a flag for each, saying its variable and default."""
    parser = verbs.add_parser(
        name, help=help_, description=f"{help_}. A flag wins over its environment variable."
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
    parser = verbs.add_parser(name, help=help_, description=help_, add_help=add_help)
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="answer in JSON, for programs")
    parser.add_argument("--url", help="where the service is (FOB_URL)")
    parser.add_argument("--token", help="its bearer token (FOB_TOKEN)")
    return parser


def _gen(verbs: Commands) -> None:
    parser = _client(verbs, "gen", "commands.gen", "register a function, print its id")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a Python file, a zip of several, or a folder of them; - reads standard input",
    )
    parser.add_argument("--name", help="a name for people, usable instead of the id")
    parser.add_argument("--entry", help="NAME, MODULE or MODULE:NAME of what to call")
    parser.add_argument("--cpus", type=float, help="CPUs of an instance")
    parser.add_argument("--mem", type=float, metavar="MIB", help="memory of an instance")
    parser.add_argument("--instances", type=int, metavar="N", help="how many instances")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="limit for one call")
    parser.add_argument("--concurrency", type=int, metavar="N", help="calls at once per instance")
    parser.add_argument("--cors", metavar="ORIGINS", help="web pages that may call it; * for all")
    parser.add_argument(
        "--activation", choices=("always", "on-demand"), help="when it runs; else the service says"
    )
    parser.add_argument(
        "--keep-alive", type=float, metavar="SECONDS", help="from a call to its rest, on demand"
    )
    parser.add_argument(
        "--env", action="append", default=[], metavar="K=V", help="an environment variable"
    )
    parser.add_argument(
        "--wait",
        action="store_const",
        const=GEN_WAIT_SECONDS,
        help=f"wait until it is ready, {GEN_WAIT_SECONDS:g} seconds at most",
    )


def _call(verbs: Commands) -> None:
    says = "call a function, print what it answers"
    parser = _client(verbs, "call", "commands.call", says, add_help=False)
    parser.add_argument(
        "-h",
        "--help",
        action=_FunctionHelp,
        nargs=0,
        const=_add_id(parser),
        default=argparse.SUPPRESS,
        help="show this, or with an ID what that function takes and answers",
    )
    parser.add_argument(
        "arguments",
        nargs="*",
        default=[],
        metavar="K=V",
        help="an argument: K=V goes as text in the query string, K:=JSON in a JSON body",
    )
    parser.add_argument("--data", metavar="BODY", help="the body: @FILE, @- or the text itself")
    parser.add_argument("--path", default="", help="path below the function, such as /x")
    parser.add_argument("--method", help="HTTP method (default: GET, or POST with a body)")


class _FunctionHelp(argparse.Action):
    """`--help` of a command that has one for each ID; `const` is that argument, which may lack."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *_: object
    ) -> None:
        namespace.run, namespace.parser = "commands.describe", parser
        self.const.required = False


def _meta(verbs: Commands) -> None:
    parser = _client(verbs, "meta", "commands.meta", "print the host:port of a function")
    _add_id(parser)
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait until it is ready"
    )


def _logs(verbs: Commands) -> None:
    parser = _client(verbs, "logs", "commands.logs", "print what a function printed")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it prints more")
    parser.add_argument("--tail", type=int, metavar="N", help="only the last N lines")
    _add_id(parser)


def _rm(verbs: Commands) -> None:
    parser = _client(verbs, "rm", "commands.rm", "remove functions")
    parser.add_argument("ids", nargs="+", metavar="ID", help="an id, its beginning, or a name")


def _add_id(parser: argparse.ArgumentParser) -> argparse.Action:
    return parser.add_argument("id", metavar="ID", help="an id, its beginning, or a name")
