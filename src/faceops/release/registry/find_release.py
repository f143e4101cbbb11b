"""From the name of a registered release to a local folder with its bundle.

What was once fetched stays in the cache, and where the store does not answer, or not whole, the
bundle that the name stood for last is used, and said to be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from faceops.base.errors import FaceOpsError
from faceops.release.registry.address import Address
from faceops.release.registry.last_good import last_good, remember
from faceops.release.registry.store import (
    CHAMPION,
    RELEASE_TAG,
    UnreachableError,
    has_store,
    store_errors,
)
from faceops.release.registry.store_cache import store_cache
from faceops.release.release_file import DamagedBundleError

if TYPE_CHECKING:
    from mlflow import MlflowClient

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
        from faceops.release.registry.tracking import point_at_store
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

    from faceops.release.registry.download_bundle import download_bundle, is_registered_file
    from faceops.release.registry.quiet_mlflow import impatience

    with impatience(), store_errors(f"finding {address}"):
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
