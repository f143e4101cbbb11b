"""`python -m faceops.cli`."""

import sys

from faceops.cli import main

if __name__ == "__main__":
    sys.exit(main())
