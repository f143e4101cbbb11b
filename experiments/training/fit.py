"""Train an embedder as the stage `train` does, and keep the result: killed, it goes on.

Everything of these experiments that touches the training loop is here.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.heads.build import build_head
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.build_inputs import trains_head_only
from faceops.embedding.training.checkpoint import load_checkpoint, run_key, without_prefix
from faceops.embedding.training.outcome import NoLog, Row
from faceops.embedding.training.training_inputs import TrainingInputs
from faceops.embedding.training.training_loop import train_embedder

WEIGHTS, FACTS = "fitted.safetensors", "fitted.json"


@dataclass(frozen=True)
class Fitted:
    """A trained model, in evaluation mode, and how it came about."""

    model: Embedder
    facts: dict[str, Any]  # best_epoch, epochs, stopped, seconds, images_per_second, history
    checkpoints: Path  # of the last run


def fit(
    model: Embedder,
    inputs: Callable[[], TrainingInputs],
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    folder: Path,
    data: Sequence[str],
    device: torch.device | None = None,
) -> Fitted:
    """Train `model`, or read what an earlier call with the same arguments left in `folder`.

    Args:
        model: the start.
        inputs: makes what a step feeds the network; not called when the result is there.
        train, val: faces of different people, or photos of the same ones in a closed set.
        settings: as in params.yaml.
        folder: where checkpoints and the result go, by a key of settings, code and `data`.
        data: hashes of all that is learnt from.
        device: where `inputs` puts its tensors; None: the CPU.

    Raises:
        FaceOpsError: too few people, or the embedding collapsed.
    """
    home = folder / run_key(settings, *data)
    if not _ended(home):
        _train(model, inputs(), train, val, settings, home, device or torch.device("cpu"))
    model.load_state_dict(load_file(home / WEIGHTS))
    facts = json.loads((home / FACTS).read_text(encoding="utf-8"))
    return Fitted(model.eval(), facts, home)


def _ended(home: Path) -> bool:
    """Return whether a run came to its end; one that a time limit stopped can go on."""
    facts = home / FACTS
    return facts.exists() and json.loads(facts.read_text("utf-8"))["stopped"] != "max_minutes"


class _Speeds(NoLog):
    """Images/s of each epoch, kept on disk: a killed run does not forget them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.epochs: dict[str, float] = {}
        if path.exists():
            self.epochs = json.loads(path.read_text("utf-8"))

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Keep the speed of an epoch; 0 is an epoch of before the run was killed."""
        if images_per_second:
            self.epochs[str(row["epoch"])] = images_per_second
            self._path.write_text(json.dumps(self.epochs), encoding="utf-8")


def _train(
    model: Embedder,
    inputs: TrainingInputs,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    home: Path,
    device: torch.device,
) -> None:
    home.mkdir(parents=True, exist_ok=True)
    speeds = _Speeds(home / "speeds.json")
    outcome = train_embedder(model, inputs, train, val, settings, home, device, log=speeds)
    saved = load_checkpoint(home)
    assert saved is not None
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()},
              home / WEIGHTS)  # fmt: skip
    facts = {
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.last["epoch"],
        "stopped": outcome.stopped,
        "seconds": saved[1]["seconds"],
        "images_per_second": median(list(speeds.epochs.values()) or [0.0]),
        "history": outcome.history,
    }
    temporary = home / (FACTS + ".tmp")
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    temporary.replace(home / FACTS)


def take_last_epoch(fitted: Fitted, settings: Train) -> None:
    """Give `fitted.model` the weights of the last epoch, averaged where the run averages.

    For what training came to where no epoch was better than the start.
    """
    saved = load_checkpoint(fitted.checkpoints)
    assert saved is not None
    part = "average" if settings.ema_decay else "trained"
    _trained_part(fitted, settings).load_state_dict(without_prefix(part, saved[0]))


def _trained_part(fitted: Fitted, settings: Train) -> torch.nn.Module:
    return fitted.model.head if trains_head_only(settings) else fitted.model


def last_epoch_head(fitted: Fitted, settings: Train) -> tuple[np.ndarray, np.ndarray]:
    """Return the last epoch's head as the linear layer that it is at test time, without margin.

    float32 (people, D) and (people,), so that an embedding's person is that of the largest
    weight x embedding + bias. `fitted.model` gets the weights of that epoch, to which the head
    belongs: the weights themselves, not their average. `settings` are those of the run.
    """
    saved = load_checkpoint(fitted.checkpoints)
    assert saved is not None
    _trained_part(fitted, settings).load_state_dict(without_prefix("trained", saved[0]))
    values = without_prefix("head", saved[0])
    people = len(next(iter(values.values())))  # a row or a number each, in every tensor
    head = build_head(
        settings.classifier,
        fitted.model.embedding_size,
        people,
        settings.classifier_scale,
        settings.classifier_margin,
        fitted.model.parts,
    )
    head.load_state_dict(values)
    weight, bias = (part.detach().numpy() for part in head.as_linear())
    return weight, bias


def with_objective(settings: Train, objective: str) -> Train:
    """Return the settings to train all epochs by "triplet", by a classification head, or by both.

    "warm_triplet" classifies for three fifths of the epochs, by softmax, and goes on with triplets,
    semi-hard for two fifths of the rest. "triplet" takes the hardest of the batch from the first
    step, as Hermans et al. (2017) do from nothing.
    """
    epochs = settings.warmup_epochs + settings.triplet_epochs
    warmup = {"triplet": 0, "warm_triplet": round(0.6 * epochs)}.get(objective, epochs)
    changes: dict[str, object] = {"warmup_epochs": warmup, "triplet_epochs": epochs - warmup}
    if warmup < epochs:
        miners = {"semi_hard": 0.4, "batch_hard": 1.0} if warmup else {"batch_hard": 1.0}
        changes |= {"classifier": "softmax", "classifier_weight": 0.0, "miners": miners}
    else:
        changes["classifier"] = objective
    return Train.model_validate(settings.model_dump() | changes)
