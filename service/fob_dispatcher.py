"""Flock of Birds: `python fob_dispatcher.py` serves on port 9999.

The settings come from the environment; docs/configuration.md lists them.
"""

import sys

from fob.dispatcher.main import main

if __name__ == "__main__":
    sys.exit(main())
