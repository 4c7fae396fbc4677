"""`python -m fob` runs the command `fob`."""

import sys

from fob.cli import main

if __name__ == "__main__":
    sys.exit(main())
