"""From the name of a registered release to a local folder with its bundle."""

import hashlib
import tempfile
from pathlib import Path

from faceops.errors import FaceOpsError, UsageError
from faceops.release.registry.store import CHAMPION, MODEL, has_store, store_errors
from faceops.weights.settings import cache_folder


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
    from faceops.release.registry.tracking import use_tracking

    address = use_tracking(root)
    with store_errors(f"finding {model_uri}"):
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
