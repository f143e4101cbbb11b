"""Figures of batches and epochs: whether the embedding learns or collapses, and where they go.

They go into history.csv and into a run of MLflow: parameters, figures by step and epoch, a map.
"""

import math
import time
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.entities import Metric, Param
from torch import Tensor

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_csv
from faceops.embedding.losses import positive_pairs
from faceops.embedding.similarity_map import draw_similarity_map

Row = dict[str, Any]  # an epoch of the history: epoch, phase, miner, figures

MIN_SPREAD = 0.1  # an untrained or a trained embedding has .5 to 1
STUCK_RATIO = 0.98  # distance within people over distance between them; 1: no difference
STUCK_EPOCHS = 2
ADVICE = "lower train.learning_rate, or raise train.warmup_epochs"
MAX_PHOTOS = 4000  # 8 million pairs: beyond that the figures hardly change, the memory does


@torch.no_grad()
def batch_figures(
    embeddings: Tensor, distances: Tensor, labels: Tensor, margin: float
) -> dict[str, float]:
    """Return a batch's figures, NaN where the batch has no such pairs.

    active_triplets: share of all triplets (a, p, n) with d(a, n) < d(a, p) + margin.
    positive_distance, negative_distance: mean squared distances within and between people.
    spread: standard deviation over all dimensions, sqrt(1 - |mean|^2): 1 when embeddings point
        everywhere, 0 when they have collapsed to one point.
    """
    same, positive = positive_pairs(labels)
    anchors, positives = torch.nonzero(positive, as_tuple=True)
    near = distances[anchors, positives][:, None]
    valid = ~same[anchors]
    active = valid & (distances[anchors] < near + margin)
    mean = embeddings.mean(dim=0)
    return {
        "active_triplets": float(active[valid].float().mean()),
        "positive_distance": float(distances[positive].mean()),
        "negative_distance": float(distances[~same].mean()),
        "spread": float((1 - mean.pow(2).sum()).clamp_min(0).sqrt()),
    }


def epoch_means(batches: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the batches that have it, else NaN."""
    means = {}
    for name in batches[0]:
        values = [figures[name] for figures in batches if not math.isnan(figures[name])]
        means[name] = float(np.mean(values)) if values else math.nan
    return means


def check_gradient(norm: float, epoch: int, step: int) -> None:
    """Raise FaceOpsError unless the gradient's `norm` is finite; `step` counts from 0."""
    if not math.isfinite(norm):
        raise FaceOpsError(
            f"the gradient of step {step + 1} in epoch {epoch} is not finite ({norm}); {ADVICE},"
            " or set train.precision to float32."
        )


def check_collapse(history: list[dict[str, Any]]) -> None:
    """Raise when the last epoch of `history` shows that the network does not learn.

    Raises:
        FaceOpsError: all embeddings are equal (then every triplet costs the margin); or for two
            triplet epochs in a row two photos of one person were as far apart as two of different
            people, so the loss is stuck at the margin.
    """
    row = history[-1]
    if row["spread"] < MIN_SPREAD:
        raise FaceOpsError(
            f"in epoch {row['epoch']} the embeddings collapsed to one point (spread"
            f" {row['spread']:.3f}, under {MIN_SPREAD}); {ADVICE}."
        )
    last = history[-STUCK_EPOCHS:]
    if len(last) == STUCK_EPOCHS and all(_is_stuck(one) for one in last):
        raise FaceOpsError(
            f"since epoch {last[0]['epoch']} the loss is stuck at the margin ({row['loss']:.3f}):"
            " photos of one person are as far apart as photos of two"
            f" ({row['positive_distance']:.3f}, {row['negative_distance']:.3f}); {ADVICE}, or begin"
            " train.miners with semi_hard."
        )


def _is_stuck(row: dict[str, Any]) -> bool:
    ratio: float = STUCK_RATIO * row.get("negative_distance", math.nan)
    return bool(row["phase"] == "triplet" and row["positive_distance"] >= ratio)


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos, where each person counts the same.

    A genuine pair weighs one over the pairs of its person; an impostor pair one over the pairs of
    its two people. Else a few people with many photos would choose the epoch.

    Args:
        embeddings: float32 (N, D), L2-normalised; of more than 4,000, those of people
            drawn by a fixed seed until there are 4,000.
        labels: (N,), the person of each.

    Returns:
        val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and their mean val_score, by which
        epochs are compared. With few people TAR at 1e-3 depends on a few dozen impostor pairs;
        TAR at 1e-2 steadies it, and AUC still moves when both are 1. NaN without pairs of a kind.
    """
    if len(embeddings) > MAX_PHOTOS:
        chosen = _photos_of_drawn_people(labels)
        embeddings, labels = embeddings[chosen], labels[chosen]
    first, second = np.triu_indices(len(embeddings), 1)
    cosines = (embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    photos = counts[person]
    weight = 1 / photos
    genuine, impostor = cosines[same], cosines[~same]
    if not len(genuine) or not len(impostor):
        return dict.fromkeys(("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"), math.nan)
    genuine_weight = (weight / (photos - 1).clip(1))[first[same]]
    order = np.argsort(impostor)
    rising = impostor[order]
    mass = np.cumsum((weight[first[~same]] * weight[second[~same]])[order])
    mass = np.concatenate([[0], mass / mass[-1]])
    # The share of impostor pairs with a lower score than each genuine pair, and up to it.
    below, upto = (mass[np.searchsorted(rising, genuine, side)] for side in ("left", "right"))
    tars = [
        float(np.average(1 - below <= far + 1e-9, weights=genuine_weight)) for far in (1e-3, 1e-2)
    ]
    auc = float(np.average((below + upto) / 2, weights=genuine_weight))
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }


def _photos_of_drawn_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Photos drawn one by one would leave few genuine pairs.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])


class TrainingLog:
    """Where the figures of a run go; this one drops them."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Take the figures of a step, counted from 1 over the whole run."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Take a row of the history; those before a resumed epoch come again, with speed 0."""


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
