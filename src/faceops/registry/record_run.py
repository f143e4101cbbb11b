"""One MLflow run a rebuild, with children for its stages: params, metrics, plots, data, bundle."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from faceops.base.errors import FaceOpsError
from faceops.config.params_file import read_params
from faceops.registry.fetch import SPLIT_ARTIFACT, SPLIT_FILE
from faceops.registry.register import describe, give_alias, register
from faceops.registry.store import store_errors
from faceops.registry.versions import Version, champion, registered, version_details
from faceops.release.contract import read_release
from faceops.release.export import assemble

METRICS = {
    "validate": "build/validate/validation.json",
    "split": "build/split/split.json",
    "train": "build/train/train.json",
    "verify": "build/verify/verify.json",
    "quantise": "build/quantise/quantise.json",
    "evaluate": "build/evaluate/evaluation.json",
}
RAN, STOOD, FAILED = "ran", "nothing to do", "failed"
_PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class StageRun:
    """One stage in a rebuild: its `state`, a word above, or "" where only its results are known.

    `log` is what it printed.
    """

    stage: str
    state: str = ""
    seconds: float = 0.0
    log: Path | None = None


def record_stages(root: Path, parent: str, runs: Sequence[StageRun]) -> None:
    """Write `runs` to children of the run `parent`; a child that is there already is added to.

    Raises:
        StoreError: the store refused or does not answer.
    """
    import mlflow
    from mlflow.entities import Param
    from mlflow.entities.metric import Metric

    from faceops.config.params_file import read_params

    params = read_params(root / "params.yaml").model_dump(mode="json", by_alias=True)
    with store_errors("recording the stages"):
        client = mlflow.MlflowClient()
        experiment = client.get_run(parent).info.experiment_id
        found = client.search_runs([experiment], f"tags.`{_PARENT}` = '{parent}'")
        children = {run.info.run_name: run.info.run_id for run in found}
        for run in runs:
            child = children.get(run.stage)
            if child is None:
                tags = {_PARENT: parent}
                child = client.create_run(experiment, tags=tags, run_name=run.stage).info.run_id
            if run.state:
                client.set_tag(child, "state", run.state)
            section = flatten(params.get(run.stage, {}), run.stage)
            metrics = {} if run.state == FAILED else stage_metrics(root, run.stage)
            if run.seconds:
                metrics["stage_seconds"] = run.seconds
            client.log_batch(
                child,
                params=[Param(name, str(value)) for name, value in section],
                metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()],
            )
            if run.log is not None and run.log.is_file():
                client.log_artifact(child, str(run.log))
            client.set_terminated(child, "FAILED" if run.state == FAILED else "FINISHED")


def dvc_stages(root: Path) -> list[str]:
    """Return the stages of dvc.yaml, in its order."""
    return list(yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"])


def stage_metrics(root: Path, stage: str) -> dict[str, float]:
    """Return all numbers of the stage's metric file as `stage.key`; nothing where it has none.

    Raises:
        FaceOpsError: it should be there and is not.
    """
    if stage not in METRICS:
        return {}
    path = root / METRICS[stage]
    if not path.is_file():
        raise FaceOpsError(f"{path} is missing; run `dvc repro` to its end first.")
    return {
        metric_name(key): float(value)
        for key, value in flatten(json.loads(path.read_text(encoding="utf-8")), stage)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


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

    from faceops.registry.store import use_tracking

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
    description = describe(metrics, texts, lineage, version_details(now) if now else None)
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
