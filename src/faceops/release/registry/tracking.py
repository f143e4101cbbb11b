"""Where MLflow keeps its records: a server named by the environment, else a local SQLite file."""

import contextlib
import os
from pathlib import Path

import mlflow

from faceops.release.registry.store import store_errors

EXPERIMENT = "faceops"


def point_at_store(root: Path) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, else at `root`/mlflow.db, and return the address."""
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlflow.db"
    mlflow.set_tracking_uri(address)
    return address


def use_tracking(root: Path, experiment: str = EXPERIMENT) -> str:
    """Point MLflow at its store (see `point_at_store`) and at `experiment`; return the address.

    The experiment is made on first use. With the local store its artifacts go to
    `root`/mlartifacts, wherever the process was started: MLflow's own default is the folder that
    a process happens to stand in, and it stores that path for good.

    Raises:
        StoreError: the store does not answer.
    """
    address = point_at_store(root)
    with store_errors(f"opening the experiment {experiment}"):
        if mlflow.get_experiment_by_name(experiment) is None:
            location = None
            if address.startswith("sqlite:"):
                location = (root.resolve() / "mlartifacts").as_uri()
            # Another process may have been first; any other failure comes again below.
            with contextlib.suppress(mlflow.MlflowException):
                mlflow.create_experiment(experiment, artifact_location=location)
        mlflow.set_experiment(experiment)
    return address
