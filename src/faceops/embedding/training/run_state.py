"""All that a training run is made of, and how a checkpoint keeps it at any step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from faceops.embedding.heads.classification_head import ClassificationHead
from faceops.embedding.mining.memory_bank import MemoryBank
from faceops.embedding.training.checkpoint import (
    load_checkpoint,
    optimiser_tensors,
    prefixed,
    restore_optimiser,
    save_checkpoint,
    without_prefix,
)
from faceops.embedding.training.epoch_figures import EpochFigures
from faceops.embedding.training.outcome import Outcome, Row


@dataclass
class RunState:
    """Where a run stands, down to the step.

    trained: the part of the model whose weights change.
    average: the moving average of its weights, where there is one.
    mined: int64 (N, k), the negatives that global mining found for this epoch's training faces.
    idle, to_beat: epochs since the validation score last rose by more than the min_delta, and
        what it has to beat.
    epoch: the one in hand, 0 between two.
    step, images: steps taken in the epoch in hand, and images that this process took in it.
    seconds: that earlier processes spent on this run.
    """

    device: torch.device
    trained: torch.nn.Module
    head: ClassificationHead
    optimiser: torch.optim.Optimizer
    average: AveragedModel | None = None
    bank: MemoryBank | None = None
    mined: np.ndarray | None = None
    outcome: Outcome = field(default_factory=Outcome)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    idle: int = 0
    to_beat: float = 0.0
    epoch: int = 0
    step: int = 0
    images: int = 0
    figures: EpochFigures = field(default_factory=EpochFigures)
    seconds: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds spent on this run by all processes that worked on it, one after another."""
        return self.seconds + time.monotonic() - self.begun

    def take_in(self, row: Row, min_delta: float) -> None:
        """Add an epoch's row; keep the weights in place if it is the best."""
        outcome = self.outcome
        if not outcome.history or row["val_score"] > outcome.best["val_score"]:
            outcome.best_epoch, self.best = row["epoch"], weights_of(self.trained)
        outcome.history.append(row)
        self.idle += 1
        if row["val_score"] > self.to_beat + min_delta:
            self.idle, self.to_beat = 0, row["val_score"]
        self.epoch, self.step, self.figures = 0, 0, EpochFigures()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Put the average, where there is one, in the place of the weights within a `with`."""
        if self.average is None:
            yield
            return
        own = weights_of(self.trained)
        self.trained.load_state_dict(self.average.module.state_dict())
        try:
            yield
        finally:
            self.trained.load_state_dict(own)

    def save(self, folder: Path) -> None:
        """Replace the checkpoint in `folder`."""
        tensors = {
            **prefixed("trained", self.trained.state_dict()),
            **prefixed("best", self.best),
            **prefixed("head", self.head.state_dict()),
            **prefixed("optimiser", optimiser_tensors(self.optimiser)),
        }
        if self.average is not None:
            tensors |= prefixed("average", self.average.module.state_dict())
        if self.bank is not None:
            tensors |= prefixed("bank", self.bank.tensors())
        if self.mined is not None:
            tensors["mined"] = torch.from_numpy(self.mined)
        state: dict[str, Any] = {
            "history": self.outcome.history,
            "best_epoch": self.outcome.best_epoch,
            "averaged": 0 if self.average is None else int(self.average.n_averaged),
            "figures": self.figures.state(),
            "seconds": self.elapsed,
        }
        state |= {name: getattr(self, name) for name in ("idle", "to_beat", "epoch", "step")}
        save_checkpoint(folder, tensors, state)

    def restore(self, folder: Path) -> bool:
        """Go on from the checkpoint in `folder`; return whether there is one."""
        saved = load_checkpoint(folder)
        if saved is None:
            return False
        tensors, state = saved
        self.trained.load_state_dict(without_prefix("trained", tensors))
        self.head.load_state_dict(without_prefix("head", tensors))
        restore_optimiser(self.optimiser, without_prefix("optimiser", tensors))
        if self.average is not None:
            self.average.module.load_state_dict(without_prefix("average", tensors))
            self.average.n_averaged.fill_(state["averaged"])
        if self.bank is not None:
            self.bank.restore(without_prefix("bank", tensors))
        self.mined = tensors["mined"].numpy() if "mined" in tensors else None
        self.best = without_prefix("best", tensors)
        self.outcome = Outcome(state["history"], state["best_epoch"])
        self.figures = EpochFigures(state["figures"])
        self.idle, self.to_beat = state["idle"], state["to_beat"]
        self.epoch, self.step = state["epoch"], state["step"]
        self.seconds = state["seconds"]
        return True


def weights_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return a copy of a module's weights and running statistics."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}
