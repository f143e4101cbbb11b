"""From the address of a registered release to a local folder with its bundle.

Bundles stay in the cache. Where the store does not answer, the bundle that the address named
last is used, and the result says so.
"""

import contextlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import mlflow

from faceops.base.errors import FaceOpsError, StoreError, UsageError
from faceops.base.files import (
    atomic_folder,
    read_json_object,
    replace_folder,
    sha256_file,
    write_error,
    write_file,
)
from faceops.registry import NoReleaseError, has_store, store
from faceops.registry.store import UnreachableError, Version, store_errors
from faceops.release.bundle import Bundle, check_files
from faceops.release.release_file import RELEASE_FILE, DamagedBundleError

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """A parsed address: `name`, `mark` ("@" before an alias, "/" before a version), `which`."""

    name: str
    mark: str
    which: str

    @classmethod
    def parse(cls, uri: str) -> "Address":
        """Parse `models:/NAME@ALIAS` or `models:/NAME/VERSION`.

        Raises UsageError: `uri` is neither.
        """
        found = re.fullmatch("models:/([^@/]+)([@/])(.+)", uri)
        if found is None:
            raise UsageError(
                f"{uri!r} names no release; write models:/{store.MODEL}@{store.CHAMPION},"
                f" models:/{store.MODEL}/VERSION or published, or give --bundle DIR."
            )
        return cls(*found.groups())

    def __str__(self) -> str:
        return f"models:/{self.name}{self.mark}{self.which}"

    def note(self, cache: Path) -> Path:
        """Return the file in `cache` with the version that the address named last."""
        return cache / f"last-{self.name}-{self.which}.json"


@dataclass(frozen=True)
class FetchedRelease:
    """A registered release on this machine.

    `name` is the address of its version, models:/faceops/3; `note` says that the registry could
    not be asked, else "".
    """

    folder: Path
    name: str
    note: str = ""


def find_release(
    model_uri: str, root: Path | None = None, *, refetch: bool = False
) -> FetchedRelease:
    """Return a local folder with the bundle that `model_uri` names, downloading it once.

    Args:
        model_uri: `models:/faceops@champion`, or `models:/faceops/3`.
        root: the folder of the local MLflow store if no server is set; default: here.
        refetch: download it even if the cache has it.

    Raises:
        UsageError: it is not a models:/ address.
        FaceOpsError: there is no store or no such release, its files are not the registered ones,
            or the store does not answer and the cache has nothing for the address.
    """
    address = Address.parse(model_uri)
    root = root or Path.cwd()
    if not has_store(root):
        raise FaceOpsError(
            f"there is no MLflow store in {root} to find {address} in; run `make demo` or"
            " `faceops release register`, set MLFLOW_TRACKING_URI, or give --model published or"
            " --bundle DIR."
        )
    cache = store.store_cache(store.point_at_store(root))
    try:
        return _find_in_store(address, cache, refetch)
    except UnreachableError as error:
        return _find_in_cache(address, cache, str(error))


def load_fetched(
    model_uri: str, load: Callable[[FetchedRelease], T], root: Path | None = None
) -> T:
    """Return `load` of a release; a copy that is damaged in the cache is fetched again.

    Raises: as `find_release`, and what `load` raises.
    """
    found = find_release(model_uri, root)
    try:
        return load(found)
    except DamagedBundleError:
        if found.note:  # the store does not answer
            raise
        return load(find_release(model_uri, root, refetch=True))


def require_loadable(version: Version, root: Path | None = None) -> None:
    """Fetch and load the version's bundle; `root` is as in `find_release`.

    Raises FaceOpsError: it is damaged, or this faceops cannot use it.
    """
    load_fetched(version.address, lambda it: Bundle.load(it.folder, name=it.name), root)


