"""Stage train: from the aligned faces of the split to an embedder."""

import math
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
from mlflow.entities import Metric, Param

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, write_csv, write_json
from faceops.config.sections import Train
from faceops.embedding.backbones.build import WEIGHTS, check_train_params, save_model
from faceops.embedding.embedder import Embedder, choose_device
from faceops.embedding.similarity_map import draw_similarity_map
from faceops.embedding.training.figures import Row, TrainingLog
from faceops.embedding.training.inputs import FaceDataset, build_inputs
from faceops.embedding.training.processes import Processes, start_processes, started_by_torchrun
from faceops.embedding.training.state import delete_checkpoint, run_key
from faceops.embedding.training.training_loop import Trainer, TrainingResult, start_model
from faceops.registry.store import EXPERIMENT, store_errors, use_tracking
from faceops.stages import CHECKPOINTS, CROPS, FACES, MODEL, PARAMS, run_stage, stage_params
from faceops.weights import weight_path

HARD_NEGATIVES = Path("build/split/hard_negatives.parquet")
MLFLOW_RUN = "mlflow_run_id"  # a file beside a run's checkpoint


def main() -> None:
    """Read build/crop and build/split; write build/train; log to MLflow."""
    settings = stage_params().train
    check_train_params(settings, PARAMS)
    confused = _hard_negatives()
    train, val = _faces_of("train", confused), _faces_of("val")
    sface = weight_path("sface") if settings.backbone == "pretrained" else None
    start_weights = Path(settings.start) / WEIGHTS if settings.start else sface
    if settings.warmup_epochs + settings.triplet_epochs == 0:
        print("train: warmup_epochs and triplet_epochs are 0: nothing is trained", file=sys.stderr)
        start = TrainingResult([{"epoch": 0, "phase": "start", "miner": ""}], 0, "finished")
        write_result(start_model(settings, sface), start, train, val, settings)
        return
    if settings.processes > 1 and not started_by_torchrun():
        start_processes(settings.processes, "faceops.stages.train")
        return
    device = choose_device(settings.device)
    processes = Processes.join(device)
    model = start_model(settings, sface)
    data = [sha256_file(FACES), sha256_file(CROPS)]
    pairs = [sha256_file(HARD_NEGATIVES)] if confused else []
    key = run_key(settings, *data, sha256_file(start_weights) if start_weights else "", *pairs)
    if processes.agree(key) != key:
        raise FaceOpsError(
            f"the settings, the faces or the torch of process {processes.rank} are not those of "
            "process 0; copy params.yaml, build/crop and build/split to each host, and start all "
            "processes again."
        )
    if processes.rank == 0:
        size = f"{train.people} people, {len(train)} photos"
        print(f"train: {settings.backbone} on {device.type}, {size}", file=sys.stderr)

    started = time.monotonic()
    with processes.first_alone():  # features are computed once and cached
        inputs = build_inputs(model, train, val, settings, CHECKPOINTS, device)
    features_seconds = time.monotonic() - started

    checkpoints = CHECKPOINTS / key
    if processes.rank > 0:
        Trainer(model, inputs, settings, checkpoints, processes).fit()
        processes.leave()
        return
    use_tracking(Path.cwd())  # by one process: two at once would both create a new store
    parent = os.environ.get("MLFLOW_RUN_ID") or None
    run_id_file = checkpoints / MLFLOW_RUN
    with (
        store_errors("recording the training"),
        MlflowLog(EXPERIMENT, settings.model_dump(), data[0], parent, run_id_file) as log,
    ):
        result = Trainer(model, inputs, settings, checkpoints, processes, log).fit()
        processes.leave()
        seconds = {"seconds": time.monotonic() - started, "features_seconds": features_seconds}
        log.log_result({"best_epoch": result.best_epoch} | seconds)
        log.log_map(inputs.embed_plain(model, "val"), val.labels)
    write_result(model, result, train, val, settings)
    if result.stopped != "max_minutes":  # then a longer limit continues from the checkpoint
        run_id_file.unlink(missing_ok=True)
        delete_checkpoint(checkpoints)
    if result.best_epoch == 0:
        reason = "no epoch was better than the start on the validation people"
        if result.history[-1]["epoch"] == 0:
            reason = "max_minutes ended before the first epoch"
        print(f"train: {reason}: the start is kept", file=sys.stderr)


def write_result(
    model: Embedder, result: TrainingResult, train: FaceDataset, val: FaceDataset, settings: Train
) -> None:
    """Write build/train: no times, so that equal runs give equal bytes.

    Validation figures are absent from train.json where no epoch was to be trained.
    """
    summary: dict[str, Any] = {
        "backbone": settings.backbone,
        "best_epoch": result.best_epoch,
        "epochs": result.history[-1]["epoch"],
        "kept_start": result.best_epoch == 0,
        "people": train.people,
        "photos": len(train),
        "stopped": result.stopped,
        "val_people": val.people,
    }
    start, best = result.history[0], result.best
    if "val_score" in start:
        summary |= {f"start_{name}": round(start[name], 6) for name in ("val_score", "val_tar")}
        summary |= {name: round(best[name], 6) for name in ("val_auc", "val_score", "val_tar")}
    save_model(model, MODEL, result.best_epoch)
    write_history(result.history, MODEL / "history.csv")
    write_json(MODEL / "train.json", summary)


def _hard_negatives() -> list[tuple[str, str]]:
    """Return pairs of people who were taken for each other; none from an earlier split stage."""
    if not HARD_NEGATIVES.exists():
        return []
    return [(row["person"], row["other"]) for row in pq.read_table(HARD_NEGATIVES).to_pylist()]


