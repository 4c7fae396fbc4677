"""`python -m fob.engine [--managed] [--ready-fd N]`, the command that fob.engine.discovery runs."""

import argparse
import sys

from fob import config
from fob.engine import main
from fob.errors import FobError

parser = argparse.ArgumentParser(prog="fob.engine")
parser.add_argument("--managed", action="store_true")
parser.add_argument("--ready-fd", type=int)
arguments = parser.parse_args()
try:
    settings = config.from_environment()
except FobError as error:
    sys.exit(error.message)
sys.exit(main.run(settings, arguments.managed, arguments.ready_fd))
