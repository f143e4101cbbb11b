"""One script per DVC stage: read params.yaml, call the packages, write the outputs.

Each is run as `python -m faceops.stages.<stage>` from the root of the repository.
"""

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faceops.base.errors import user_error
from faceops.base.files import read_json_object, stage_output, write_json
from faceops.config.params_file import read_params
from faceops.config.sections import Params

# Threads of torch that wait for each other sleep: where other programs use the CPUs too, spinning
# took half of the time. It is read when torch is imported, which is after this package.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# What more than one stage reads or writes.
PARAMS, DATA = Path("params.yaml"), Path("data")
MANIFEST, INPUTS = Path("build/validate/manifest.parquet"), Path("build/validate/inputs")
CROPS, CROPPED = Path("build/crop/crops.npy"), Path("build/crop/faces.parquet")
FACES = Path("build/split/faces.parquet")
MODEL, CHECKPOINTS = Path("build/train"), Path("build/checkpoints")
EMBED, BUNDLE = Path("build/embed"), Path("build/export")

# Time and memory of each stage in its last run. Not a DVC output: it differs from run to run.
COSTS = Path("build/costs")


def stage_params() -> Params:
    return read_params(PARAMS)


def read_json(path: Path) -> dict[str, Any]:
    """Return what an earlier stage wrote to `path`.

    Raises FaceOpsError: the file is absent or damaged.
    """
    with stage_output(path):
        return read_json_object(path)


def run_script(main: Callable[[], None], interrupted: str) -> None:
    """Run `main`; print a `user_error`, or `interrupted` after Ctrl-C, and exit with its code."""
    try:
        main()
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if (reported := user_error(error)) is None:
            raise
        print(f"error: {reported}", file=sys.stderr)
        sys.exit(reported.exit_code)


def run_stage(main: Callable[[], None]) -> None:
    """Run a stage; a FaceOpsError becomes one sentence and an exit code.

    Writes its wall and CPU time (seconds, with its children) and the peak resident memory (MiB, of
    the largest process) to build/costs/<stage>.json.
    """
    started = time.monotonic()
    run_script(main, "interrupted; run it again to continue")
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cost = {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 1),
        "peak_mib": max(usage.ru_maxrss for usage in usages) // 1024,
    }
    write_json(COSTS / f"{Path(sys.argv[0]).stem}.json", cost)
