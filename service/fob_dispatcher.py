"""Flock of Birds: `python fob_dispatcher.py` runs the service, by default on port 9999.

Its settings are environment variables; docs/configuration.md lists them.
"""

import sys

from fob.dispatcher.main import main

if __name__ == "__main__":
    sys.exit(main())
