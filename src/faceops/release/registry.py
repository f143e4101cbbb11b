"""The registry: bundles as versions of the MLflow model `faceops`, with the alias `champion`."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceops.errors import FaceOpsError, StoreError, UsageError
from faceops.release.bundle import Bundle
from faceops.release.contract import Release
from faceops.weights.settings import cache_folder

MODEL = "faceops"
CHAMPION = "champion"
CHALLENGER = "challenger"
BUNDLE_FOLDER = "bundle"


@dataclass(frozen=True)
class Version:
    """One registered release."""

    version: int
    aliases: tuple[str, ...]
    run_id: str
    contract_id: str
    dvc_lock_sha256: str
    git_commit: str
    summary: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@contextmanager
def _registry_errors(doing: str) -> Iterator[None]:
    """Turn MLflow's own errors into one sentence."""
    import mlflow
    from requests.exceptions import RequestException

    from faceops.release.tracking import quiet_mlflow

    try:
        with quiet_mlflow():
            yield
    except (mlflow.MlflowException, RequestException) as error:
        reason = str(error).splitlines()[0]
        address = mlflow.get_tracking_uri()
        raise StoreError(
            f"{doing} failed at the MLflow store {address} ({reason}); check the store or"
            " MLFLOW_TRACKING_URI."
        ) from None


def register(bundle_folder: Path, run_id: str, description: str) -> Version:
    """Log the bundle to the run and register it; the first version becomes champion.

    Later versions become `challenger`: a person (or, later, the gate) moves `champion`.

    Args:
        bundle_folder: a complete bundle; logged as it is, under `bundle/` of the model.
        run_id: the MLflow run that holds its params, metrics and plots.
        description: Markdown for the version's page.
    """
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    release = Bundle.load(bundle_folder).release
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 112, 112, 3), "crops")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, release.embedding_size))]),
    )
    tags = {
        "contract_id": release.contract_id,
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
    }
    with _registry_errors("registering the release"), tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / BUNDLE_FOLDER
        shutil.copytree(bundle_folder, staged)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=MODEL,
                loader_module="faceops.release.pyfunc",
                data_path=str(staged),
                signature=signature,
                pip_requirements=["faceops"],
                metadata=tags,
            )
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{MODEL}'"):
            client.create_registered_model(
                MODEL, description="Names the people in photos: detector, embedder, verifier."
            )
        made = client.create_model_version(
            MODEL,
            logged.model_uri,
            run_id=run_id,
            tags=tags,
            description=description,
            model_id=logged.model_id,  # a server refuses the address without it
            await_creation_for=0,  # both kinds of store have it at once
        )
        holders = client.get_registered_model(MODEL).aliases
        alias = CHALLENGER if CHAMPION in holders else CHAMPION
        client.set_registered_model_alias(MODEL, alias, made.version)
        return next(v for v in versions() if v.version == int(made.version))


def registered(release: Release) -> Version | None:
    """Return the version that holds this very release: same contract, same dvc.lock."""
    for version in versions():
        same_lock = version.dvc_lock_sha256 == release.dvc_lock_sha256 != ""
        if same_lock and version.contract_id == release.contract_id:
            return version
    return None


def versions() -> list[Version]:
    """Return all registered releases, newest first."""
    import mlflow

    with _registry_errors("listing releases"):
        client = mlflow.MlflowClient()
        found = client.search_registered_models(f"name = '{MODEL}'")
        if not found:
            return []
        aliases: dict[str, list[str]] = {}
        for alias, number in found[0].aliases.items():
            aliases.setdefault(str(number), []).append(alias)
        listed = client.search_model_versions(f"name = '{MODEL}'")
    rows = [
        Version(
            version=int(one.version),
            aliases=tuple(sorted(aliases.get(str(one.version), []))),
            run_id=one.run_id or "",
            contract_id=one.tags.get("contract_id", ""),
            dvc_lock_sha256=one.tags.get("dvc_lock_sha256", ""),
            git_commit=one.tags.get("git_commit", ""),
            summary=(one.description or "").splitlines()[0] if one.description else "",
        )
        for one in listed
    ]
    return sorted(rows, key=lambda row: -row.version)


def has_store(root: Path) -> bool:
    """Whether there is a server, or a local store in `root`, to read from."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (root / "mlflow.db").is_file()


def fetch_bundle(model_uri: str, root: Path | None = None) -> Path:
    """Return a local folder with the bundle that `model_uri` names, downloading it once.

    Args:
        model_uri: `models:/faceops@champion`, or `models:/faceops/3`.
        root: where the local MLflow store lies when no server is set; default: here.

    Raises:
        UsageError: the address is no models:/ address.
        FaceOpsError: no MLflow here, no such release, or the store does not answer.
    """
    name, separator, which = model_uri.removeprefix("models:/").partition(
        "@" if "@" in model_uri else "/"
    )
    if not model_uri.startswith("models:/") or not separator or not name or not which:
        raise UsageError(
            f"{model_uri!r} names no release; write models:/{MODEL}@{CHAMPION} or"
            f" models:/{MODEL}/VERSION, or give --bundle DIR."
        )
    root = root or Path.cwd()
    if not has_store(root):
        raise FaceOpsError(
            f"there is no MLflow store in {root} to find {model_uri} in; run `make demo` or"
            " `faceops release register`, set MLFLOW_TRACKING_URI, or give --bundle DIR."
        )
    try:
        import mlflow
    except ModuleNotFoundError:
        raise FaceOpsError(
            f"{model_uri} needs MLflow, which is not installed; install faceops[rebuild] or give"
            " --bundle DIR."
        ) from None
    from faceops.release.tracking import use_tracking

    address = use_tracking(root)
    with _registry_errors(f"finding {model_uri}"):
        client = mlflow.MlflowClient()
        if separator == "@":
            found = client.get_model_version_by_alias(name, which)
        else:
            found = client.get_model_version(name, which)
        store = hashlib.sha256(address.encode()).hexdigest()[:12]
        target = (
            cache_folder()
            / "releases"
            / store
            / f"{name}-{found.version}-{found.creation_timestamp}"
        )
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
                mlflow.artifacts.download_artifacts(
                    f"models:/{name}/{found.version}", dst_path=temporary
                )
                inside = [path.parent for path in Path(temporary).rglob("release.json")]
                if len(inside) != 1:
                    raise FaceOpsError(
                        f"{model_uri} holds no FaceOps bundle; register one with"
                        " `faceops release register`."
                    )
                try:
                    inside[0].rename(target)
                except OSError:  # another process was first
                    if not target.is_dir():
                        raise
    return target
