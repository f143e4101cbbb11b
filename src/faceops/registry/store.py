"""The MLflow store: its address, the names in it, and its errors as one sentence."""

import contextlib
import hashlib
import logging
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from faceops.base.errors import FaceOpsError, StoreError, first_line, without_secrets
from faceops.base.files import cache_folder

MODEL = "faceops"  # the registered model
EXPERIMENT = "faceops"
CHAMPION, CHALLENGER = "champion", "challenger"  # aliases
BUNDLE_FOLDER = "bundle"
# Tags of a version.
CONTRACT_TAG, RELEASE_TAG = "contract_id", "release_sha256"
SIGNER_TAG = "signed_by"  # sha256 of the public key
SPLIT_FILE = "build/split/faces.parquet"  # in the repository
SPLIT_ARTIFACT = "split/faces.parquet"  # in the run of a version
TRAINED = "build/train"  # in the repository: the model before its export, see `model_file`
TRAINED_ARTIFACT = "trained"  # in the run of a version

# Codes of a store that answers: the item does not exist, or the request is invalid.
_ANSWERS = {
    *("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "UNAUTHENTICATED", "INVALID_STATE", "BAD_REQUEST"),
}
_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|disk is full")
_SYSTEM = re.compile(r"\[Errno -?\d+\] ([^\"'()\[\]]+)")
_LONGEST = 200  # characters of a reason
# MLflow's defaults are two minutes a request and seven retries with growing pauses.
RETRIES = 2
QUERY_TIMEOUT_S = 10


class UnreachableError(StoreError):
    """The store did not answer, or not as a store does."""


@contextlib.contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's errors while `doing` something into one sentence.

    Raises:
        StoreError: the store answered and refused; UnreachableError where it did not answer.
        FaceOpsError: a local file could not be read or written, such as on a full disk.
    """
    try:
        yield
    except (mlflow.MlflowException, RequestException, SQLAlchemyError) as error:
        if full := _FULL.search(str(error)):  # MLflow reports it as a failure of the store
            raise _local_failure(doing, full[0]) from None
        # Before it is cut: half a password would not be found.
        said = without_secrets(first_line(error))
        if getattr(error, "error_code", "") in _ANSWERS:
            kind, reason = StoreError, said
        else:
            system = _SYSTEM.search(str(error))  # what the operating system said
            kind, reason = UnreachableError, system[1].strip() if system else said
            reason = reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]}..."
        raise kind(
            f"{doing} failed at the MLflow store {mlflow.get_tracking_uri()} ({reason}); check the"
            " store or MLFLOW_TRACKING_URI."
        ) from None
    except ModuleNotFoundError as error:  # the driver of a database
        raise StoreError(
            f"{doing} failed at the MLflow store {mlflow.get_tracking_uri()}: it needs the Python "
            f"package {error.name}, which is not installed; install it."
        ) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise _local_failure(doing, f"{where}{error.strerror or error}") from None


def _local_failure(doing: str, reason: str) -> FaceOpsError:
    return FaceOpsError(f"{doing} failed ({reason}); fix that, or free some space, and try again.")


def point_at_store(root: Path) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, else at `root`/mlflow.db, and return the address."""
    _silence_mlflow()
    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve()}/mlflow.db"
    mlflow.set_tracking_uri(address)
    return address


def use_tracking(root: Path, experiment: str = EXPERIMENT) -> str:
    """Point MLflow at its store and at `experiment`, which is made on first use.

    Returns the address, see `point_at_store`. Artifacts of a local store go to `root`/mlartifacts:
    MLflow's default is the working directory of the process that made the experiment.

    Raises:
        StoreError: the store does not answer.
    """
    address = point_at_store(root)
    with store_errors(f"opening the experiment {experiment}"):
        if mlflow.get_experiment_by_name(experiment) is None:
            location = None
            if address.startswith("sqlite:"):
                location = (root.resolve() / "mlartifacts").as_uri()
            # Another process may have been first; any other failure is raised below.
            with contextlib.suppress(mlflow.MlflowException):
                mlflow.create_experiment(experiment, artifact_location=location)
        mlflow.set_experiment(experiment)
    return address


def store_cache(address: str) -> Path:
    """Return the folder for bundles, notes and locks of the store at `address`."""
    return cache_folder() / "releases" / hashlib.sha256(address.encode()).hexdigest()[:12]


@contextlib.contextmanager
def short_timeout() -> Iterator[None]:
    """Wait QUERY_TIMEOUT_S for each answer of a server. For queries: an upload may take longer."""
    timeout = mlflow.environment_variables.MLFLOW_HTTP_REQUEST_TIMEOUT
    if timeout.is_set():
        yield
        return
    timeout.set(QUERY_TIMEOUT_S)
    try:
        yield
    finally:
        timeout.unset()


def _silence_mlflow() -> None:
    """Keep MLflow's hints, progress bars and links out of the output; retry a few times only."""
    variables = mlflow.environment_variables
    variables.MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)
    variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.set(True)
    if not variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.is_set():
        variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(RETRIES)
    warnings.filterwarnings("ignore", module="mlflow")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It prints a traceback for each error of the database, which `store_errors` reports.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
