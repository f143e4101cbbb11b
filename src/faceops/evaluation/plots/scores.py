"""Histograms of the scores of pairs of one person and of two, the thresholds drawn in."""

import numpy as np
from matplotlib.figure import Figure

from faceops.evaluation.curves import LOG_ODDS_RANGE, log_odds, score_histogram
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import DIFFERENT, MARK, SAME, blank, plain_ticks
from faceops.verification.thresholds import Thresholds

_TICKS = np.array([1e-6, 1e-4, 0.01, 0.5, 0.99, 0.9999, 0.999999])


def draw_scores(evaluation: Evaluation, thresholds: Thresholds | None) -> Figure:
    """Return shares of pairs on a log axis, so that the few wrong ones beyond a line are seen."""
    calibrated = thresholds is not None
    centres, same, different = score_histogram(evaluation, 10 if calibrated else 1)
    width = float(centres[1] - centres[0])
    figure, axes = blank("Scores of pairs of one person and of two", 4.8)
    for counts, color, name in (
        (different, DIFFERENT, f"two people ({different.sum():,} pairs)"),
        (same, SAME, f"one person ({same.sum():,} pairs)"),
    ):
        shares = counts / max(counts.sum(), 1)
        axes.bar(centres, shares, width, color=color, alpha=0.55, label=name)
    axes.set_yscale("log")
    least = 1 / max(same.sum(), different.sum(), 1)
    marks = _marks(evaluation, thresholds)
    top = 10 ** (0.35 * len(marks) + 0.6)  # room for a line of words each
    axes.set_ylim(least / 2, top * 2)
    for number, (place, label) in enumerate(marks):
        axes.axvline(place, color=MARK, linewidth=1, linestyle="--")
        axes.annotate(
            label,
            (place, top / 10 ** (0.35 * number)),
            xytext=(-4 if place > 0 else 4, 0),
            textcoords="offset points",
            ha="right" if place > 0 else "left",
            va="top",
            fontsize=8.5,
            color=MARK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )
    if calibrated:
        axes.set_xticks(log_odds(_TICKS), [f"{tick:g}" for tick in _TICKS], rotation=30)
        axes.set_xlim(-LOG_ODDS_RANGE, LOG_ODDS_RANGE)
        axes.set_xlabel("probability of one person (spaced by log odds)")
    else:
        filled = centres[(same + different) > 0]
        axes.set_xlim(filled[0] - width, filled[-1] + width)
        axes.set_xlabel("score: the negative squared distance")
    axes.set_yticks([tick for tick in 10.0 ** np.arange(-9, 1) if tick >= least / 2])
    plain_ticks(axes.yaxis)
    axes.set_ylabel("share of the pairs")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _marks(evaluation: Evaluation, thresholds: Thresholds | None) -> list[tuple[float, str]]:
    """Return the release's thresholds in log odds, with words, from left to right."""
    if thresholds is None:
        return []
    marks = [
        (row.probability, f"false accepts {row.budget:g}")
        for row in thresholds.pairs
        if row.probability is not None
    ]
    opened = evaluation.figures["open_set"]
    if opened.get("threshold") is not None:
        told = f"{opened['budget'] * 100:g} % of strangers, {opened['gallery_faces']:,} faces"
        marks.append((opened["threshold"], told))
    return [(float(log_odds(np.array([value]))[0]), label) for value, label in sorted(marks)]
