"""Figures of batches and epochs; a run that learns nothing ends with advice; what MLflow gets."""

import math
from itertools import combinations
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceops.base.errors import FaceOpsError
from faceops.embedding.losses import squared_distances
from faceops.embedding.training import figures as module
from faceops.embedding.training.figures import (
    MlflowLog,
    batch_figures,
    check_collapse,
    epoch_means,
    validation_figures,
)


def row(epoch: int, **changes: Any) -> dict[str, Any]:
    figures = {"loss": 0.3, "spread": 0.9, "positive_distance": 1.0, "negative_distance": 1.9}
    return {"epoch": epoch, "phase": "triplet"} | figures | changes


STUCK = {"loss": 0.8, "positive_distance": 1.79, "negative_distance": 1.8}


def test_figures_of_a_batch_are_those_of_the_loop() -> None:
    embeddings = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    labels, margin = [0, 0, 1, 1, 1, 2], 0.4
    far = squared_distances(embeddings)
    figures = batch_figures(embeddings, far, torch.tensor(labels), margin)
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j and labels[i] == labels[j]]
    others = [(i, j) for i in range(6) for j in range(6) if labels[i] != labels[j]]
    active = [far[a, n] < far[a, p] + margin for a, p in pairs for b, n in others if a == b]
    assert figures["active_triplets"] == pytest.approx(sum(map(bool, active)) / len(active))
    for name, of in (("positive_distance", pairs), ("negative_distance", others)):
        assert figures[name] == pytest.approx(sum(float(far[i, j]) for i, j in of) / len(of))
    assert figures["spread"] == pytest.approx(float(embeddings.var(0, correction=0).sum()) ** 0.5)
    alone = batch_figures(embeddings, far, torch.arange(6), margin)
    assert math.isnan(alone["active_triplets"])
    means = epoch_means([figures, alone, alone])
    assert means["active_triplets"] == figures["active_triplets"]
    assert math.isnan(epoch_means([alone])["positive_distance"])


def test_only_a_loss_stuck_at_the_margin_for_two_epochs_is_an_error() -> None:
    check_collapse([row(1), row(2)])
    check_collapse([{"epoch": 0, "phase": "start"}, row(1, **STUCK)])
    check_collapse([row(1, **STUCK), row(2), row(3, **STUCK)])
    check_collapse([row(1, phase="warmup", **STUCK), row(2, phase="warmup", **STUCK)])
    message = r"since epoch 4 the loss is stuck at the margin .* raise train.warmup_epochs"
    with pytest.raises(FaceOpsError, match=message):
        check_collapse([row(3), row(4, **STUCK), row(5, **STUCK)])


def test_figures_of_a_perfect_and_of_a_blind_embedding() -> None:
    labels = np.repeat(np.arange(10), 3)
    perfect = np.eye(10, dtype=np.float32)[labels]
    figures = validation_figures(perfect, labels)
    assert figures["val_tar"] == figures["val_auc"] == figures["val_score"] == 1
    blind = validation_figures(np.tile(np.array([1, 0], np.float32), (30, 1)), labels)
    assert blind["val_tar"] == 0
    assert blind["val_auc"] == pytest.approx(0.5)
    for people in (np.zeros(30), np.arange(30)):  # no impostor pair, no genuine pair
        assert np.isnan(validation_figures(perfect, people)["val_score"])


def test_each_person_counts_the_same_however_many_photos_they_have() -> None:
    labels = np.repeat(np.arange(6), [2, 2, 3, 3, 4, 30])
    embeddings = np.random.default_rng(0).normal(0, 0.4, (44, 6)) + np.eye(6)[labels]
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    cosines = embeddings @ embeddings.T
    people = [np.flatnonzero(labels == person) for person in range(6)]
    genuine = [cosines[np.ix_(own, own)][np.triu_indices(len(own), 1)] for own in people]
    impostor = [cosines[np.ix_(one, other)] for one, other in combinations(people, 2)]
    auc = np.mean([[(own[:, None] > pair.ravel()).mean() for pair in impostor] for own in genuine])
    figures = validation_figures(embeddings.astype(np.float32), labels)
    assert figures["val_auc"] == pytest.approx(float(auc), abs=1e-6)
    steps = np.unique(np.concatenate([pair.ravel() for pair in impostor]))
    passed = [np.mean([(pair >= step).mean() for pair in impostor]) for step in steps]
    above = steps[np.array(passed) > 0.01].max()  # a genuine score has to be above it
    tar = np.mean([(own > above).mean() for own in genuine])
    assert figures["val_tar_far_1e-2"] == pytest.approx(float(tar), abs=1e-6)


