"""The MLflow run of a training: its parameters, the figures of steps and epochs, its people."""

import math
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Metric, Param

from faceops.embedding.training.figures import Row, TrainingLog, draw_similarity_map

SEND_EVERY_S = 5.0
MAX_METRICS = 900  # per request; MLflow refuses more than 1,000
_PARENT = "mlflow.parentRunId"


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