def export_bundle(version: Version, folder: Path) -> Path:
    """Write the version's bundle to `folder`, which does not exist or is empty; atomic.

    Raises:
        UsageError: `folder` is not empty.
        FaceOpsError: the bundle is damaged, or `folder` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one.")

    def checked(release: FetchedRelease) -> Path:
        check_files(release.folder)
        return release.folder

    source = load_fetched(version.address, checked)
    folder = folder.resolve()
    try:
        with atomic_folder(folder) as temporary:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from None
    return folder


def fetch_artifact(version: Version, artifact: str, folder: Path) -> Path | None:
    """Return a file or folder of the version's run, put into `folder`; None where there is none.

    An earlier FaceOps registered fewer of them, or the run was deleted.

    `artifact`: `SPLIT_ARTIFACT`, or `TRAINED_ARTIFACT`: the model before its export.

    Raises FaceOpsError: the store does not answer, or `folder` cannot be written.
    """
    if not version.run_id:
        return None
    try:
        with store_errors(f"fetching {artifact} of version {version.version}"):
            parent = artifact.rpartition("/")[0] or None
            files = mlflow.MlflowClient().list_artifacts(version.run_id, parent)
            if artifact not in {file.path for file in files}:
                return None
            folder.mkdir(parents=True, exist_ok=True)
            address = f"runs:/{version.run_id}/{artifact}"
            return Path(mlflow.artifacts.download_artifacts(address, dst_path=str(folder)))
    except UnreachableError:
        raise
    except StoreError:  # its run was deleted
        return None


def _find_in_store(address: Address, cache: Path, refetch: bool) -> FetchedRelease:
    with store.short_timeout(), store_errors(f"finding {address}"):
        client = mlflow.MlflowClient()
        if address.mark == "@":
            if not (found := client.search_registered_models(f"name = '{address.name}'")):
                raise NoReleaseError(
                    f"{address}: no release is registered under {address.name}; run `faceops"
                    " release register` after `dvc repro`."
                )
            if address.which not in found[0].aliases:
                advice = f"models:/{address.name}/VERSION names a release"
                if address.which == store.CHAMPION:
                    advice = "`faceops release rollback` restores the last champion"
                raise NoReleaseError(
                    f"{address}: no version has the alias {address.which}; {advice}."
                )
            entry = client.get_model_version_by_alias(address.name, address.which)
        else:
            entry = client.get_model_version(address.name, address.which)
    version, expected = int(entry.version), entry.tags.get(store.RELEASE_TAG, "")
    target = cache / f"{address.name}-{version}-{entry.creation_timestamp}"
    if refetch or not _is_registered(target, expected):
        _download(address.name, version, expected, target)
    content = json.dumps({"version": version, "folder": target.name})
    with contextlib.suppress(OSError, FaceOpsError):  # only a run without the store needs it
        write_file(address.note(cache), content)
    return FetchedRelease(target, f"models:/{address.name}/{version}")


def _find_in_cache(address: Address, cache: Path, problem: str) -> FetchedRelease:
    """Return the bundle that `address` named last; `problem` says why the store is not asked."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        content = read_json_object(address.note(cache))
        folder, version = cache / str(content["folder"]), int(content["version"])
        if (folder / RELEASE_FILE).is_file():
            note = f"{address} is taken from the cache: version {version}, its last known target"
            name = f"models:/{address.name}/{version}"
            return FetchedRelease(folder, name, f"{note}: {problem}")
    raise FaceOpsError(
        f"{problem} Nothing was fetched from it before, so there is no bundle to use; --model"
        " published needs no registry, and --bundle DIR names one."
    ) from None


def _download(name: str, version: int, expected: str, target: Path) -> None:
    """Put the bundle of a version into `target`, after checking it against `expected`.

    `expected` is the sha256 of the registered release.json, which has those of the model files.
    """
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
            _check(inside[0], f"version {version} of {name}", expected)
            replace_folder(inside[0], target)


def _is_registered(folder: Path, expected: str) -> bool:
    """Whether the release.json in `folder` has the sha256 `expected`; "" accepts any."""
    try:
        digest = sha256_file(folder / RELEASE_FILE)
    except OSError:
        return False
    return expected in ("", digest)


def _check(bundle: Path, name: str, expected: str) -> None:
    advice = "`faceops release rollback` restores the release before it."
    if not _is_registered(bundle, expected):
        raise FaceOpsError(
            f"{name}: its {RELEASE_FILE} in the store is not the one that was registered (another"
            f" sha256), so it was damaged or tampered with; {advice}"
        )
    try:
        check_files(bundle)
    except DamagedBundleError as error:
        message = str(error).replace(f"{bundle}/", "")
        raise FaceOpsError(f"{name} is damaged in the store: {message} {advice}") from None
