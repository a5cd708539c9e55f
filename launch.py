"""The front door: `python launch.py train --env-id CartPole-v1`."""

import sys

from distpg.cli import main

if __name__ == "__main__":
    sys.exit(main())
