"""The end of an experiment's command: exit codes, and one sentence for what a user can mend."""

import sys
from collections.abc import Callable

from faceops.errors import FaceOpsError


def run_experiment(main: Callable[[], None]) -> None:
    """Run `main`; a FaceOpsError is told and gives its exit code, Ctrl-C gives 130."""
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(
            "interrupted; the same command with the same --out goes on from here", file=sys.stderr
        )
        sys.exit(130)
