"""`python -m fob.engine [--managed] [--ready-fd N]`, the command that fob.engine.discovery runs."""

import argparse
import sys

from fob import config
from fob.engine import main

parser = argparse.ArgumentParser(prog="fob.engine")
parser.add_argument("--managed", action="store_true")
parser.add_argument("--ready-fd", type=int)
arguments = parser.parse_args()
sys.exit(main.run(config.from_environment(), arguments.managed, arguments.ready_fd))
