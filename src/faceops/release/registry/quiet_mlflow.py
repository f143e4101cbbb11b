"""MLflow as a part of a command: no hints on the terminal, and not minutes of patience."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import mlflow

# MLflow's own patience is two minutes a try and seven more tries, ever further apart.
RETRIES = 2
QUESTION_S = 10


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
