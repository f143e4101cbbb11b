"""The picture of a training run: the loss, validation, and the signs of collapse, by epoch."""

import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

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
