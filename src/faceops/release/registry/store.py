"""The MLflow store: what is called how in it, and its errors in one sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.errors import StoreError

MODEL = "faceops"
CHAMPION = "champion"
CHALLENGER = "challenger"
BUNDLE_FOLDER = "bundle"


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's own errors while `doing` something into one sentence (StoreError)."""
    import mlflow
    from requests.exceptions import RequestException

    from faceops.release.registry.tracking import quiet_mlflow

    try:
        with quiet_mlflow():
            yield
    except (mlflow.MlflowException, RequestException) as error:
        reason = str(error).splitlines()[0]
        address = mlflow.get_tracking_uri()
        raise StoreError(
            f"{doing} failed at the MLflow store {address} ({reason}); check the store or"
            " MLFLOW_TRACKING_URI."
        ) from None


def has_store(root: Path) -> bool:
    """Whether there is a server, or a local store in `root`, to read from."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").is_file()
