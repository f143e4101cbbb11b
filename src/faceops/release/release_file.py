"""release.json: its name, and what is asked of it before a release is loaded."""

import json
from pathlib import Path

from faceops.base.errors import FaceOpsError

RELEASE_FILE = "release.json"


class DamagedBundleError(FaceOpsError):
    """A file of a bundle is not what it was when the bundle was written."""


def default_budget(bundle: Path, precision: str = "float32") -> float | None:
    """Return the budget of the release in `bundle` that holds when none is asked for.

    `precision` is the embedder's, float32 or int8.

    None where it cannot be read: loading the release says why.
    """
    try:
        content = json.loads((bundle / RELEASE_FILE).read_text("utf-8"))
        chosen = content if precision == "float32" else content[precision]
        return float(chosen["thresholds"]["default_budget"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
