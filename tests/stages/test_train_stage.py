"""The train stage on a tiny set: its files, twice the same, logged to MLflow."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

OUTPUTS = ("model.safetensors", "model.json", "history.csv", "train.json")
PARAMS = """
train:
  backbone: resnet18
  embedding_size: 8
  people_per_batch: 3
  photos_per_person: 2
  warmup_epochs: 1
  triplet_epochs: 1
  device: cpu
"""


def lay_out(root: Path) -> None:
    """Write a parameter file, and crops and a split of 4 + 3 people with 2 photos each."""
    (root / "params.yaml").write_text(PARAMS)
    (root / "build/crop").mkdir(parents=True)
    (root / "build/split").mkdir(parents=True)
    draw = np.random.default_rng(0)
    np.save(root / "build/crop/crops.npy", draw.integers(0, 256, (14, 112, 112, 3), np.uint8))
    persons = [f"Person_{number // 2}" for number in range(14)]
    faces = {
        "crop": pa.array(range(14), pa.int32()),
        "photo_id": [f"{number:064x}" for number in range(14)],
        "path": [f"photos/{person}/{number}.jpg" for number, person in enumerate(persons)],
        "person": persons,
        "split": ["train"] * 8 + ["val"] * 6,
        "negative_only": [False] * 14,
    }
    pq.write_table(pa.table(faces), root / "build/split/faces.parquet")


def run_stage(root: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{root}/mlflow.db",
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("MLFLOW_RUN_ID", None)
    return subprocess.run(
        [sys.executable, "-m", "faceops.stages.train"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_stage_writes_the_same_files_again_and_logs_its_runs(tmp_path: Path) -> None:
    lay_out(tmp_path)
    results = []
    for _ in range(2):
        done = run_stage(tmp_path)
        assert done.returncode == 0, done.stderr
        results.append([(tmp_path / "build/train" / name).read_bytes() for name in OUTPUTS])
    assert results[0] == results[1]
    assert not (tmp_path / "build/checkpoints").exists() or not any(
        (tmp_path / "build/checkpoints").iterdir()
    )
    summary = json.loads((tmp_path / "build/train/train.json").read_text())
    assert summary["people"] == 4
    assert summary["stopped"] == "finished"
    with (tmp_path / "build/train/history.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["start", "warmup", "triplet"]

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("faceops")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert [run.info.status for run in runs] == ["FINISHED"] * 2
    assert runs[0].data.params["train.embedding_size"] == "8"
    assert len(client.get_metric_history(runs[0].info.run_id, "val_tar")) == 3
    assert [file.path for file in client.list_artifacts(runs[0].info.run_id)] == ["training.png"]


@pytest.mark.slow
def test_missing_crops_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(PARAMS)
    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "error: build/crop/crops.npy does not exist; run `dvc repro` to build it."
    )
