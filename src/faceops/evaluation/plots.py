"""The curves of an evaluation as pictures for people; the same numbers give the same bytes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from faceops.evaluation.curves import LOG_ODDS_RANGE, log_odds, score_histogram
from faceops.evaluation.evaluate import Evaluation
from faceops.verification.thresholds import Thresholds

SAME, DIFFERENT, MARK = "#0b6e4f", "#b3541e", "#444444"


def write_plots(
    evaluation: Evaluation, thresholds: Thresholds, fars: list[float], folder: Path
) -> None:
    """Write roc.png, scores.png and calibration.png to `folder`."""
    _save(_roc(evaluation, fars), folder / "roc.png")
    _save(_scores(evaluation, thresholds), folder / "scores.png")
    _save(_calibration(evaluation), folder / "calibration.png")


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    # Without a version of matplotlib in the file, the bytes depend on the picture alone.
    figure.savefig(temporary, format="png", metadata={"Software": None})
    temporary.replace(path)


def _people(evaluation: Evaluation) -> str:
    figures = evaluation.figures
    return f"{figures['people']} test people, {figures['photos']} photos"


def _roc(evaluation: Evaluation, fars: list[float]) -> Figure:
    far, tar = evaluation.roc
    figure, axes = _figure(f"Pairs accepted: {_people(evaluation)}")
    axes.plot(far, tar, color=SAME, drawstyle="steps-post", linewidth=1.8)
    axes.set_xscale("log")
    lowest = max(min(*fars, far[far > 0].min() if (far > 0).any() else 1.0), 1e-7)
    axes.set_xlim(lowest * 0.7, 1)
    floor = max(value for value in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98) if value <= tar.min())
    axes.set_ylim(floor, 1 + (1 - floor) * 0.02)
    for number, wanted in enumerate(sorted(fars)):
        rate = evaluation.figures["verification"][f"tar_at_far_{wanted:g}"]
        axes.axvline(wanted, color=MARK, linewidth=0.8, linestyle=":")
        axes.plot([wanted], [rate], "o", color=MARK, markersize=5)
        axes.annotate(
            f"{rate:.4f} at {wanted:g}",
            (wanted, rate),
            xytext=(6, -14 - 14 * (number % 2)),  # else neighbours overlap
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xlabel("false accept rate (pairs of two people)")
    axes.set_ylabel("true accept rate (pairs of one person)")
    auc = evaluation.figures["verification"]["roc_auc"]
    axes.text(0.98, 0.04, f"area under the curve {auc:.5f}", ha="right", transform=axes.transAxes)
    return figure


def _scores(evaluation: Evaluation, thresholds: Thresholds) -> Figure:
    centres, same, different = score_histogram(evaluation)
    width = float(centres[1] - centres[0])
    figure, axes = _figure(f"Scores of all pairs: {_people(evaluation)}")
    for counts, color, name in (
        (different, DIFFERENT, f"two people ({different.sum():,} pairs)"),
        (same, SAME, f"one person ({same.sum():,} pairs)"),
    ):
        axes.bar(centres, counts / max(counts.sum(), 1), width, color=color, alpha=0.6, label=name)
    top = axes.get_ylim()[1] * 1.3
    axes.set_ylim(0, top)
    open_set = evaluation.figures["open_set"]
    marks = [
        (row.probability, f"pair FAR {row.budget:g}")
        for row in thresholds.pairs
        if row.probability is not None
    ]
    strangers = f"{open_set['budget']:.0%} of strangers, {open_set['gallery_faces']} faces"
    marks.append((open_set["threshold"], strangers))
    for number, (probability, label) in enumerate(marks):
        place = float(log_odds(np.array([probability]))[0])
        axes.axvline(place, color=MARK, linewidth=1, linestyle="--")
        height = top * (0.97 - 0.07 * number)
        axes.text(place + 0.2, height, label, fontsize=8, va="top", color=MARK)
    ticks = np.array([1e-6, 1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999, 0.999999])
    axes.set_xticks(log_odds(ticks), [f"{tick:g}" for tick in ticks], fontsize=8, rotation=30)
    axes.set_xlim(-LOG_ODDS_RANGE, LOG_ODDS_RANGE)
    axes.set_xlabel("probability of one person (spaced by log odds)")
    axes.set_ylabel("share of the pairs")
    axes.legend(loc="upper left", frameon=False, fontsize=9)
    return figure


def _calibration(evaluation: Evaluation) -> Figure:
    bins = evaluation.reliability
    figure, axes = _figure("Is the probability right? One person and two weigh the same")
    axes.plot([0, 1], [0, 1], color=MARK, linewidth=0.8, linestyle=":")
    few = bins.effective < 20
    for rows, fill, name in ((~few, SAME, "enough pairs to tell"), (few, "white", "too few")):
        axes.scatter(
            bins.predicted[rows], bins.observed[rows], c=fill, edgecolors=SAME, label=name, zorder=3
        )
    for x, y, pairs in zip(bins.predicted, bins.observed, bins.pairs, strict=True):
        axes.annotate(
            f"{pairs:,.0f}", (x, y), xytext=(0, 7), textcoords="offset points", fontsize=8,
            ha="left" if x < 0.1 else "right" if x > 0.9 else "center",
        )  # fmt: skip
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.03, 1.08)
    axes.set_xlabel("stated probability")
    axes.set_ylabel("share that is one person (pairs in the bin)")
    return figure
