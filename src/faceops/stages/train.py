"""Stage train: from the aligned faces of the split to an embedder."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file, write_json
from faceops.config.params_file import read_params
from faceops.config.sections import Train
from faceops.embedding.check_params import check_train_params
from faceops.embedding.embedder import choose_device
from faceops.embedding.model_file import save_model
from faceops.embedding.training.checkpoint import Outcome, delete_checkpoint, run_key
from faceops.embedding.training.inputs import build_inputs
from faceops.embedding.training.processes import Processes, start_processes, started_by_torchrun
from faceops.embedding.training.run_log import MlflowLog, write_history
from faceops.embedding.training.samplers import LabelledCrops
from faceops.embedding.training.training_loop import start_model, train_embedder
from faceops.registry.store import EXPERIMENT, store_errors, use_tracking
from faceops.stages import run_stage
from faceops.weights.fetch import weight_path

PARAMS = Path("params.yaml")
CROPS = Path("build/crop/crops.npy")
FACES = Path("build/split/faces.parquet")
OUT = Path("build/train")
CHECKPOINTS = Path("build/checkpoints")
MLFLOW_RUN = "mlflow_run_id"  # beside a run's checkpoint


def main() -> None:
    """Read build/crop and build/split; write build/train; log to MLflow."""
    settings = read_params(PARAMS).train
    check_train_params(settings, PARAMS)
    if settings.processes > 1 and not started_by_torchrun():
        start_processes(settings.processes, "faceops.stages.train")
        return
    device = choose_device(settings.device)
    processes = Processes.join(device)
    train, val = _faces_of("train"), _faces_of("val")
    sface = weight_path("sface") if settings.backbone == "pretrained" else None
    data = [sha256_file(FACES), sha256_file(CROPS)]
    key = run_key(settings, *data, sha256_file(sface) if sface else "")
    model = start_model(settings, sface)
    if processes.rank == 0:
        print(
            f"train: {settings.backbone} on {device.type}, {train.people} people,"
            f" {len(train.rows)} photos",
            file=sys.stderr,
        )

    begun = time.monotonic()
    with processes.first_alone():  # features are computed once and kept
        inputs = build_inputs(model, train, val, settings, CHECKPOINTS, device)
    features_seconds = time.monotonic() - begun

    checkpoints = CHECKPOINTS / key
    if processes.rank > 0:
        train_embedder(model, inputs, train, val, settings, checkpoints, device, processes)
        processes.leave()
        return
    use_tracking(Path.cwd())  # by one process: two at once would both lay out a new store
    parent = os.environ.get("MLFLOW_RUN_ID") or None
    remembered = checkpoints / MLFLOW_RUN
    with (
        store_errors("recording the training"),
        MlflowLog(EXPERIMENT, settings.model_dump(), data[0], parent, remembered) as log,
    ):
        outcome = train_embedder(
            model, inputs, train, val, settings, checkpoints, device, processes, log
        )
        processes.leave()
        log.log_result(
            {
                "best_epoch": outcome.best_epoch,
                "seconds": time.monotonic() - begun,
                "features_seconds": features_seconds,
            }
        )
        log.log_map(inputs.embed_plain(model, True), val.labels)
    save_model(model, OUT, outcome.best_epoch)
    write_history(outcome.history, OUT / "history.csv")
    write_json(OUT / "train.json", summary(outcome, train, val, settings))
    if outcome.stopped != "max_minutes":  # then a longer limit continues from the checkpoint
        remembered.unlink(missing_ok=True)
        delete_checkpoint(checkpoints)
    if outcome.last["epoch"] == 0:
        print("train: max_minutes was over before an epoch was: the start is kept", file=sys.stderr)
    elif outcome.best_epoch == 0:
        print(
            "train: no epoch was better than the start on the validation people,"
            " so the start is kept",
            file=sys.stderr,
        )


def summary(
    outcome: Outcome, train: LabelledCrops, val: LabelledCrops, settings: Train
) -> dict[str, Any]:
    """Return the content of train.json: no times, so that equal runs give equal bytes."""
    best, start = outcome.best, outcome.history[0]
    return {
        "backbone": settings.backbone,
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.history[-1]["epoch"],
        "kept_start": outcome.best_epoch == 0,
        "people": train.people,
        "photos": len(train.rows),
        "start_val_score": round(start["val_score"], 6),
        "start_val_tar": round(start["val_tar"], 6),
        "stopped": outcome.stopped,
        "val_auc": round(best["val_auc"], 6),
        "val_people": val.people,
        "val_score": round(best["val_score"], 6),
        "val_tar": round(best["val_tar"], 6),
    }


def _faces_of(split: str) -> LabelledCrops:
    for path in (CROPS, FACES):
        if not path.exists():
            raise FaceOpsError(f"{path} does not exist; run `dvc repro` to build it.")
    table = pq.read_table(FACES, filters=[("split", "=", split)])
    return LabelledCrops.of(
        np.load(CROPS, mmap_mode="r"),
        table["crop"].to_numpy(),
        table["person"].to_pylist(),
        table["negative_only"].to_numpy(),
    )


if __name__ == "__main__":
    run_stage(main)
