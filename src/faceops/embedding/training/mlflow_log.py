"""A training run in MLflow: parameters, figures by epoch, the curves, the data's hash."""

import math
import time
from types import TracebackType
from typing import Any

import mlflow
from matplotlib.figure import Figure
from mlflow.entities import Metric, Param

_PARENT = "mlflow.parentRunId"
_CURVES = (("loss",), ("val_tar", "val_tar_far_1e-2", "val_score"), ("active_triplets", "spread"))


class MlflowLog:
    """A run named "train", used as a context: it ends FAILED when the context ends in an error.

    Written through MLflow's client: what run is active in this process does not matter.
    """

    def __init__(
        self, experiment: str, params: dict[str, Any], data_sha256: str, parent: str | None
    ) -> None:
        """Open a run of `experiment` (its name), under the run `parent` when there is one."""
        self._client = mlflow.MlflowClient()
        if parent:
            experiment_id = self._client.get_run(parent).info.experiment_id
        else:
            found = self._client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else mlflow.create_experiment(experiment)
        tags = {"data_sha256": data_sha256} | ({_PARENT: parent} if parent else {})
        run = self._client.create_run(experiment_id, tags=tags, run_name="train")
        self.run_id: str = run.info.run_id
        self._history: list[dict[str, Any]] = []
        texts = [Param(f"train.{name}", str(value)) for name, value in params.items()]
        self._client.log_batch(self.run_id, params=texts)

    def log_epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Log the figures of an epoch (a row of the history); the speed when it is over 0."""
        figures = {
            name: value
            for name, value in row.items()
            if isinstance(value, float) and not math.isnan(value)
        }
        if images_per_second:
            figures["images_per_second"] = images_per_second
        self._history.append(row)
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id,
            metrics=[Metric(name, value, now, row["epoch"]) for name, value in figures.items()],
        )

    def log_result(self, figures: dict[str, float]) -> None:
        """Log figures of the whole run."""
        now = int(time.time() * 1000)
        self._client.log_batch(
            self.run_id, metrics=[Metric(name, value, now, 0) for name, value in figures.items()]
        )

    def __enter__(self) -> "MlflowLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._client.log_figure(self.run_id, training_curves(self._history), "training.png")
        self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")


def training_curves(history: list[dict[str, Any]]) -> Figure:
    """Draw loss, validation figures and the signs of collapse over the epochs of `history`."""
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    for axes, names in zip(figure.subplots(1, len(_CURVES)), _CURVES, strict=True):
        for name in names:
            points = [(row["epoch"], row[name]) for row in history if name in row]
            axes.plot([x for x, _ in points], [y for _, y in points], marker=".", label=name)
        axes.set_xlabel("epoch")
        axes.legend()
    return figure
