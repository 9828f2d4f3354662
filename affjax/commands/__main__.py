"""`python -m affjax.commands`, the same as `affjax`."""

import sys

from affjax.commands import main

if __name__ == "__main__":
  sys.exit(main())
