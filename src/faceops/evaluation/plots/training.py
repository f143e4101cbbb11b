"""Loss curves: the training loss and what validation people said, epoch by epoch."""

import csv
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from faceops.base.errors import FaceOpsError
from faceops.evaluation.plots.canvas import DIFFERENT, FAINT, SAME, blank

LOSS, SCORE = "loss", "val_tar"


def read_history(path: Path) -> list[dict[str, str]]:
    """Read the history of the train stage, a row an epoch, the start first.

    Raises:
        FaceOpsError: it is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            [float(row[key]) for key in ("epoch", LOSS, SCORE) if row[key]]
            row["phase"].strip()
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError) as error:
        raise FaceOpsError(
            f"{path} is no history of a training ({type(error).__name__}: {error}); run the train "
            "stage again."
        ) from None
    return rows


def draw_training(history: list[dict[str, str]]) -> Figure | None:
    """Return loss and validation score by epoch; None where nothing was trained."""
    if len(history) < 2:
        return None
    figure, axes = blank("Training: the loss, and what validation people say")
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    for line, key, color, label in (
        (axes, LOSS, DIFFERENT, "loss"),
        (right, SCORE, SAME, "true accept rate, FAR 1e-3"),
    ):
        told = [(int(row["epoch"]), float(row[key])) for row in history if row[key]]
        line.plot(*zip(*told, strict=True), "o-", color=color, markersize=4, label=label)
        line.set_ylabel(label, color=color)
        line.margins(y=0.15)
    previous = ""
    for row in history:
        if row["phase"] != previous:
            place = int(row["epoch"]) - 0.5
            axes.axvline(place, color=FAINT, linewidth=0.8, linestyle=":")
            axes.annotate(
                row["phase"], (place, 0.98), xycoords=("data", "axes fraction"),
                xytext=(4, 0), textcoords="offset points", va="top", fontsize=9, color=FAINT,
            )  # fmt: skip
            previous = row["phase"]
    axes.set_xlim(-0.5, int(history[-1]["epoch"]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    return figure
