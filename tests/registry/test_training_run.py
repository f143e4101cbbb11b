"""The MLflow run of a training: what it holds, also after it was killed and resumed."""

import math
from typing import Any

import mlflow
import numpy as np
import pytest

from faceops.registry import training_run
from faceops.registry.training_run import MlflowLog

LOGGED: dict[str, Any] = {"miners": {"semi_hard": 0.4, "batch_hard": 1.0}, "seed": 7}


@pytest.mark.slow
def test_a_run_has_its_steps_epochs_pictures_and_parameters(tmp_path, mlflow_store, monkeypatch):
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
    killed = MlflowLog("steps", LOGGED, "abc", None, run_id_file)
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
    with MlflowLog("steps", LOGGED | {"seed": 8}, "abc", None, run_id_file) as log:
        assert log.run_id == killed.run_id
        assert mlflow.MlflowClient().get_run(log.run_id).info.status == "RUNNING"
        for row in epochs:
            log.log_epoch(row, 0)
        for step in range(41, 61):  # resumed from a checkpoint ten steps back
            log.log_step(step, {"loss": 1 / step})
        assert requests == []
        monkeypatch.setattr(training_run, "SEND_EVERY_S", 0)
        log.log_step(61, {"loss": 1 / 61})
        assert requests == [11]
        log.log_step(62, {"loss": 1 / 62})
        log.log_map(np.eye(12, dtype=np.float32), np.arange(12) // 2)
    (tmp_path / "elsewhere").write_text("0" * 32)  # the run of another store
    other = MlflowLog("steps", {}, "abc", None, tmp_path / "elsewhere")
    with pytest.raises(KeyboardInterrupt), other as cut:
        monkeypatch.setattr(training_run, "SEND_EVERY_S", 60)
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
    assert [file.path for file in client.list_artifacts(log.run_id)] == ["validation_people.png"]
    assert client.get_run(cut.run_id).info.status == "FAILED"
    assert client.get_run(cut.run_id).data.metrics == {"step/loss": 3.0}
    assert client.list_artifacts(cut.run_id) == []