PARAMS: dict[str, Any] = {"miners": {"semi_hard": 0.4, "batch_hard": 1.0}, "seed": 7}


@pytest.mark.slow
def test_a_run_has_its_steps_epochs_pictures_and_parameters(
    tmp_path: Path, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[int] = []
    log_batch = mlflow.MlflowClient.log_batch

    def counted(client: mlflow.MlflowClient, run_id: str, **content: Any) -> None:
        requests.append(len(content.get("metrics", ())))
        log_batch(client, run_id, **content)

    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(mlflow_store)  # an earlier test may have named another
    monkeypatch.setattr(mlflow.MlflowClient, "log_batch", counted)
    run_id_file = tmp_path / "checkpoints/run_id"
    epochs = [
        {"epoch": 0, "phase": "start", "val_score": 0.1},
        {"epoch": 1, "phase": "warmup", "loss": 0.5, "val_score": 0.2},
    ]
    killed = MlflowLog("steps", PARAMS, "abc", None, run_id_file)
    with pytest.raises(KeyboardInterrupt), killed as log:
        log.log_epoch(epochs[0], 0)
        requests.clear()
        for step in range(1, 51):
            log.log_step(step, {"loss": 1 / step, "learning_rate": 0.1, "spread": math.nan})
        assert requests == []
        log.log_epoch(epochs[1], 12.0)
        assert requests == [100, 3]
        raise KeyboardInterrupt
    assert mlflow.MlflowClient().get_run(log.run_id).info.status == "FAILED"
    requests.clear()
    with MlflowLog("steps", PARAMS | {"seed": 8}, "abc", None, run_id_file) as log:
        assert log.run_id == killed.run_id
        assert mlflow.MlflowClient().get_run(log.run_id).info.status == "RUNNING"
        for row in epochs:
            log.log_epoch(row, 0)
        for step in range(41, 61):  # resumed from a checkpoint ten steps back
            log.log_step(step, {"loss": 1 / step})
        assert requests == []
        monkeypatch.setattr(module, "SEND_EVERY_S", 0)
        log.log_step(61, {"loss": 1 / 61})
        assert requests == [11]
        log.log_step(62, {"loss": 1 / 62})
        log.log_map(np.eye(12, dtype=np.float32), np.arange(12) // 2)
    (tmp_path / "elsewhere").write_text("0" * 32)  # the run of another store
    other = MlflowLog("steps", {}, "abc", None, tmp_path / "elsewhere")
    with pytest.raises(KeyboardInterrupt), other as cut:
        monkeypatch.setattr(module, "SEND_EVERY_S", 60)
        cut.log_step(1, {"loss": 3.0})
        cut.log_map(np.eye(2, dtype=np.float32), np.arange(2))
        raise KeyboardInterrupt

    client = mlflow.MlflowClient()
    run = client.get_run(log.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["train.miners"] == "semi_hard: 0.4, batch_hard: 1.0"
    assert run.data.params["train.seed"] == "7"
    assert run.data.tags["data_sha256"] == "abc"
    losses = client.get_metric_history(log.run_id, "step/loss")
    assert {point.step: point.value for point in losses} == {s: 1 / s for s in range(1, 63)}
    assert len(losses) == 62
    assert "step/spread" not in run.data.metrics
    assert [point.step for point in client.get_metric_history(log.run_id, "val_score")] == [0, 1]
    files = [file.path for file in client.list_artifacts(log.run_id)]
    assert files == ["validation_people.png"]
    assert client.get_run(cut.run_id).info.status == "FAILED"
    assert client.get_run(cut.run_id).data.metrics == {"step/loss": 3.0}
    assert client.list_artifacts(cut.run_id) == []
