"""A training run in MLflow: parameters, figures by step and epoch, pictures, the data's hash."""

import contextlib
import itertools
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import mlflow
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mlflow.entities import Metric, Param

from faceops.base.tables import write_csv
from faceops.embedding.similarity_map import draw_similarity_map

PANELS = {
    "loss": ("loss",),
    "validation": ("val_tar", "val_tar_far_1e-2", "val_score"),
    "signs of collapse": ("active_triplets", "spread"),
}
MOST_STEPS = 2000
_COLOURS = ("#1f5fa8", "#b3541e", "#0b6e4f")
_FAINT = "#8b93a0"


def draw_training_curves(
    history: list[dict[str, Any]], steps: Sequence[tuple[float, float]] = ()
) -> Figure:
    """Draw the epochs of `history`, with a line where a phase begins.

    Args:
        history: a row an epoch: epoch, phase, figures.
        steps: (epoch so far, loss) of single steps, drawn thin behind the epochs' means.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (title, names) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        axes.set_title(title, loc="left", fontsize=10)
        if title == "loss":
            every = -(-len(steps) // MOST_STEPS) or 1
            taken = steps[::every]
            axes.plot([x for x, _ in taken], [y for _, y in taken], color=_FAINT, linewidth=0.6)
        for name, colour in zip(names, _COLOURS, strict=False):
            points = [(row["epoch"], row[name]) for row in history if name in row]
            x, y = [x for x, _ in points], [y for _, y in points]
            axes.plot(x, y, marker=".", color=colour, label=name)
        _mark_phases(axes, history)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=9)
    losses = [row["loss"] for row in history if "loss" in row]
    if losses and min(losses) > 0:
        figure.axes[0].set_yscale("log")  # the loss of classes is 100 times that of triplets
    return figure


def _mark_phases(axes: Axes, history: list[dict[str, Any]]) -> None:
    for before, row in itertools.pairwise(history):
        if row.get("phase") != before.get("phase"):
            axes.axvline(before["epoch"], color=_FAINT, linewidth=0.8, linestyle=":")
            axes.annotate(
                row.get("phase", ""), (before["epoch"], 1), xycoords=("data", "axes fraction"),
                xytext=(3, -2), textcoords="offset points", va="top", fontsize=8, color=_FAINT,
            )  # fmt: skip


SEND_EVERY_S = 5.0
SEND_AT_MOST = 900  # metrics a request; MLflow refuses more than 1,000
_PARENT = "mlflow.parentRunId"
_OF_EVERY_EPOCH = "val_score"
_LAST_STEP = "last_step"


class MlflowLog:
    """A run named "train", used as a context: it ends FAILED when the context ends in an error.

    Written through MLflow's client: what run is active in this process does not matter.
    """

    def __init__(
        self,
        experiment: str,
        params: dict[str, Any],
        data_sha256: str,
        parent: str | None,
        remembered: Path,
    ) -> None:
        """Open a run of `experiment` (its name), under the run `parent` when there is one.

        Args:
            remembered: a file that keeps the run's id: a training that was cut short goes on in
                the run that it began, as long as the store still has it.
        """
        self._client = mlflow.MlflowClient()
        if parent:
            experiment_id = self._client.get_run(parent).info.experiment_id
        else:
            found = self._client.get_experiment_by_name(experiment)
            experiment_id = found.experiment_id if found else mlflow.create_experiment(experiment)
        tags = {"data_sha256": data_sha256} | ({_PARENT: parent} if parent else {})
        self._history: list[dict[str, Any]] = []
        self._losses: list[tuple[int, float]] = []
        self._epochs: set[int] = set()  # that the run already has
        self._ends: dict[int, int] = {}  # epoch -> its last step
        self._waiting: list[Metric] = []
        self._sent = time.monotonic()
        run_id = self._begun(remembered, experiment_id)
        if run_id:
            self.run_id = run_id
            self._go_on(tags)
            return
        run = self._client.create_run(experiment_id, tags=tags, run_name="train")
        self.run_id = run.info.run_id
        texts = [Param(f"train.{name}", param_text(value)) for name, value in params.items()]
        self._client.log_batch(self.run_id, params=texts)
        remembered.parent.mkdir(parents=True, exist_ok=True)
        remembered.write_text(self.run_id, encoding="utf-8")

    def _begun(self, remembered: Path, experiment_id: str) -> str | None:
        """Return the run of an earlier process, if it is one of this experiment's."""
        if not remembered.exists():
            return None
        try:
            info = self._client.get_run(remembered.read_text("utf-8")).info
        except mlflow.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":  # another store, or a purged one
                return None
            raise
        here = info.experiment_id == experiment_id and info.lifecycle_stage == "active"
        return str(info.run_id) if here else None

    def _go_on(self, tags: dict[str, str]) -> None:
        """Take up a run; its parameters stay: MLflow refuses another value, such as of a limit."""
        self._client.update_run(self.run_id, "RUNNING")
        for name, value in tags.items():
            self._client.set_tag(self.run_id, name, value)
        steps = self._client.get_metric_history(self.run_id, "step/loss")
        self._losses = sorted({point.step: point.value for point in steps}.items())
        epochs = self._client.get_metric_history(self.run_id, _OF_EVERY_EPOCH)
        self._epochs = {point.step for point in epochs}
        ends = self._client.get_metric_history(self.run_id, _LAST_STEP)
        self._ends = {point.step: int(point.value) for point in ends}

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Keep the figures of a step as "step/<name>"; a request sends those of some seconds.

        Args:
            step: counted from 1 over all epochs; one that the run has is left out, so a loop
                that repeats steps after its checkpoint logs none of them twice.
            figures: those that are NaN are left out.
        """
        if self._losses and step <= self._losses[-1][0]:
            return
        self._losses.append((step, figures.get("loss", math.nan)))
        self._waiting += _metrics({f"step/{name}": x for name, x in figures.items()}, step)
        late = time.monotonic() - self._sent > SEND_EVERY_S
        if late or len(self._waiting) > SEND_AT_MOST - len(figures):
            self._send()

    def log_epoch(self, row: dict[str, Any], images_per_second: float) -> None:
        """Log the figures of an epoch (a row of the history); the speed when it is over 0."""
        figures = {name: value for name, value in row.items() if isinstance(value, float)}
        if images_per_second:
            figures["images_per_second"] = images_per_second
        self._history.append(row)
        if self._losses and images_per_second:
            self._ends[row["epoch"]] = self._losses[-1][0]
            figures[_LAST_STEP] = float(self._losses[-1][0])
        self._send()
        if row["epoch"] not in self._epochs:
            self._client.log_batch(self.run_id, metrics=_metrics(figures, row["epoch"]))

    def log_result(self, figures: dict[str, float]) -> None:
        """Log figures of the whole run."""
        self._client.log_batch(self.run_id, metrics=_metrics(figures, 0))

    def log_map(self, embeddings: np.ndarray, labels: np.ndarray) -> None:
        """Log the map of validation people (see `draw_similarity_map`), without their faces."""
        persons = np.array([f"person {label}" for label in labels])
        picture = draw_similarity_map(embeddings, persons)
        if picture is not None:
            self._client.log_image(self.run_id, picture, "validation_people.png")

    def __enter__(self) -> "MlflowLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._send()
            steps = epochs_so_far([step for step, _ in self._losses], self._ends)
            losses = [loss for _, loss in self._losses]
            figure = draw_training_curves(self._history, list(zip(steps, losses, strict=True)))
            self._client.log_figure(self.run_id, figure, "training.png")
        else:
            with contextlib.suppress(mlflow.MlflowException):  # the error tells more
                self._send()
        self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._sent = time.monotonic()
        if waiting:
            self._client.log_batch(self.run_id, metrics=waiting)


def epochs_so_far(steps: list[int], ends: Mapping[int, int]) -> list[float]:
    """Return how many epochs had passed after each of `steps`; 1.5 is half of the second.

    Args:
        steps: counted from 1 over all epochs, rising.
        ends: epoch -> its last step; phases may have epochs of more or fewer steps. Steps after
            the last end are counted by the length of the epoch before, or as one epoch.
    """
    knots: list[tuple[int, float]] = [
        (0, 0),
        *((step, epoch) for epoch, step in sorted(ends.items())),
    ]
    last = steps[-1] if steps else 0
    if last > knots[-1][0]:
        length = knots[-1][0] - knots[-2][0] if len(knots) > 1 else last
        knots.append((last, knots[-1][1] + (last - knots[-1][0]) / length))
    at, epochs = zip(*knots, strict=True)
    passed: list[float] = np.interp(steps, at, epochs).tolist()
    return passed


def param_text(value: Any) -> str:
    """Return a parameter as people write it: {"semi_hard": 0.4} as `semi_hard: 0.4`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {part}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)


def _metrics(figures: dict[str, float], step: int) -> list[Metric]:
    now = int(time.time() * 1000)
    return [
        Metric(name, float(value), now, step)
        for name, value in figures.items()
        if not math.isnan(value)
    ]


COLUMNS = (
    *("epoch", "phase", "miner", "learning_rate", "loss", "active_triplets"),
    *("positive_distance", "negative_distance", "spread"),
    *("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"),
)


def write_history(history: list[dict[str, Any]], path: Path) -> None:
    """Write `history` to `path`; numbers with six significant digits."""
    write_csv(path, COLUMNS, ([_cell(row.get(name, "")) for name in COLUMNS] for row in history))


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
