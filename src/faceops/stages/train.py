"""Stage train: from the aligned faces of the split to an embedder."""

import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, stage_output, write_json
from faceops.config.sections import Train
from faceops.embedding.backbones.build import WEIGHTS, check_train_params, save_model, start_model
from faceops.embedding.embedder import Embedder, choose_device
from faceops.embedding.training.figures import write_history
from faceops.embedding.training.inputs import FaceDataset, build_inputs
from faceops.embedding.training.processes import Processes, start_processes, started_by_torchrun
from faceops.embedding.training.state import delete_checkpoint, run_key
from faceops.embedding.training.training_loop import Trainer, TrainingResult
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
    # The others need no MLflow, whose import takes two CPU seconds.
    from faceops.registry.store import EXPERIMENT, store_errors, use_tracking
    from faceops.registry.training_run import MlflowLog

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
    with stage_output(CROPS):
        crops = np.load(CROPS, mmap_mode="r")
    with stage_output(FACES):
        table = pq.read_table(FACES, filters=[("split", "=", split)])
    return FaceDataset.of(
        crops,
        table["crop"].to_numpy(),
        table["person"].to_pylist(),
        table["negative_only"].to_numpy(),
        confused,
    )


if __name__ == "__main__":
    run_stage(main)
