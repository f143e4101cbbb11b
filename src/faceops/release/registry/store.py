"""The MLflow store: what is called how in it, and its errors in one sentence."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faceops.base.errors import FaceOpsError, StoreError

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

    from faceops.release.registry.quiet_mlflow import quiet_mlflow

    try:
        with quiet_mlflow():
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
