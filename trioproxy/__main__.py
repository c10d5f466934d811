"""`python -m trioproxy`: the same as the command `trioproxy`."""

import sys

from trioproxy.cli import main

if __name__ == "__main__":
    sys.exit(main())
