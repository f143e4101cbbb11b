"""Receiver operating characteristic of all pairs, the false accept rate on a log axis."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import MARK, SAME, blank, plain_ticks


def draw_roc(evaluation: Evaluation, fars: Sequence[float]) -> Figure:
    """Return the curve with a mark at each of `fars`."""
    far, tar = evaluation.roc
    figures = evaluation.figures["verification"]
    figure, axes = blank(f"Which pairs are accepted? Area under the curve {figures['roc_auc']:.5f}")
    axes.plot(far, tar, color=SAME, drawstyle="steps-post", linewidth=1.8)
    axes.set_xscale("log")
    plain_ticks(axes.xaxis)
    axes.set_xlim(max(min(*fars, far[0]), 1e-8) * 0.7, 1)
    floor = max(value for value in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98) if value <= tar.min())
    axes.set_ylim(floor, 1 + (1 - floor) * 0.02)
    for number, wanted in enumerate(sorted(fars)):
        rate = figures[f"tar_at_far_{wanted:g}"]
        axes.axvline(wanted, color=MARK, linewidth=0.8, linestyle=":")
        axes.plot([wanted], [rate], "o", color=MARK, markersize=5)
        axes.annotate(
            f"{rate:.4f} at {wanted:g}",
            (wanted, rate),
            xytext=(6, -16 - 15 * (number % 2)),  # else neighbours overlap
            textcoords="offset points",
        )
    axes.set_xlabel("false accept rate: pairs of two people accepted")
    axes.set_ylabel("true accept rate: pairs of one person")
    return figure
