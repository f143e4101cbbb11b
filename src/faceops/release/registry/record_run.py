"""One MLflow run a rebuild: its params, metrics, plots, data and bundle."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from faceops.config import read_params
from faceops.errors import FaceOpsError
from faceops.release.assemble import assemble
from faceops.release.contract import read_release
from faceops.release.registry.fetch_split import SPLIT_ARTIFACT, SPLIT_FILE
from faceops.release.registry.register import register
from faceops.release.registry.versions import Version, registered

METRICS = {
    "validate": "build/validate/validation.json",
    "split": "build/split/split.json",
    "train": "build/train/train.json",
    "verify": "build/verify/verify.json",
    "evaluate": "build/evaluate/evaluation.json",
}
PICTURES = ("build/crop", "build/evaluate/pictures")


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings under dotted keys; lists are one leaf."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content


def metric_name(name: str) -> str:
    """Return `name` with the characters that MLflow refuses (such as @ and #) replaced by _."""
    return re.sub(r"[^\w./\- ]", "_", name)


def read_metrics(root: Path) -> dict[str, float]:
    """Return all numbers of the stages' metric files as `stage.key`."""
    metrics = {}
    for stage, name in METRICS.items():
        path = root / name
        if not path.is_file():
            raise FaceOpsError(f"{path} is missing; run `dvc repro` to its end first.")
        for key, value in flatten(json.loads(path.read_text(encoding="utf-8")), stage):
            if isinstance(value, int | float) and not isinstance(value, bool):
                metrics[metric_name(key)] = float(value)
    return metrics


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


def describe(metrics: dict[str, float], lineage: dict[str, str]) -> str:
    """Return the Markdown that a person reads on the version's page before choosing it."""
    lines = [headline(metrics), "", "| test people | |", "| --- | --- |"]
    for key in sorted(metrics):
        if key.startswith("evaluate.") and "interval" not in key:
            lines.append(f"| {key.removeprefix('evaluate.')} | {metrics[key]:.4g} |")
    lines += ["", "| lineage | |", "| --- | --- |"]
    lines += [f"| {key} | `{value}` |" for key, value in sorted(lineage.items()) if value]
    return "\n".join(lines)


def headline(metrics: dict[str, float]) -> str:
    """Return the one line by which releases are told apart in a list."""
    parts = []
    for label, key in (
        ("accuracy", "evaluate.verification.accuracy"),
        ("TAR at FAR 1e-3", "evaluate.verification.tar_at_far_0.001"),
        ("identified", "evaluate.open_set.dir"),
        ("strangers named", "evaluate.open_set.fpir"),
    ):
        if key in metrics:
            parts.append(f"{label} {metrics[key]:.4f}")
    return ", ".join(parts) or "no evaluation figures"


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
    import pandas as pd
    from mlflow.data.pandas_dataset import from_pandas

    from faceops.release.registry.tracking import quiet_mlflow, use_tracking

    metrics = read_metrics(root)
    params = params_of_run(root)
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
            mlflow.MlflowClient().set_tag(run_id, "mlflow.note.content", note)
        return existing, False
    run_name = None if run_id else "rebuild"
    with quiet_mlflow(), mlflow.start_run(run_id=run_id, run_name=run_name) as run:
        mlflow.set_tags(lineage)
        mlflow.log_params(dict(flatten(params)))
        mlflow.log_metrics(metrics)
        _log_history(mlflow.MlflowClient(), run.info.run_id, root / "build/train/history.csv")
        mlflow.log_artifact(str(root / SPLIT_FILE), SPLIT_ARTIFACT.partition("/")[0])
        manifest = pd.read_parquet(root / SPLIT_FILE)
        mlflow.log_input(
            from_pandas(
                manifest, source=str(root / "data"), name="photos", digest=lineage["data"][:32]
            ),
            context="training",
        )
        for folder in PICTURES:
            for picture in sorted((root / folder).glob("*.png")):
                mlflow.log_artifact(str(picture), "pictures")
        for table in sorted((root / "build/evaluate").glob("*.csv")):
            mlflow.log_artifact(str(table), "tables")
        mlflow.log_artifact(str(root / METRICS["validate"]), "validation")
        mlflow.log_artifact(str(root / "build/evaluate/report.html"))
        mlflow.log_artifact(str(bundle / "model_card.md"))
    return register(bundle, run.info.run_id, describe(metrics, lineage)), True
