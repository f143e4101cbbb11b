"""What a training run gives, and who wants to hear of it while it goes."""

from dataclasses import dataclass, field
from typing import Any, Protocol

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
