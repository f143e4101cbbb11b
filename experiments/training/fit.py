"""Train an embedder as the stage `train` does, and keep the result: killed, it goes on.

Everything of these experiments that touches the training loop is here.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from faceops.config.sections import Train
from faceops.embedding.embedder import Embedder
from faceops.embedding.labelled_crops import LabelledCrops
from faceops.embedding.training.checkpoint import load_checkpoint, run_key, without_prefix
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.training_inputs import FeatureInputs, PixelInputs, TrainingInputs
from faceops.embedding.training.training_loop import train_embedder
from faceops.errors import FaceOpsError

# Semi-hard for the first two fifths of the epochs, then the hardest of the batch.
SCHEDULE = {"semi_hard": 0.4, "batch_hard": 1.0}
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
    miners: Mapping[str, float] | None = None,
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
        miners: miner -> share of the triplet epochs until which it is used; None: as in settings.
        device: where `inputs` puts its tensors; None: the CPU.

    Raises:
        FaceOpsError: too few people, or the embedding collapsed.
    """
    fed: TrainingInputs | None = None
    facts: dict[str, Any] = {}
    for part in _runs(settings, miners):
        home = folder / run_key(part, *data)
        if not (home / FACTS).exists():
            fed = fed or inputs()
            _train(model, fed, train, val, part, home, device or torch.device("cpu"))
        model.load_state_dict(load_file(home / WEIGHTS))
        facts = _joined(facts, json.loads((home / FACTS).read_text(encoding="utf-8")))
        data = [*data, home.name]
    return Fitted(model.eval(), facts, home)


def _runs(settings: Train, miners: Mapping[str, float] | None) -> list[Train]:
    """Return a run for each miner: today's loop has one miner a run."""
    if miners is None:
        return [settings]
    ends = [round(share * settings.triplet_epochs) for share in miners.values()]
    starts = [0, *ends[:-1]]
    warmups = [settings.warmup_epochs, *[0] * (len(ends) - 1)]
    return [
        settings.model_copy(
            update={"warmup_epochs": warmup, "triplet_epochs": end - start, "miner": miner}
        )
        for miner, warmup, start, end in zip(miners, warmups, starts, ends, strict=True)
    ]


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
    times = home / "epochs.json"
    seen: dict[str, list[float]] = json.loads(times.read_text("utf-8")) if times.exists() else {}
    last = time.monotonic()

    def on_epoch(row: dict[str, Any], images_per_second: float) -> None:
        nonlocal last
        now = time.monotonic()
        if images_per_second:  # else an epoch of before the run was killed
            seen[str(row["epoch"])] = [now - last, images_per_second]
            times.write_text(json.dumps(seen), encoding="utf-8")
        last = now

    outcome = train_embedder(model, inputs, train, val, settings, home, device, on_epoch)
    save_file({name: value.cpu().contiguous() for name, value in model.state_dict().items()},
              home / WEIGHTS)  # fmt: skip
    facts = {
        "best_epoch": outcome.best_epoch,
        "epochs": outcome.history[-1]["epoch"],
        "stopped": outcome.stopped,
        "seconds": sum(seconds for seconds, _ in seen.values()),
        "images_per_second": median([speed for _, speed in seen.values()] or [0.0]),
        "history": outcome.history,
    }
    temporary = home / (FACTS + ".tmp")
    temporary.write_text(json.dumps(facts), encoding="utf-8")
    temporary.replace(home / FACTS)


def _joined(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of two runs, the second of which began where the first ended."""
    if not before:
        return after
    done = before["epochs"]
    later = [row | {"epoch": row["epoch"] + done} for row in after["history"][1:]]
    return {
        "best_epoch": done + after["best_epoch"] if after["best_epoch"] else before["best_epoch"],
        "epochs": done + after["epochs"],
        "stopped": after["stopped"],
        "seconds": before["seconds"] + after["seconds"],
        "images_per_second": median([before["images_per_second"], after["images_per_second"]]),
        "history": before["history"] + later,
    }


def last_epoch_head(fitted: Fitted) -> np.ndarray:
    """Return the classes of the last epoch's head, float32 (people, D), each of length 1.

    `fitted.model` gets the weights of that epoch, to which the head belongs.
    """
    saved = load_checkpoint(fitted.checkpoints)
    assert saved is not None
    fitted.model.load_state_dict(without_prefix("trained", saved[0]))
    return F.normalize(without_prefix("classifier", saved[0])["weight"], dim=1).numpy()


def with_objective(settings: Train, objective: str) -> tuple[Train, dict[str, float] | None]:
    """Return the settings, and the miners, to train all epochs by "triplet" or a classifier.

    Raises:
        FaceOpsError: there is no such classification head.
    """
    epochs = settings.warmup_epochs + settings.triplet_epochs
    changes: dict[str, object] = {"warmup_epochs": epochs, "triplet_epochs": 0}
    miners = None
    if objective == "triplet":
        changes = {"warmup_epochs": 0, "triplet_epochs": epochs}
        miners = SCHEDULE
    elif "classifier" in Train.model_fields:
        changes["classifier"] = objective
    elif objective == "softmax":  # today's one head, without its margin
        changes["cosface_margin"] = 0.0
    else:
        raise FaceOpsError(f"training has no {objective} head; leave it out of --objectives.")
    return Train.model_validate(settings.model_dump(by_alias=True) | changes), miners


def training_inputs(
    model: Embedder,
    train: LabelledCrops,
    val: LabelledCrops,
    settings: Train,
    folder: Path,
    device: torch.device,
) -> TrainingInputs:
    """Return what the stage `train` feeds: pixels, or the frozen layers' features from `folder`."""
    if settings.backbone == "pretrained" and settings.freeze:
        return FeatureInputs(
            cached_features(model, train, settings.flip, folder, "train", device),
            cached_features(model, val, False, folder, "val", device),
            device,
        )
    return PixelInputs(train, val, settings.flip, settings.jitter, device)
