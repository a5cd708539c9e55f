"""`python -m distpg`: the same as the installed `distpg`."""

import sys

from distpg.cli import main

if __name__ == "__main__":
    sys.exit(main())
