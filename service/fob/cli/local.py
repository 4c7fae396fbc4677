"""The commands that run the service or the engine, in the foreground."""

import argparse
from dataclasses import fields

from fob import config


def serve(args: argparse.Namespace) -> int:
    """Run the dispatcher, and fob's engine unless a Marathon is configured."""
    from fob.dispatcher import main

    return main.run(_settings(args))


def engine(args: argparse.Namespace) -> int:
    """Run the engine alone."""
    from fob.engine import main

    return main.run(_settings(args))


def _settings(args: argparse.Namespace) -> config.Settings:
    flags = {f.name: getattr(args, f.name, None) for f in fields(config.Settings)}
    return config.from_environment(**flags)
