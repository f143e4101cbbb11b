"""Where MLflow keeps its records: a server named by the environment, else a local SQLite file."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow

from faceops.release.registry.store import store_errors

EXPERIMENT = "faceops"
# MLflow's own patience is two minutes a try and seven more tries, ever further apart.
RETRIES = 2
QUESTION_S = 10


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


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Give a server that takes connections and does not answer ten seconds a try, not two minutes.

    For questions only: an upload may take a store that long.
    """
    with _set({mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT: QUESTION_S}):
        yield


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's hints, bars and addresses of runs off the user's terminal and out of --json.

    Within it a server that does not answer is tried a few times.
    """
    variables = mlflow.environment_variables
    logger = logging.getLogger("mlflow")
    level = logger.level
    with (
        warnings.catch_warnings(),
        _set({variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES: RETRIES}),
        _set(
            {
                variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR: False,
                variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT: True,
            },
            over=True,
        ),
    ):
        warnings.filterwarnings("ignore", module="mlflow")
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _set(values: Mapping[Any, Any], *, over: bool = False) -> Iterator[None]:
    """Set variables of MLflow's for a while; those that the user has set only with `over`."""
    before = {variable: variable.get_raw() for variable in values}
    try:
        for variable, value in values.items():
            if over or before[variable] is None:
                variable.set(value)
        yield
    finally:
        for variable, raw in before.items():
            variable.unset() if raw is None else variable.set(raw)