def _faces_of(split: str, confused: Iterable[tuple[str, str]] = ()) -> FaceDataset:
    for path in (CROPS, FACES):
        if not path.exists():
            raise FaceOpsError(f"{path} does not exist; run `dvc repro` to build it.")
    table = pq.read_table(FACES, filters=[("split", "=", split)])
    return FaceDataset.of(
        np.load(CROPS, mmap_mode="r"),
        table["crop"].to_numpy(),
        table["person"].to_pylist(),
        table["negative_only"].to_numpy(),
        confused,
    )


COLUMNS = (
    *("epoch", "phase", "miner", "learning_rate", "loss", "active_triplets"),
    *("positive_distance", "negative_distance", "spread"),
    *("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"),
)
SEND_EVERY_S = 5.0
MAX_METRICS = 900  # per request; MLflow refuses more than 1,000
_PARENT = "mlflow.parentRunId"


def write_history(history: list[Row], path: Path) -> None:
    """Write `history` to `path`; numbers with six significant digits, NaN as empty."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return "" if math.isnan(value) else f"{value:.6g}"
        return value

    write_csv(path, COLUMNS, ([cell(row.get(name, "")) for name in COLUMNS] for row in history))


class MlflowLog(TrainingLog):
    """A run named "train", used as a context: it ends FAILED when the context ends in an error.

    Written through MLflow's client, whatever run is active in this process.
    """

    def __init__(
        self,
        experiment: str,
        params: dict[str, Any],
        data_sha256: str,
        parent: str | None,
        run_id_file: Path,
    ) -> None:
        """Open a run of `experiment` (its name), below the run `parent` if there is one.

        Args:
            run_id_file: keeps the run's id: a training that was interrupted continues in the run
                that it began, as long as the store still has it.
        """
        client = self._client = mlflow.MlflowClient()
        if parent:
            experiment_id = client.get_run(parent).info.experiment_id
        else:
            found = client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else mlflow.create_experiment(experiment)
        tags = {"data_sha256": data_sha256} | ({_PARENT: parent} if parent else {})
        self._unsent: list[Metric] = []
        self._sent_at = time.monotonic()
        run_id = self._interrupted_run(run_id_file, experiment_id)
        if run_id:  # its parameters stay: MLflow refuses another value, such as of a limit
            client.update_run(run_id, "RUNNING")
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
        else:
            run_id = client.create_run(experiment_id, tags=tags, run_name="train").info.run_id
            texts = [Param(f"train.{name}", _param_text(value)) for name, value in params.items()]
            client.log_batch(run_id, params=texts)
            run_id_file.parent.mkdir(parents=True, exist_ok=True)
            run_id_file.write_text(run_id, encoding="utf-8")
        self.run_id = str(run_id)
        steps = client.get_metric_history(run_id, "step/loss")
        self._last_step = max((point.step for point in steps), default=0)  # that the run has
        epochs = client.get_metric_history(run_id, "val_score")
        self._logged_epochs = {point.step for point in epochs}

    def _interrupted_run(self, run_id_file: Path, experiment_id: str) -> str | None:
        """Return the run of an earlier process, if it belongs to this experiment."""
        if not run_id_file.exists():
            return None
        try:
            info = self._client.get_run(run_id_file.read_text("utf-8")).info
        except mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # another store, or a purged one
                return None
            raise
        here = info.experiment_id == experiment_id and info.lifecycle_stage == "active"
        return str(info.run_id) if here else None

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Log the figures of a step as "step/<name>"; a request sends those of some seconds.

        Args:
            step: counted from 1 over all epochs; one that the run has is left out, so a loop
                that repeats steps after its checkpoint logs none of them twice.
            figures: those that are NaN are left out.
        """
        if step <= self._last_step:
            return
        self._last_step = step
        self._unsent += _metrics({f"step/{name}": x for name, x in figures.items()}, step)
        late = time.monotonic() - self._sent_at > SEND_EVERY_S
        if late or len(self._unsent) > MAX_METRICS - len(figures):
            self._send()

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Log the figures of an epoch (a row of the history); the speed if it is above 0."""
        figures = {name: value for name, value in row.items() if isinstance(value, float)}
        if images_per_second:
            figures["images_per_second"] = images_per_second
        self._send()
        if row["epoch"] not in self._logged_epochs:
            self._client.log_batch(self.run_id, metrics=_metrics(figures, row["epoch"]))

    def log_result(self, figures: dict[str, float]) -> None:
        """Log figures of the whole run."""
        self._client.log_batch(self.run_id, metrics=_metrics(figures, 0))

    def log_map(self, embeddings: np.ndarray, labels: np.ndarray) -> None:
        """Log the map of validation people (see `draw_similarity_map`), without their faces."""
        picture = draw_similarity_map(embeddings, np.char.add("person ", labels.astype(str)))
        if picture is not None:
            self._client.log_image(self.run_id, picture, "validation_people.png")

    def __enter__(self) -> "MlflowLog":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        try:
            self._send()
        except mlflow.MlflowException:
            if kind is None:  # else the error of the block is more informative
                raise
        self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._sent_at = time.monotonic()
        if unsent:
            self._client.log_batch(self.run_id, metrics=unsent)


def _metrics(figures: dict[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in figures.items()
        if not math.isnan(value)
    ]


def _param_text(value: Any) -> str:
    """Return a parameter in short form: {"semi_hard": 0.4} as `semi_hard: 0.4`."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    return str(value)


if __name__ == "__main__":
    run_stage(main)
