#!/usr/bin/env python3
"""The door to development; `python dev.py` lists the commands. Standard library only."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - whoever reads this sentence runs an older one
    sys.exit(f"dev.py needs Python 3.10 or newer, this is {sys.version.split()[0]}")

from devtools.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
