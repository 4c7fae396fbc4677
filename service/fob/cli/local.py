"""The commands that are the service: they run in the foreground, from the settings."""

import argparse
from dataclasses import fields

from fob import config


def serve(args: argparse.Namespace) -> int:
    """Run the dispatcher, with the engine when no Marathon is given."""
    from fob.dispatcher import main

    return main.run(_settings(args))


def engine(args: argparse.Namespace) -> int:
    """Run the engine alone."""
    from fob.engine import main

    return main.run(_settings(args))


def _settings(args: argparse.Namespace) -> config.Settings:
    flags = {f.name: getattr(args, f.name, None) for f in fields(config.Settings)}
    return config.from_environment(**flags)
