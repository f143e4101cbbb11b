"""One thin script a DVC stage: read params, call the rooms, write outputs.

Each is run as `python -m faceops.stages.<stage>` from the root of the repository.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from faceops.base.errors import FaceOpsError

# What each stage cost the last time it ran. No DVC output: it differs from run to run.
COSTS = Path("build/costs")


def run_or_tell(main: Callable[[], None], interrupted: str) -> None:
    """Run `main`; a FaceOpsError is told and gives its exit code, Ctrl-C `interrupted` and 130."""
    try:
        main()
    except FaceOpsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; an error that the user can mend becomes one sentence and an exit code.

    Leaves the stage's wall time (seconds) and peak resident memory (MiB, of its largest process)
    in build/costs/<stage>.json.
    """
    started = time.monotonic()
    run_or_tell(main, "interrupted; run it again to continue")
    peak = max(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    stage = Path(sys.argv[0]).stem
    COSTS.mkdir(parents=True, exist_ok=True)
    cost = {"seconds": round(time.monotonic() - started, 1), "peak_mib": peak // 1024}
    (COSTS / f"{stage}.json").write_text(json.dumps(cost) + "\n", encoding="utf-8")
