"""Releases: registered ones in MLflow, their champion and downloads; and the published release.

The published release is SFace and dlib, calibrated on LFW; it needs no rebuild and no registry.
This module imports no NumPy, pydantic or MLflow: an unchanged run of identify loads nothing else of
a release.
"""

import os
from functools import cache
from pathlib import Path
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.base.files import cache_folder, read_json_object, sha256_file
from faceops.release.release_file import RELEASE_FILE

PUBLISHED = "published"  # its name, where others have models:/NAME/VERSION
FILES = Path(__file__).with_name("published")


class NoReleaseError(FaceOpsError):
    """The registry answers, and has no such release; or it cannot be asked, without MLflow."""


def has_store(root: Path) -> bool:
    """Whether there is an MLflow server, or a local store in `root`; does not import MLflow."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").is_file()


@cache
def published_statement() -> dict[str, Any]:
    """Return the content of the published release.json."""
    return read_json_object(FILES / RELEASE_FILE)


def published_folder() -> Path:
    """Return the folder of its bundle in the cache, which `load_published` makes at first use."""
    return cache_folder() / "releases" / f"{PUBLISHED}-{sha256_file(FILES / RELEASE_FILE)[:12]}"
