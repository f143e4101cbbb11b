"""Reliability diagram: is a probability of .8 right eight times in ten? (Niculescu-Mizil 2005)"""

from matplotlib.figure import Figure

from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import MARK, SAME, blank

_TELLS = 20  # pairs of one weight


def draw_reliability(evaluation: Evaluation) -> Figure:
    """Return what was seen against what was stated, one person and two weighing the same."""
    bins = evaluation.reliability
    figure, axes = blank(f"Is the probability right? Mean error {bins.expected_error:.4f}")
    axes.plot([0, 1], [0, 1], color=MARK, linewidth=0.8, linestyle=":")
    few = bins.effective < _TELLS
    for rows, fill, name in ((~few, SAME, "enough pairs to tell"), (few, "white", "too few")):
        axes.scatter(
            bins.predicted[rows], bins.observed[rows], s=46, c=fill, edgecolors=SAME, label=name,
            zorder=3,
        )  # fmt: skip
    for x, y, pairs in zip(bins.predicted, bins.observed, bins.pairs, strict=True):
        axes.annotate(
            f"{pairs:,.0f}", (x, y), xytext=(0, 8), textcoords="offset points", fontsize=8.5,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
        )  # fmt: skip
    axes.legend(loc="lower right")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.03, 1.1)
    axes.set_xlabel("stated probability")
    axes.set_ylabel("share that is one person (pairs)")
    return figure
