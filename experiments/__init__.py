"""Parameter overrides (*.yaml), and the scripts that print the figures of docs/figures.md."""

import argparse
import sys
from collections.abc import Callable

from faceops.base.errors import FaceOpsError


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return an argument parser whose --help prints the docstring of a script as it is."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def run(main: Callable[[], None]) -> None:
    """Run `main`; a FaceOpsError is printed as one sentence and gives its exit code."""
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
