"""The folder of the cache that belongs to one MLflow store."""

import hashlib
from pathlib import Path

from faceops.weights.settings import cache_folder


def store_cache(address: str) -> Path:
    """Return the folder for what is kept of the store at `address`: bundles, notes, locks."""
    return cache_folder() / "releases" / hashlib.sha256(address.encode()).hexdigest()[:12]
