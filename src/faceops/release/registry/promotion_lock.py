"""One promotion or rollback at a time against a store, from this machine."""

from contextlib import AbstractContextManager

import mlflow

from faceops.base.locks import file_lock
from faceops.release.registry.store_cache import store_cache


def promotion_lock() -> AbstractContextManager[None]:
    """Hold the store that MLflow points at, for processes here with its address and this cache.

    A promotion from elsewhere is not kept out; `move_champion` sees it.

    Raises:
        FaceOpsError: another process holds it.
    """
    address = mlflow.get_tracking_uri()
    path = store_cache(address) / "promotion.lock"
    return file_lock(path, f"the champion at {address} is being chosen")
