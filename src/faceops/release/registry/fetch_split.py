"""The split that a version was made from: whom it has seen."""

from pathlib import Path

from faceops.base.errors import StoreError
from faceops.release.registry.store import UnreachableError, store_errors
from faceops.release.registry.versions import Version

SPLIT_FILE = "build/split/faces.parquet"
SPLIT_ARTIFACT = "split/faces.parquet"


def fetch_split(version: Version, folder: Path) -> Path | None:
    """Return the split's file, put into `folder`; None where the version's run has none.

    Raises:
        FaceOpsError: the store does not answer, or `folder` cannot be written.
    """
    import mlflow

    if not version.run_id:
        return None
    try:
        with store_errors(f"fetching the split of version {version.version}"):
            files = mlflow.MlflowClient().list_artifacts(version.run_id, "split")
            if SPLIT_ARTIFACT not in {file.path for file in files}:
                return None
            folder.mkdir(parents=True, exist_ok=True)
            return Path(
                mlflow.artifacts.download_artifacts(
                    run_id=version.run_id, artifact_path=SPLIT_ARTIFACT, dst_path=str(folder)
                )
            )
    except UnreachableError:
        raise
    except StoreError:  # its run was deleted
        return None
