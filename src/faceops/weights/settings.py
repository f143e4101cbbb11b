"""Where weights are looked for, by the environment: FACEOPS_WEIGHTS and FACEOPS_CACHE."""

import os
from pathlib import Path

from faceops.weights.resolve import DEFAULT_CACHE, resolve


def weights_folder() -> Path | None:
    """Return the user's own folder of weights, FACEOPS_WEIGHTS, or None."""
    value = os.environ.get("FACEOPS_WEIGHTS")
    return Path(value).expanduser() if value else None


def cache_folder() -> Path:
    """Return the folder for what can be fetched again: FACEOPS_CACHE, else in the user's cache."""
    if own := os.environ.get("FACEOPS_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "faceops"
    return DEFAULT_CACHE.expanduser().parent


def weights_cache() -> Path:
    """Return the folder of fetched weights."""
    return cache_folder() / "weights"


def weight_path(name: str) -> Path:
    """Return the verified file of the weight `name`, fetched if it is not at hand.

    Raises:
        UsageError: no weight of that name.
        FaceOpsError: a wrong file in the user's folder, or no source gave the right bytes.
    """
    return resolve(name, folder=weights_folder(), cache=weights_cache())
