"""From the store to a folder of the cache: whole, and what was registered, or not at all."""

import tempfile
from pathlib import Path

from faceops.base.errors import FaceOpsError
from faceops.base.files import replace_folder, sha256_file
from faceops.release.bundle import check_files
from faceops.release.registry.store import store_errors
from faceops.release.release_file import RELEASE_FILE, DamagedBundleError


def download_bundle(name: str, version: int, stated: str, target: Path) -> None:
    """Put the bundle of a version in the place of the folder `target`.

    Args:
        stated: sha256 of the release.json that was registered, which has those of all model
            files; "" of a version that does not state it.

    Raises:
        FaceOpsError: it is damaged, another one than was registered, or cannot be written.
        StoreError: the store does not hold it, or does not answer.
    """
    import mlflow

    with store_errors(f"fetching version {version} of {name} into {target.parent}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
            mlflow.artifacts.download_artifacts(f"models:/{name}/{version}", dst_path=temporary)
            inside = [path.parent for path in Path(temporary).rglob(RELEASE_FILE)]
            if len(inside) != 1:
                raise FaceOpsError(
                    f"version {version} of {name} holds no FaceOps bundle; register one with"
                    " `faceops release register`."
                )
            _check(inside[0], name, version, stated)
            replace_folder(inside[0], target)


def is_registered_file(folder: Path, stated: str) -> bool:
    """Whether `folder` has the release.json with the sha256 `stated`; any where that is ""."""
    try:
        digest = sha256_file(folder / RELEASE_FILE)
    except OSError:
        return False
    return stated in ("", digest)


def _check(bundle: Path, name: str, version: int, stated: str) -> None:
    instead = "`faceops release rollback` goes back to the release before it."
    if not is_registered_file(bundle, stated):
        raise FaceOpsError(
            f"version {version} of {name}: its {RELEASE_FILE} in the store is not the one that was"
            f" registered (another sha256), so it was damaged or tampered with; {instead}"
        )
    try:
        check_files(bundle)
    except DamagedBundleError as error:
        told = str(error).replace(f"{bundle}/", "")
        raise FaceOpsError(
            f"version {version} of {name} is damaged in the store: {told} {instead}"
        ) from None
