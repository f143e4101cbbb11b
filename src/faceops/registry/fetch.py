"""From the name of a registered release to a local folder with its bundle.

What was once fetched stays in the cache, and where the store does not answer, or not whole, the
bundle that the name stood for last is used, and said to be.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from faceops.base.errors import FaceOpsError, StoreError
from faceops.base.files import replace_folder, sha256_file, write_file
from faceops.registry.store import (
    CHAMPION,
    RELEASE_TAG,
    Address,
    UnreachableError,
    has_store,
    store_cache,
    store_errors,
)
from faceops.registry.versions import Version
from faceops.release.bundle import check_files
from faceops.release.contract import RELEASE_FILE, DamagedBundleError

if TYPE_CHECKING:
    from mlflow import MlflowClient


def remember(address: Address, cache: Path, folder: Path, version: int) -> None:
    """Note in `cache` that `address` is `version`, whose bundle lies in its folder `folder`.

    Where the cache cannot be written nothing is noted: only a later run without the store would
    have needed it.
    """
    content = {"version": version, "folder": folder.name}
    text = json.dumps(content, sort_keys=True).encode()
    path = _note(address, cache)
    try:
        if not path.is_file() or path.read_bytes() != text:
            write_file(path, text)
    except (OSError, FaceOpsError):
        return


def last_good(address: Address, cache: Path) -> tuple[Path, int] | None:
    """Return the bundle's folder and the version that `address` was last, None if not known."""
    try:
        content = json.loads(_note(address, cache).read_text("utf-8"))
        folder, version = cache / str(content["folder"]), int(content["version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (folder, version) if (folder / RELEASE_FILE).is_file() else None


def _note(address: Address, cache: Path) -> Path:
    return cache / f"last-{address.name}-{address.alias or address.version}.json"


T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A registered release on this machine.

    `name` is the address of its version, models:/faceops/3, whatever alias it was asked by; `note`
    says in words that the registry could not be asked for it now.
    """

    folder: Path
    name: str
    note: str = ""


def find_release(model_uri: str, root: Path | None = None, *, anew: bool = False) -> Found:
    """Return a local folder with the bundle that `model_uri` names, downloading it once.

    Args:
        model_uri: `models:/faceops@champion`, or `models:/faceops/3`.
        root: where the local MLflow store lies when no server is set; default: here.
        anew: download it even where the cache has it.

    Raises:
        UsageError: the address is no models:/ address.
        FaceOpsError: no MLflow here, no such release, it is not what was registered, or the store
            does not answer and nothing was fetched from it before.
    """
    address = Address.parse(model_uri)
    root = root or Path.cwd()
    if not has_store(root):
        raise FaceOpsError(
            f"there is no MLflow store in {root} to find {address} in; run `make demo` or"
            " `faceops release register`, set MLFLOW_TRACKING_URI, or give --bundle DIR."
        )
    try:
        from faceops.registry.store import point_at_store
    except ModuleNotFoundError:
        raise FaceOpsError(
            f"{address} needs MLflow, which is not installed; install faceops[rebuild] or give"
            " --bundle DIR."
        ) from None
    cache = store_cache(point_at_store(root))
    try:
        return _in_store(address, cache, anew)
    except UnreachableError as error:
        known = last_good(address, cache)
        if known is None:
            raise FaceOpsError(
                f"{error} Nothing was fetched from it before, so no bundle is at hand to go on"
                " with; --bundle DIR names one."
            ) from None
        folder, version = known
        note = (
            f"{address} is taken to be version {version}, as it last was, from the cache: {error}"
        )
        return Found(folder, f"models:/{address.name}/{version}", note)


def load_found(model_uri: str, load: Callable[[Found], T], root: Path | None = None) -> T:
    """Return what `load` makes of a release; a copy that was damaged in the cache is fetched anew.

    Raises: as `find_release`, and what `load` raises.
    """
    found = find_release(model_uri, root)
    try:
        return load(found)
    except DamagedBundleError:
        if found.note:  # the store is away
            raise
        return load(find_release(model_uri, root, anew=True))


def _in_store(address: Address, cache: Path, anew: bool) -> Found:
    import mlflow

    from faceops.registry.store import short_timeout

    with short_timeout(), store_errors(f"finding {address}"):
        client = mlflow.MlflowClient()
        if address.alias:
            _require_alias(client, address)
            entry = client.get_model_version_by_alias(address.name, address.alias)
        else:
            entry = client.get_model_version(address.name, address.version)
    version, stated = int(entry.version), entry.tags.get(RELEASE_TAG, "")
    target = cache / f"{address.name}-{version}-{entry.creation_timestamp}"
    if anew or not is_registered_file(target, stated):
        download_bundle(address.name, version, stated, target)
    remember(address, cache, target, version)
    return Found(target, f"models:/{address.name}/{version}")


def _require_alias(client: "MlflowClient", address: Address) -> None:
    found = client.search_registered_models(f"name = '{address.name}'")
    if not found:
        raise FaceOpsError(
            f"{address}: no release is registered under {address.name}; run `faceops release"
            " register` after `dvc repro`."
        )
    if address.alias in found[0].aliases:
        return
    way_out = (
        "`faceops release rollback` puts the last one back"
        if address.alias == CHAMPION
        else f"models:/{address.name}/VERSION names one by its number"
    )
    raise FaceOpsError(f"{address}: no version has the alias {address.alias}; {way_out}.")


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
