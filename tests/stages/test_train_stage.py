"""The train stage on a tiny set: its files, twice the same, logged to MLflow."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from faceops.base.errors import FaceOpsError
from faceops.config.params_file import read_params
from faceops.embedding.backbones.build import load_model, start_model, weights_sha256
from faceops.embedding.embedder import Embedder
from faceops.evaluation.plots import read_history
from faceops.registry.training_run import MlflowLog
from faceops.stages.train import main

OUTPUTS = ("model.safetensors", "model.json", "history.csv", "train.json")
PARAMS = """
train:
  backbone: mobilefacenet
  embedding_size: 8
  input_size: 32
  colour: grey
  people_per_batch: 3
  photos_per_person: 2
  warmup_epochs: 1
  triplet_epochs: 1
  device: cpu
"""


def lay_out(root: Path) -> None:
    """Write crops and a split of 4 + 5 people with 2 photos each."""
    (root / "build/crop").mkdir(parents=True)
    (root / "build/split").mkdir(parents=True)
    draw = np.random.default_rng(0)
    np.save(root / "build/crop/crops.npy", draw.integers(0, 256, (18, 112, 112, 3), np.uint8))
    persons = [f"Person_{number // 2}" for number in range(18)]
    faces = {
        "crop": pa.array(range(18), pa.int32()),
        "photo_id": [f"{number:064x}" for number in range(18)],
        "path": [f"photos/{person}/{number}.jpg" for number, person in enumerate(persons)],
        "person": persons,
        "split": ["train"] * 8 + ["val"] * 10,
        "negative_only": [False] * 18,
    }
    pq.write_table(pa.table(faces), root / "build/split/faces.parquet")


@pytest.fixture
def root(tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new repository, the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


@pytest.mark.slow
def test_the_stage_writes_the_same_files_again_and_logs_its_runs(root, monkeypatch):
    lay_out(root)
    main()
    first = [(root / "build/train" / name).read_bytes() for name in OUTPUTS]
    assert not (root / "build/checkpoints").exists() or not any(
        (root / "build/checkpoints").iterdir()
    )
    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("faceops")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id])
    monkeypatch.setenv("MLFLOW_RUN_ID", parent.info.run_id)
    main()
    assert [(root / "build/train" / name).read_bytes() for name in OUTPUTS] == first

    summary = json.loads((root / "build/train/train.json").read_text())
    assert summary["people"] == 4
    assert summary["stopped"] == "finished"
    with (root / "build/train/history.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["start", "warmup", "triplet"]

    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    (nested,) = (run for run in runs if run.info.run_id != parent.info.run_id)
    assert nested.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert nested.data.params["train.embedding_size"] == "8"
    assert len(client.get_metric_history(nested.info.run_id, "val_tar")) == 3
    assert len(client.get_metric_history(nested.info.run_id, "step/loss")) == 4
    assert [file.path for file in client.list_artifacts(nested.info.run_id)] == [
        "validation_people.png"
    ]


@pytest.mark.slow
def test_the_stage_starts_the_processes_that_it_is_set_to(root):
    lay_out(root)
    (root / "params.yaml").write_text(PARAMS + "  processes: 2\n")
    main()
    assert json.loads((root / "build/train/train.json").read_text())["stopped"] == "finished"
    with (root / "build/train/history.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["start", "warmup", "triplet"]


@pytest.mark.slow
def test_a_longer_time_limit_continues_the_run(root, monkeypatch):
    def stopped() -> tuple[str, int]:
        main()
        summary = json.loads((root / "build/train/train.json").read_text())
        return summary["stopped"], summary["epochs"]

    log_epoch = MlflowLog.log_epoch

    def kill(log: MlflowLog, row: dict[str, Any], images_per_second: float) -> None:
        log_epoch(log, row, images_per_second)
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    lay_out(root)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowLog, "log_epoch", kill)
        with pytest.raises(KeyboardInterrupt):
            main()
    (root / "params.yaml").write_text(PARAMS + "  max_minutes: 0.00001\n")
    assert stopped() == ("max_minutes", 1)
    assert stopped() == ("max_minutes", 1)  # its checkpoint is kept
    (root / "params.yaml").write_text(PARAMS)
    assert stopped() == ("finished", 2)
    assert not list((root / "build/checkpoints").glob("*/*"))

    client = mlflow.MlflowClient(f"sqlite:///{root}/mlflow.db")
    (only,) = client.search_runs([client.get_experiment_by_name("faceops").experiment_id])
    assert only.info.status == "FINISHED"
    for name, steps in (("val_tar", [0, 1, 2]), ("step/loss", [1, 2, 3, 4])):
        history = client.get_metric_history(only.info.run_id, name)
        assert [point.step for point in history] == steps


def test_without_epochs_the_start_is_written_without_embedding_a_face(root, monkeypatch):
    def refuse(*args: object) -> None:
        raise AssertionError("a face was embedded")

    lay_out(root)
    monkeypatch.setattr(Embedder, "forward", refuse)
    monkeypatch.setattr(Embedder, "embed_features", refuse)
    text = PARAMS.replace("warmup_epochs: 1", "warmup_epochs: 0")
    (root / "params.yaml").write_text(text.replace("triplet_epochs: 1", "triplet_epochs: 0"))
    main()
    summary = json.loads((root / "build/train/train.json").read_text())
    assert (summary["epochs"], summary["kept_start"], summary["stopped"]) == (0, True, "finished")
    assert not any("val_score" in name or "val_tar" in name for name in summary)
    (row,) = read_history(root / "build/train/history.csv")
    assert (row["phase"], row["val_tar"]) == ("start", "")
    settings = read_params(root / "params.yaml").train
    start, stored = start_model(settings, None), load_model(root / "build/train")
    assert weights_sha256(stored) == weights_sha256(start)


def test_training_starts_from_a_trained_model_of_the_same_architecture(root):
    lay_out(root)
    (root / "params.yaml").write_text(PARAMS)
    main()
    shutil.copytree(root / "build/train", root / "earlier")
    again = PARAMS.replace("_epochs: 1", "_epochs: 0") + "  start: earlier\n"
    (root / "params.yaml").write_text(again)
    main()
    start, stored = load_model(root / "earlier"), load_model(root / "build/train")
    assert weights_sha256(stored) == weights_sha256(start)
    (root / "params.yaml").write_text(again.replace("embedding_size: 8", "embedding_size: 16"))
    with pytest.raises(FaceOpsError, match=r"start = earlier has embedding_size 8, not 16"):
        main()
