"""One file that holds a run at any step: tensors, and the rest as JSON in its header.

A safetensors file, never a pickle. One file, because one rename is atomic: a run that is killed
while it writes leaves the checkpoint before.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.optim.swa_utils import AveragedModel

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, temporary_name
from faceops.config.sections import Train
from faceops.embedding.global_mining import MemoryBank
from faceops.embedding.heads import ClassificationHead
from faceops.embedding.training.progress_figures import EpochFigures

FILE = "last.safetensors"


def run_key(settings: Train, *data: str) -> str:
    """Return what names a run: a hash of its settings, its code, and the hashes of its `data`.

    The code is torch's version and this room's sources: a run that another code began would end
    with weights that neither gives. `max_minutes` and `checkpoint_minutes` are left out: a longer
    limit continues the same run.
    """
    known = settings.model_dump(exclude={"max_minutes", "checkpoint_minutes"})
    code = [torch.__version__, sources_sha256(Path(__file__).parent.parent)]
    text = json.dumps([code, known, data], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sources_sha256(folder: Path) -> str:
    """Return a sha256 over the names and contents of the Python files below `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name, content = path.relative_to(folder).as_posix(), path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def save_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Replace the checkpoint in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    here = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic_path(folder / FILE, sync=True) as temporary:
        save_file(here, temporary, metadata={"state": json.dumps(state)})


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the tensors (on the CPU) and the state in `folder`, or None.

    Raises:
        FaceOpsError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads(file.metadata()["state"])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        raise FaceOpsError(
            f"the checkpoint {path} is damaged; delete it to start training afresh."
        ) from None


def delete_checkpoint(folder: Path) -> None:
    """Delete the checkpoint in `folder`, and the folder when nothing else is in it."""
    for path in (folder / FILE, temporary_name(folder / FILE)):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return `tensors` with "prefix." before each name."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return those of `tensors` that begin with "prefix.", without it."""
    start = prefix + "."
    return {name[len(start) :]: value for name, value in tensors.items() if name.startswith(start)}


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return an optimiser's moments and counts as flat tensors, named "parameter.what"."""
    state = optimiser.state_dict()["state"]
    return {
        f"{number}.{what}": torch.as_tensor(value)
        for number, values in state.items()
        for what, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give `optimiser` the state that `optimiser_tensors` returned."""
    whole = optimiser.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        number, what = name.split(".")
        whole["state"].setdefault(int(number), {})[what] = value
    optimiser.load_state_dict(whole)


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
    def last(self) -> Row:
        """The row of the last epoch that ended."""
        return self.history[-1]

    @property
    def best(self) -> Row:
        """The row of the best epoch; an impatient warm-up leaves out epochs, so not its index."""
        return next(row for row in self.history if row["epoch"] == self.best_epoch)


class TrainingLog(Protocol):
    """Where the figures of a run go."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Take the figures of a step, counted from 1 over the whole run."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Take a row of the history; those before a resumed epoch come again, with speed 0."""


class NoLog:
    """A TrainingLog that keeps nothing."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Keep nothing."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Keep nothing."""


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
