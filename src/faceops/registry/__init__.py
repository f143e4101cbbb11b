"""Releases in MLflow: registered versions, the champion and challenger aliases, downloads."""

import os
from pathlib import Path

from faceops.base.errors import FaceOpsError


class NoReleaseError(FaceOpsError):
    """The registry answers, and has no such release; or it cannot be asked, without MLflow."""


def has_store(root: Path) -> bool:
    """Whether there is an MLflow server, or a local store in `root`; does not import MLflow."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").is_file()
