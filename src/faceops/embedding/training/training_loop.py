"""Train an embedder: CosFace classification first, mined triplets second, the best epoch kept."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.heads.cosface import CosFace
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.mining.batch_hard_miner import mine_batch_hard
from faceops.embedding.mining.semi_hard_miner import mine_semi_hard
from faceops.embedding.mining.squared_distances import squared_distances
from faceops.embedding.mining.triplet_loss import triplet_loss
from faceops.embedding.training.batch_watch import watch_batch
from faceops.embedding.training.checkpoint import (
    load_checkpoint,
    optimiser_tensors,
    prefixed,
    restore_optimiser,
    save_checkpoint,
    without_prefix,
)
from faceops.embedding.training.people_photos_sampler import PeoplePhotosSampler
from faceops.embedding.training.rate_schedule import rate_at
from faceops.embedding.training.read_ahead import read_ahead
from faceops.embedding.training.training_inputs import TrainingInputs
from faceops.embedding.training.validation_tar import validation_figures
from faceops.errors import FaceOpsError
from faceops.progress import track

COLLAPSED = 0.1  # spread of a batch; an untrained or trained embedding has .5 to 1
LARGEST_GRADIENT = 5.0  # norm over all weights, clipped to it

Row = dict[str, Any]  # a line of the history: epoch, phase, figures


@dataclass
class Outcome:
    """What training gave; all of it is the same when the run is repeated on one CPU.

    history: a row an epoch, epoch 0 being the start.
    best_epoch: the epoch whose weights the model now has.
    stopped: "finished", "patience" or "max_minutes".
    """

    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    stopped: str = "finished"

    @property
    def best(self) -> Row:
        """The row of the best epoch; an impatient warm-up leaves out epochs, so not its index."""
        return next(row for row in self.history if row["epoch"] == self.best_epoch)


def train_embedder(
    model: Embedder,
    inputs: TrainingInputs,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    checkpoints: Path,
    device: torch.device,
    on_epoch: Callable[[Row, float], None] = lambda row, images_per_second: None,
) -> Outcome:
    """Train `model` in place and leave it with the weights of its best epoch.

    Epochs are compared by `val_score` (see `validation_figures`); the untouched start is a
    candidate, and any gain makes a new best. Patience counts the epochs of a phase since
    `val_score` rose by more than `tolerance`; a warm-up that exhausts it gives way to the triplet
    phase, a triplet phase ends the run. A run that was killed continues after the last epoch in
    `checkpoints` and ends with the same weights; the caller deletes them when it has stored the
    result.

    Args:
        model: the start.
        inputs: pixels (trains all layers) or cached features (trains the head).
        train, val: faces of different people.
        settings: as in params.yaml.
        checkpoints: a folder of this run's own.
        device: where `inputs` puts its tensors.
        on_epoch: called after each epoch, and again for those before a resumed one (then with
            0 images per second).

    Raises:
        FaceOpsError: too few people, or the embedding collapsed.
    """
    _check_people(train, val)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)  # else gradients of indexing add in any order
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    model.to(device).to(memory_format=torch.channels_last)
    trained = inputs.trained(model)
    epochs = settings.warmup_epochs + settings.triplet_epochs
    sampler = PeoplePhotosSampler(
        train.labels, train.negative_only, settings.people_per_batch, settings.photos_per_person
    )
    triplet_sampler = PeoplePhotosSampler(
        train.labels,
        train.negative_only,
        settings.people_per_batch,
        settings.photos_per_person,
        settings.negatives_per_batch,
    )
    steps = epochs * sampler.batches()

    torch.manual_seed(settings.seed)
    classifier = CosFace(
        model.embedding_size, train.people, settings.cosface_scale, settings.cosface_margin
    ).to(device)
    optimiser = _optimiser(trained, classifier, settings)

    begun = time.monotonic()
    saved = load_checkpoint(checkpoints)
    if saved is None:
        model.eval()
        if model.backbone == "pretrained":
            classifier.start_at(_class_centres(inputs.embed_plain(model, False), train).to(device))
        outcome = Outcome()
        idle = 0
        best = _copy(trained)
        figures = validation_figures(inputs.embed_plain(model, True), val.labels)
        outcome.history.append({"epoch": 0, "phase": "start", **figures})
        to_beat = figures["val_score"]
    else:
        tensors, state = saved
        trained.load_state_dict(without_prefix("trained", tensors))
        classifier.load_state_dict(without_prefix("classifier", tensors))
        restore_optimiser(optimiser, without_prefix("optimiser", tensors))
        best = without_prefix("best", tensors)
        outcome = Outcome(state["history"], state["best_epoch"])
        idle, to_beat = state["idle"], state["to_beat"]
        begun -= state["seconds"]
        _say(f"training continues after epoch {outcome.history[-1]['epoch']}")
    for earlier in outcome.history:
        on_epoch(earlier, 0.0)

    while (last := outcome.history[-1])["epoch"] < epochs:
        epoch = last["epoch"] + 1
        if idle >= settings.patience:
            if last["phase"] == "triplet" or settings.triplet_epochs == 0:
                outcome.stopped = "patience"
                break
            epoch = settings.warmup_epochs + 1
        if _late(begun, settings):
            outcome.stopped = "max_minutes"
            break
        warmup = epoch <= settings.warmup_epochs
        if epoch == settings.warmup_epochs + 1:
            idle = 0  # triplets get their own patience

        # All randomness of an epoch comes from (seed, epoch): resuming needs no generator state.
        draw = np.random.default_rng([settings.seed, epoch])
        torch.manual_seed(int(draw.integers(2**62)))
        _training_mode(model, trained)
        figures_of_batches: list[dict[str, float]] = []
        images, epoch_begun = 0, time.monotonic()
        batches = (sampler if warmup else triplet_sampler).epoch(draw)
        first_step = (epoch - 1) * sampler.batches()
        rate = rate_at(first_step, steps, settings.learning_rate)
        what = f"epoch {epoch}/{epochs}"
        loads = track(read_ahead(batches, inputs.load), what, sampler.batches())
        for number, (positions, loaded) in enumerate(loads):
            rate = rate_at(first_step + number, steps, settings.learning_rate)
            step_seed = int(
                np.random.SeedSequence([settings.seed, first_step + number]).generate_state(1)[0]
            )
            for group in optimiser.param_groups:
                group["lr"] = rate
            labels = torch.from_numpy(train.labels[positions]).to(device)  # (B,)
            with torch.autocast(
                device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
            ):
                embeddings = inputs.embed(model, loaded, step_seed)  # (B, D)
            distances = squared_distances(embeddings)  # (B, B)
            if warmup:
                loss = classifier(embeddings, labels)
            else:
                far = distances.detach()
                if settings.miner == "batch_hard":
                    triplets = mine_batch_hard(far, labels)
                else:
                    triplets = mine_semi_hard(far, labels, settings.triplet_margin)
                loss = triplet_loss(distances, triplets, settings.triplet_margin)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained.parameters(), LARGEST_GRADIENT)
            optimiser.step()

            with torch.no_grad():
                watched = watch_batch(embeddings, distances, labels, settings.triplet_margin)
            figures_of_batches.append({"loss": float(loss.detach()), **watched})
            images += len(positions)
            if _late(begun, settings):
                break
        images_per_second = images / (time.monotonic() - epoch_begun)

        model.eval()
        row: Row = {"epoch": epoch, "phase": "warmup" if warmup else "triplet"}
        row |= {"learning_rate": rate} | _means(figures_of_batches)
        _check_alive(row)
        row |= validation_figures(inputs.embed_plain(model, True), val.labels)
        if row["val_score"] > outcome.best["val_score"]:
            outcome.best_epoch, best = epoch, _copy(trained)
        outcome.history.append(row)
        idle += 1
        if row["val_score"] > to_beat + settings.tolerance:
            idle, to_beat = 0, row["val_score"]
        save_checkpoint(
            checkpoints,
            {
                **prefixed("trained", trained.state_dict()),
                **prefixed("best", best),
                **prefixed("classifier", classifier.state_dict()),
                **prefixed("optimiser", optimiser_tensors(optimiser)),
            },
            {
                "history": outcome.history,
                "best_epoch": outcome.best_epoch,
                "idle": idle,
                "to_beat": to_beat,
                "seconds": time.monotonic() - begun,
            },
        )
        _say(
            f"{what} ({row['phase']}): loss {row['loss']:.3f}, validation TAR {row['val_tar']:.4f}"
            f" (score {row['val_score']:.4f}, best epoch {outcome.best_epoch}),"
            f" spread {row['spread']:.2f}, {images_per_second:.0f} images/s"
        )
        on_epoch(row, images_per_second)

    trained.load_state_dict(best)
    model.eval()
    return outcome


def _check_people(train: LabelledCrops, val: LabelledCrops) -> None:
    for name, faces in (("train", train), ("val", val)):
        if faces.people < 2:
            raise FaceOpsError(
                f"the split {name} has {faces.people} people with two or more photos, and at least"
                " 2 are needed; add photos, or change the shares in the section split."
            )


def _check_alive(row: Row) -> None:
    advice = "lower train.learning_rate, or raise train.warmup_epochs"
    if not math.isfinite(row["loss"]):
        raise FaceOpsError(f"the loss of epoch {row['epoch']} is {row['loss']}; {advice}.")
    if row["spread"] < COLLAPSED:
        raise FaceOpsError(
            f"in epoch {row['epoch']} the embeddings collapsed to one point (spread"
            f" {row['spread']:.3f}, under {COLLAPSED}); {advice}."
        )


def _optimiser(trained: torch.nn.Module, classifier: CosFace, settings: Train) -> torch.optim.AdamW:
    weights = [*trained.parameters(), *classifier.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": settings.weight_decay},
        # Biases, normalisation and slopes: pulling them to zero only does harm.
        {"params": [w for w in weights if w.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def _training_mode(model: Embedder, trained: torch.nn.Module) -> None:
    """Put `trained` into training mode; a pretrained one keeps its running statistics.

    Those were measured on millions of faces; a batch of few people would replace them by worse.
    """
    model.eval()
    trained.train()
    if model.backbone == "pretrained":
        for part in trained.modules():
            if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                part.eval()


def _class_centres(embeddings: np.ndarray, train: LabelledCrops) -> torch.Tensor:
    sums = np.zeros((train.people, embeddings.shape[1]), np.float32)
    usable = ~train.negative_only
    np.add.at(sums, train.labels[usable], embeddings[usable])
    return torch.from_numpy(sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-6))


def _copy(part: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in part.state_dict().items()}


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the mean of each figure over the batches that could give it."""
    means = {}
    for name in rows[0]:
        values = [row[name] for row in rows if name == "loss" or not math.isnan(row[name])]
        means[name] = sum(values) / len(values) if values else float("nan")
    return means


def _late(begun: float, settings: Train) -> bool:
    limit = settings.max_minutes * 60
    return limit > 0 and time.monotonic() - begun > limit


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
