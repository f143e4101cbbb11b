"""The MLflow store: what is called how in it, and its errors in one sentence."""

import contextlib
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow

from faceops.base.errors import FaceOpsError, StoreError, UsageError
from faceops.weights.fetch import cache_folder

MODEL = "faceops"
CHAMPION = "champion"
CHALLENGER = "challenger"
BUNDLE_FOLDER = "bundle"
# Tags of a version that say what lies behind it.
CONTRACT_TAG, RELEASE_TAG = "contract_id", "release_sha256"
# What a store that answers says of something that it does not hold or was asked wrongly.
_ANSWERS = {
    *("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE", "BAD_REQUEST"),
}
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|disk is full")
_SYSTEM = re.compile(r"\[Errno -?\d+\] ([^\"'()\[\]]+)")
_LONGEST = 200


class UnreachableError(StoreError):
    """The store did not answer, or not as a store does: what it holds is not known now."""


@contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's own errors while `doing` something into one sentence.

    Raises:
        StoreError: the store answered and refused; UnreachableError where it did not answer.
        FaceOpsError: a local file could not be read or written, such as on a full disk.
    """
    import mlflow
    from requests.exceptions import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with silence_mlflow():
            yield
    except (mlflow.MlflowException, RequestException, SQLAlchemyError) as error:
        if full := _FULL.search(str(error)):  # MLflow tells of it among the store's own failures
            raise _local_failure(doing, full[0]) from None
        address = mlflow.get_tracking_uri()
        if getattr(error, "error_code", "") in _ANSWERS:
            kind, reason = StoreError, _first_line(error)
        else:
            kind, reason = UnreachableError, _why_away(error)
        raise kind(
            f"{doing} failed at the MLflow store {address} ({reason}); check the store or"
            " MLFLOW_TRACKING_URI."
        ) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _local_failure(doing, f"{where}{error.strerror or error}") from None


def has_store(root: Path) -> bool:
    """Whether there is a server, or a local store in `root`, to read from."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").is_file()


def _local_failure(doing: str, reason: str) -> FaceOpsError:
    return FaceOpsError(f"{doing} failed ({reason}); mend that, or free some space, and try again.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _why_away(error: Exception) -> str:
    """Return what the operating system said, where it is hidden in a long message."""
    if found := _SYSTEM.search(str(error)):
        return found[1].strip()
    line = _first_line(error)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


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


# MLflow's own patience is two minutes a try and seven more tries, ever further apart.
RETRIES = 2
QUESTION_S = 10


@contextlib.contextmanager
def short_timeout() -> Iterator[None]:
    """Give a server that takes connections and does not answer ten seconds a try, not two minutes.

    For questions only: an upload may take a store that long.
    """
    with _set({mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT: QUESTION_S}):
        yield


@contextlib.contextmanager
def silence_mlflow() -> Iterator[None]:
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


def store_cache(address: str) -> Path:
    """Return the folder for what is kept of the store at `address`: bundles, notes, locks."""
    return cache_folder() / "releases" / hashlib.sha256(address.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Address:
    """A parsed address; one of `alias` and `version` is empty."""

    name: str
    alias: str
    version: str

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Read an address.

        Raises:
            UsageError: it is none.
        """
        alias = "@" in uri
        name, separator, which = uri.removeprefix("models:/").partition("@" if alias else "/")
        if not uri.startswith("models:/") or not separator or not name or not which:
            raise UsageError(
                f"{uri!r} names no release; write models:/{MODEL}@{CHAMPION} or"
                f" models:/{MODEL}/VERSION, or give --bundle DIR."
            )
        return cls(name, which if alias else "", "" if alias else which)

    def __str__(self) -> str:
        return f"models:/{self.name}" + (f"@{self.alias}" if self.alias else f"/{self.version}")
