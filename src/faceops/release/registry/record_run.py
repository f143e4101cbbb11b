"""One MLflow run a rebuild, with children for its stages: params, metrics, plots, data, bundle."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from faceops.base.errors import FaceOpsError
from faceops.config import read_params
from faceops.release.assemble import assemble
from faceops.release.contract import read_release
from faceops.release.registry.describe import describe
from faceops.release.registry.fetch_split import SPLIT_ARTIFACT, SPLIT_FILE
from faceops.release.registry.register import give_alias, register
from faceops.release.registry.stage_runs import (
    METRICS,
    StageRun,
    dvc_stages,
    flatten,
    metric_name,
    record_stages,
    stage_metrics,
)
from faceops.release.registry.store import store_errors
from faceops.release.registry.told_version import tell
from faceops.release.registry.versions import Version, champion, registered

PICTURES = ("build/crop", "build/evaluate/pictures")
# MLflow's words for what each split was for.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}


def params_of_run(root: Path) -> dict[str, Any]:
    """Return the parameters, by section, that the last pipeline run was made with.

    Raises:
        FaceOpsError: params.yaml was changed after it.
    """
    now = read_params(root / "params.yaml").model_dump(mode="json", by_alias=True)
    exported = json.loads((root / "build/export/release.json").read_text(encoding="utf-8"))
    for section, values in exported["params"].items():
        if now.get(section) != values:
            raise FaceOpsError(
                f"{root / 'params.yaml'}: the section {section} has changed since the last"
                " `dvc repro`; run it again before registering."
            )
    return now


def data_hash(root: Path) -> str:
    """Return DVC's hash of the data/ that the last pipeline run validated, '' before any run."""
    path = root / "dvc.lock"
    if not path.is_file():
        return ""
    lock = yaml.safe_load(path.read_text(encoding="utf-8"))
    deps = lock.get("stages", {}).get("validate", {}).get("deps", [])
    return next((str(dep["md5"]) for dep in deps if dep["path"] == "data"), "")


def _log_history(client: Any, run_id: str, history: Path) -> None:
    from mlflow.entities import Metric

    with history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    metrics = []
    for step, row in enumerate(rows):
        epoch = int(float(row.get("epoch") or step))
        for key, value in row.items():
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue
            metrics.append(Metric(metric_name(f"history.{key}"), number, 0, epoch))
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def register_last_run(root: Path, run_id: str | None = None) -> tuple[Version, bool]:
    """Record the last pipeline run of the repository `root` in MLflow and register its bundle.

    Returns the version and whether it is new: a run that is registered already stays as it is.

    Args:
        root: the repository, after `dvc repro`.
        run_id: an open MLflow run to write to; None makes one.
    """
    import mlflow

    from faceops.release.registry.tracking import use_tracking

    metrics: dict[str, float] = {}
    for stage in METRICS:
        metrics |= stage_metrics(root, stage)
    params = dict(flatten(params_of_run(root)))
    bundle = assemble(root, root / "build" / "release")
    release = json.loads((bundle / "release.json").read_text(encoding="utf-8"))
    lineage = {
        "contract_id": release["contract_id"],
        "data": data_hash(root),
        "dvc_lock_sha256": release["dvc_lock_sha256"],
        "git_commit": release["git_commit"],
    }
    use_tracking(root)
    existing = registered(read_release(bundle))
    if existing is not None:
        if run_id:
            note = f"nothing has changed since version {existing.version}"
            with store_errors("recording the rebuild"):
                mlflow.MlflowClient().set_tag(run_id, "mlflow.note.content", note)
                mlflow.MlflowClient().set_terminated(run_id)
        return give_alias(existing.version), False
    with (
        store_errors("recording the rebuild"),
        mlflow.start_run(run_id=run_id, run_name=None if run_id else "rebuild") as run,
    ):
        mlflow.set_tags(lineage)
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        _log_history(mlflow.MlflowClient(), run.info.run_id, root / "build/train/history.csv")
        _log_data(root)
        for folder in PICTURES:
            for picture in sorted((root / folder).glob("*.png")):
                mlflow.log_artifact(str(picture), "pictures")
        for table in sorted((root / "build/evaluate").glob("*.csv")):
            mlflow.log_artifact(str(table), "tables")
        mlflow.log_artifact(str(root / METRICS["validate"]), "validation")
        mlflow.log_artifact(str(root / "build/evaluate/report.html"))
        mlflow.log_artifact(str(bundle / "model_card.md"))
    if run_id is None:
        record_stages(root, run.info.run_id, [StageRun(stage) for stage in dvc_stages(root)])
    now = champion()
    texts = {name: str(value) for name, value in params.items()}
    description = describe(metrics, texts, lineage, tell(now) if now else None)
    return register(bundle, run.info.run_id, description, lineage), True


def _log_data(root: Path) -> None:
    """Log which photos each split was, as dataset inputs, and the split itself.

    The gate needs the split, to know whom this release has seen.
    """
    import mlflow
    import pandas as pd
    from mlflow.data.pandas_dataset import from_pandas

    mlflow.log_artifact(str(root / SPLIT_FILE), SPLIT_ARTIFACT.partition("/")[0])
    faces = pd.read_parquet(root / SPLIT_FILE)
    for split, rows in faces.groupby("split"):
        digest = hashlib.sha256("".join(sorted(rows["photo_id"])).encode()).hexdigest()[:32]
        data = from_pandas(rows, source=str(root / "data"), name=f"photos, {split}", digest=digest)
        mlflow.log_input(data, context=CONTEXTS.get(str(split), str(split)))
