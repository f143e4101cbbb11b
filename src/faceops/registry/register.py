"""The last rebuild in MLflow: a run, with child runs for its stages, and the version it made."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import yaml
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Metric, Param

from faceops.base.errors import FaceOpsError
from faceops.base.files import read_json_object, sha256_file
from faceops.config.params_file import read_params
from faceops.registry import store
from faceops.registry.champion import FIRST, Event, champions, note_champion
from faceops.registry.store import Version, store_errors
from faceops.release.bundle import Bundle
from faceops.release.contract import Release, read_release
from faceops.release.export import assemble
from faceops.release.release_file import RELEASE_FILE, require_trusted, sign
from faceops.release.served_interface import input_example, signature

METRICS = {
    "validate": "build/validate/validation.json",
    "split": "build/split/split.json",
    "train": "build/train/train.json",
    "embed": "build/embed/embed.json",
    "verify": "build/verify/verify.json",
    "quantise": "build/quantise/quantise.json",
    "evaluate": "build/evaluate/evaluation.json",
}
PICTURES = ("build/crop", "build/evaluate/pictures")
# MLflow's terms for the use of each split.
CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}
RAN, UNCHANGED, FAILED = "ran", "nothing to do", "failed"
_PARENT = "mlflow.parentRunId"
_DECIDED = {"gate", "champion_since"}  # tags of a version that was measured or was champion
ABOUT = (
    "Names the people in photos: detector, embedder, verifier, thresholds. A request holds photos "
    "(`image`, base64) and may ask for an `answer` (`faces`, `names` or `embeddings`), a `budget` "
    "(share of strangers that may be given a name; 0 is the release's own) and `detail` (pixels)."
)


@dataclass(frozen=True)
class StageRun:
    """A stage of a rebuild: its `state`, a word above ("" if not known), and its output `log`."""

    stage: str
    state: str = ""
    seconds: float = 0.0
    log: Path | None = None


def register_last_run(
    root: Path, run_id: str | None = None, sign_key: Path | None = None
) -> tuple[Version, bool]:
    """Record the last pipeline run of the repository `root` in MLflow and register its bundle.

    Returns the version and whether it is new: a run that is registered already, and signed by
    `sign_key` if it is given, is left as it is.

    Args:
        root: the repository, after `dvc repro`.
        run_id: an open MLflow run to write to; None makes one.
        sign_key: the private key to sign the bundle with, see `sign`.

    Raises:
        UsageError: `sign_key` cannot be used.
        FaceOpsError: a stage did not run, params.yaml was changed since, or the bundle is damaged
            or not signed by a trusted key.
        StoreError: the store refused it or does not answer.
    """
    metrics: dict[str, float] = {}
    for stage in METRICS:
        metrics |= stage_metrics(root, stage)
    params = {name: str(value) for name, value in flatten(_params_of_run(root))}
    bundle = assemble(root, root / "build" / "release")
    release = read_release(bundle)
    lineage = {
        "contract_id": release.contract_id,
        "data": _data_hash(root),
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
    }
    if sign_key:
        lineage[store.SIGNER_TAG] = sign(bundle, sign_key)
    require_trusted(bundle, str(bundle))  # before anything is recorded
    store.use_tracking(root)
    existing = find_registered(release, lineage.get(store.SIGNER_TAG, ""))
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
        _log_history(run.info.run_id, root / "build/train/history.csv")
        _log_data(root)
        for path in sorted((root / store.TRAINED).glob("model.*")):  # to start a rebuild from
            mlflow.log_artifact(str(path), store.TRAINED_ARTIFACT)
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
    current = store.champion()
    details = store.version_details(current) if current else None
    description = store.describe(metrics, params, lineage, details)
    return register(bundle, run.info.run_id, description, lineage), True


def find_registered(release: Release, signed_by: str = "") -> Version | None:
    """Return the version with the contract id and the dvc.lock of `release`, if there is one.

    With `signed_by` one that is signed by this key.
    """
    if not release.dvc_lock_sha256:
        return None
    for one in store.versions():
        same = one.contract_id == release.contract_id
        same &= one.dvc_lock_sha256 == release.dvc_lock_sha256
        if same and signed_by in ("", one.signed_by):
            return one
    return None


def register(
    bundle_folder: Path, run_id: str, description: str, lineage: Mapping[str, str] | None = None
) -> Version:
    """Log the bundle to the run, register it, and give it its alias, see `give_alias`.

    Args:
        bundle_folder: a complete bundle; logged as it is, under `bundle/` of the model.
        run_id: the MLflow run that holds its params, metrics and plots.
        description: Markdown for the version's page.
        lineage: further tags of the version; those of the bundle's release.json are known.

    Raises:
        FaceOpsError: the bundle is damaged.
        StoreError: the store refused it or does not answer.
    """
    release = Bundle.load(bundle_folder).release
    tags = {
        **(lineage or {}),
        store.CONTRACT_TAG: release.contract_id,
        "dvc_lock_sha256": release.dvc_lock_sha256,
        "git_commit": release.git_commit,
        store.RELEASE_TAG: sha256_file(bundle_folder / RELEASE_FILE),
    }
    with store_errors("registering the release"), tempfile.TemporaryDirectory() as temporary:
        staged = Path(temporary) / store.BUNDLE_FOLDER
        shutil.copytree(bundle_folder, staged)
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=store.MODEL,
                loader_module="faceops.serving.pyfunc",
                data_path=str(staged),
                signature=signature(),
                input_example=input_example(),
                pip_requirements=[],  # no index has this package: serve with --env-manager local
                metadata=tags,
            )
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{store.MODEL}'"):
            client.create_registered_model(store.MODEL, description=ABOUT)
        version = client.create_model_version(
            store.MODEL,
            logged.model_uri,
            run_id=run_id,
            tags=tags,
            description=description,
            model_id=logged.model_id,  # a server refuses the address without it
            await_creation_for=0,  # both kinds of store return it immediately
        )
    return give_alias(int(version.version))


def give_alias(number: int) -> Version:
    """Give a version the alias that a registration ends with, and return it.

    The oldest version becomes `champion` if there never was one, else the newest `challenger`.
    A version that has an alias, was measured by the gate or was champion stays as it is. To call
    it again completes an interrupted registration.

    Raises StoreError: the store refused it or does not answer.
    """
    known = store.versions()
    version = next(one for one in known if one.version == number)
    has_champion = any(store.CHAMPION in one.aliases for one in known)
    first = not has_champion and number == known[-1].version and not champions()
    with store_errors(f"giving version {number} its alias"):
        client = mlflow.MlflowClient()
        tags = client.get_model_version(store.MODEL, str(number)).tags
        if first:
            client.set_registered_model_alias(store.MODEL, store.CHAMPION, str(number))
        elif number == known[0].version and not (version.aliases or tags.keys() & _DECIDED):
            client.set_registered_model_alias(store.MODEL, store.CHALLENGER, str(number))
    if first:
        note_champion(Event.now(number, FIRST, because="there was no other"))
    return store.find_version(str(number))


def record_stages(root: Path, parent: str, runs: Sequence[StageRun]) -> None:
    """Write `runs` to child runs of the run `parent`; existing ones are added to.

    Raises StoreError: the store refused it or does not answer.
    """
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
    return list(yaml.safe_load((root / "dvc.yaml").read_text("utf-8"))["stages"])


def stage_metrics(root: Path, stage: str) -> dict[str, float]:
    """Return all numbers of the stage's metric file as `stage.key`; none if it has no such file.

    Raises FaceOpsError: the file is missing.
    """
    if stage not in METRICS:
        return {}
    path = root / METRICS[stage]
    if not path.is_file():
        raise FaceOpsError(f"{path} is missing; run `dvc repro` first.")
    return {
        metric_name(key): float(value)
        for key, value in flatten(json.loads(path.read_text("utf-8")), stage)
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def flatten(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings under dotted keys; a list is one leaf."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, content


def metric_name(name: str) -> str:
    """Return `name` with the characters that MLflow refuses (such as @ and #) replaced by _."""
    return re.sub(r"[^\w./\- ]", "_", name)


def _params_of_run(root: Path) -> dict[str, Any]:
    """Return the parameters, by section, that the last pipeline run was made with."""
    now = read_params(root / "params.yaml").model_dump(mode="json", by_alias=True)
    exported = read_json_object(root / "build/export" / RELEASE_FILE)
    for section, values in exported["params"].items():
        if now.get(section) != values:
            raise FaceOpsError(
                f"{root / 'params.yaml'}: the section {section} has changed since the last"
                " `dvc repro`; run it again before registering."
            )
    return now


def _data_hash(root: Path) -> str:
    """Return DVC's hash of the data/ that the last pipeline run validated, "" before any run."""
    path = root / "dvc.lock"
    lock = yaml.safe_load(path.read_text("utf-8")) if path.is_file() else {}
    deps = lock.get("stages", {}).get("validate", {}).get("deps", [])
    return next((str(dep["md5"]) for dep in deps if dep["path"] == "data"), "")


def _log_history(run_id: str, history: Path) -> None:
    table = pd.read_csv(history).select_dtypes("number")
    epochs = table.get("epoch", pd.Series(range(len(table)))).astype(int)
    metrics = [
        Metric(metric_name(f"history.{key}"), float(value), 0, epoch)
        for key in table
        for epoch, value in zip(epochs, table[key], strict=True)
        if not pd.isna(value)
    ]
    for start in range(0, len(metrics), 1000):  # the limit of one request
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics[start : start + 1000])


def _log_data(root: Path) -> None:
    """Log the photos of each split as dataset inputs, and the split for the gate."""
    mlflow.log_artifact(str(root / store.SPLIT_FILE), store.SPLIT_ARTIFACT.partition("/")[0])
    faces = pd.read_parquet(root / store.SPLIT_FILE)
    for split, rows in faces.groupby("split"):
        digest = hashlib.sha256("".join(sorted(rows["photo_id"])).encode()).hexdigest()[:32]
        data = from_pandas(rows, source=str(root / "data"), name=f"photos, {split}", digest=digest)
        mlflow.log_input(data, context=CONTEXTS.get(str(split), str(split)))
