"""The children of a rebuild's MLflow run: one a stage, with what it was told and what it gave."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from faceops.base.errors import FaceOpsError
from faceops.release.registry.store import store_errors

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

    from faceops.config import read_params

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
