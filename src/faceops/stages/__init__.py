"""One thin script a DVC stage: read params, call the rooms, write outputs.

Each is run as `python -m faceops.stages.<stage>` from the root of the repository.
"""

import sys
from collections.abc import Callable

from faceops.errors import FaceOpsError


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can mend becomes one sentence and an exit code."""
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run it again to continue", file=sys.stderr)
        sys.exit(130)
