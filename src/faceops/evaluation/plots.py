"""The pictures of an evaluation, as PNG files."""

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path
from faceops.evaluation.evaluate import Evaluation, deviate
from faceops.evaluation.protocols.all_pairs import LOG_ODDS_RANGE
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import clipped_log_odds

SAME, DIFFERENT, MARK, FAINT = "#0b6e4f", "#b3541e", "#3c4450", "#8b93a0"
SERIES = ("#1f5fa8", "#b3541e", "#0b6e4f", "#7a3e9d", "#8a6d00", "#4a5568")
_MARKERS = "osD^vP"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans", "font.size": 10.5, "axes.titlesize": 11.5,
    "axes.titlelocation": "left", "axes.labelsize": 10.5, "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.alpha": 0.25,
    "axes.edgecolor": FAINT,
}  # fmt: skip
_ERROR_TICKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)
_PROBABILITY_TICKS = np.array([1e-6, 1e-4, 0.01, 0.5, 0.99, 0.9999, 0.999999])
LOSS, SCORE = "loss", "val_tar"


def write_plots(
    evaluation: Evaluation | None, thresholds: Thresholds | None, fars: Sequence[float],
    fpir_rows: Sequence[dict[str, Any]], folder: Path,
    history: list[dict[str, str]] | None = None,
) -> list[Path]:  # fmt: skip
    """Write PNG pictures to `folder` and return their paths.

    Of an evaluation roc, det, scores and cmc, of a calibrated model calibration too; promise, of
    the rows of `measure_fpir_at_thresholds`; loss, of the `history` of a training. The reader's own
    matplotlibrc has no effect.
    """
    figures: dict[str, Figure | None] = {}
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        if evaluation is not None:
            figures = {
                "roc": draw_roc(evaluation, fars),
                "det": draw_det(evaluation),
                "scores": draw_scores(evaluation, thresholds),
                "cmc": draw_cmc(evaluation),
                "calibration": draw_reliability(evaluation) if thresholds else None,
            }
        figures |= {"promise": draw_fpir_by_budget(fpir_rows), "loss": draw_training(history or [])}
        written = []
        for name, figure in figures.items():
            if figure is not None:
                written.append(folder / f"{name}.png")
                # Without matplotlib's version in the file, the bytes depend on the picture alone.
                with atomic_path(written[-1]) as temporary:
                    figure.savefig(temporary, format="png", metadata={"Software": None})
    return written


def _axes(title: str, x: str, y: str, height: float = 4.4) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(6.0, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _note(
    axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], **style: Any
) -> None:
    """Write `text` beside a place of the data, `offset` in points from it."""
    axes.annotate(text, place, xytext=offset, textcoords="offset points", **style)


def _plain_ticks(axis: Axis) -> None:
    """Write the decades of a log axis as 0.001 rather than as powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _percent(rate: float) -> str:
    return f"{rate * 100:g} %"


def draw_roc(evaluation: Evaluation, fars: Sequence[float]) -> Figure:
    """Return the ROC curve with a mark at each of `fars`."""
    far, tar = evaluation.roc
    figures = evaluation.figures["verification"]
    figure, axes = _axes(
        f"Which pairs are accepted? Area under the curve {figures['roc_auc']:.5f}",
        "false accept rate: pairs of two people accepted",
        "true accept rate: pairs of one person",
    )
    axes.plot(far, tar, color=SAME, drawstyle="steps-post", linewidth=1.8)
    axes.set_xscale("log")
    _plain_ticks(axes.xaxis)
    axes.set_xlim(max(min(*fars, far[0]), 1e-8) * 0.7, 1)
    floor = max(value for value in (0.0, 0.5, 0.8, 0.9, 0.95, 0.98) if value <= tar.min())
    axes.set_ylim(floor, 1 + (1 - floor) * 0.02)
    for number, wanted in enumerate(sorted(fars)):
        rate = figures[f"tar_at_far_{wanted:g}"]
        axes.axvline(wanted, color=MARK, linewidth=0.8, linestyle=":")
        axes.plot([wanted], [rate], "o", color=MARK, markersize=5)
        offset = 6, -16 - 15 * (number % 2)  # else adjacent ones overlap
        _note(axes, f"{rate:.4f} at {wanted:g}", (wanted, rate), offset)
    return figure


def draw_det(evaluation: Evaluation) -> Figure:
    """Return the detection error trade-off (Martin et al. 1997): both errors, normal deviates.

    Scores that are normally distributed in both kinds of pairs give a straight line. No rate is
    drawn below half a pair.
    """
    accepts, rejects = evaluation.error_rates
    x, y = (f"false {kind} rate (normal deviates)" for kind in ("accept", "reject"))
    figure, axes = _axes("What does strictness cost? Both errors", x, y)
    axes.plot(deviate(accepts), deviate(rejects), color=SAME, linewidth=1.8)
    for axis, least, most in (
        ("x", accepts.min(), 0.5),
        ("y", min(rejects.min(), 0.01), max(rejects.max(), 0.05)),
    ):
        low, high = deviate(np.array([least, most]))
        shown = np.array([tick for tick in _ERROR_TICKS if least * 0.9 <= tick <= most * 1.1])
        axes.set(**{f"{axis}lim": (low - 0.1, high + 0.1), f"{axis}ticks": deviate(shown)})
        axes.set(**{f"{axis}ticklabels": [_percent(tick) for tick in shown]})
    ends = axes.get_xlim()
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":", label="equal error rates")
    axes.legend(loc="upper right")
    axes.tick_params(axis="x", rotation=30)
    return figure


def draw_scores(evaluation: Evaluation, thresholds: Thresholds | None) -> Figure:
    """Return shares of pairs on a log axis, so that the few beyond a threshold are visible."""
    centres, same, different = evaluation.score_histogram(1 if thresholds is None else 10)
    width = float(centres[1] - centres[0])
    figure, axes = _axes("Scores of pairs of one person and of two", "", "share of the pairs", 4.8)
    for counts, color, name in (
        (different, DIFFERENT, f"two people ({different.sum():,} pairs)"),
        (same, SAME, f"one person ({same.sum():,} pairs)"),
    ):
        shares = counts / max(counts.sum(), 1)
        axes.bar(centres, shares, width, color=color, alpha=0.55, label=name)
    axes.set_yscale("log")
    least = 1 / max(same.sum(), different.sum(), 1)
    marks = [] if thresholds is None else _threshold_marks(evaluation, thresholds)
    top = 10 ** (0.35 * len(marks) + 0.6)  # room for one line of text each
    axes.set_ylim(least / 2, top * 2)
    for number, (place, label) in enumerate(marks):
        axes.axvline(place, color=MARK, linewidth=1, linestyle="--")
        side, offset = ("right", (-4, 0)) if place > 0 else ("left", (4, 0))
        _note(
            axes, label, (place, top / 10 ** (0.35 * number)), offset, ha=side, va="top",
            fontsize=8.5, color=MARK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip
    if thresholds is not None:
        labels = [f"{tick:g}" for tick in _PROBABILITY_TICKS]
        axes.set_xticks(clipped_log_odds(_PROBABILITY_TICKS), labels, rotation=30)
        axes.set_xlim(-LOG_ODDS_RANGE, LOG_ODDS_RANGE)
        axes.set_xlabel("probability of one person (spaced by log odds)")
    else:
        filled = centres[(same + different) > 0]
        axes.set_xlim(filled[0] - width, filled[-1] + width)
        axes.set_xlabel("score: the negative squared distance")
    axes.set_yticks([tick for tick in 10.0 ** np.arange(-9, 1) if tick >= least / 2])
    _plain_ticks(axes.yaxis)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _threshold_marks(evaluation: Evaluation, thresholds: Thresholds) -> list[tuple[float, str]]:
    """Return the release's thresholds in log odds with their labels, rising.

    That of an album is on normalised scores, which the picture does not show.
    """
    cuts = {row.budget: row.probability for row in thresholds.pairs}
    marks = [(cut, f"false accepts {budget:g}") for budget, cut in cuts.items() if cut is not None]
    search = evaluation.figures["open_set"]
    if thresholds.normalisation is None:
        faces = f"{search['gallery_faces']:,} faces"
        marks.append((search["threshold"], f"{_percent(search['budget'])} of strangers, {faces}"))
    ends = -LOG_ODDS_RANGE, LOG_ODDS_RANGE
    return [(float(clipped_log_odds(value).clip(*ends)), label) for value, label in sorted(marks)]


def draw_cmc(evaluation: Evaluation) -> Figure:
    """Return the cumulative match characteristic, with intervals over people at ranks 1 and 5."""
    figures, rates = evaluation.figures["closed_set"], evaluation.cmc
    ranks = np.arange(1, len(rates) + 1)
    figure, axes = _axes(
        f"Who is nearest, of {figures['gallery_people']:,} people?",
        "rank",
        "share of probes found up to the rank",
    )
    axes.plot(ranks, rates, "o-", color=SAME, linewidth=1.8, markersize=4)
    lows = [rates.min()] if len(rates) else []
    for rank in (1, 5):
        ends, rate = figures[f"rank_{rank}_interval"], figures[f"rank_{rank}"]
        if rank > len(rates) or rate is None or ends["low"] is None:
            continue
        lows.append(ends["low"])
        reach = [[max(rate - ends["low"], 0)], [max(ends["high"] - rate, 0)]]
        axes.errorbar([rank], [rate], yerr=reach, color=SAME, capsize=4, linewidth=1.2)
        _note(axes, f"{rate:.4f}", (rank, rate), (8, -14))
    floor = min([*lows, 0.99])  # else nothing is visible where all are found
    axes.set_ylim(floor - 0.15 * (1 - floor), 1 + 0.05 * (1 - floor))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def draw_reliability(evaluation: Evaluation) -> Figure:
    """Return observed against predicted probability; both kinds of pairs have equal weight."""
    bins = evaluation.pairs.reliability
    figure, axes = _axes(
        f"Is the probability right? Mean error {bins.expected_error:.4f}",
        "stated probability",
        "share that is one person (pairs)",
    )
    axes.plot([0, 1], [0, 1], color=MARK, linewidth=0.8, linestyle=":")
    few = bins.effective < 20  # pairs of one weight
    for rows, fill, name in ((~few, SAME, "enough pairs to tell"), (few, "white", "too few")):
        axes.scatter(
            bins.predicted[rows], bins.observed[rows], s=46, c=fill, edgecolors=SAME, label=name,
            zorder=3,
        )  # fmt: skip
    for x, y, pairs in zip(bins.predicted, bins.observed, bins.pairs, strict=True):
        side = "left" if x < 0.1 else "right" if x > 0.9 else "center"
        _note(axes, f"{pairs:,.0f}", (x, y), (0, 8), fontsize=8.5, ha=side)
    axes.legend(loc="lower right")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.1))
    return figure


def draw_fpir_by_budget(fpir_rows: Sequence[dict[str, Any]]) -> Figure | None:
    """Return the measured FPIR against each budget, a colour a gallery size.

    `fpir_rows` are rows of `measure_fpir_at_thresholds`; None if every budget was refused. A rate
    of zero is drawn on the lowest line.
    """
    if not (rows := [row for row in fpir_rows if row["seen"] is not None]):
        return None
    figure, axes = _axes("Strangers named: budget and measured rate", "budget", "measured")
    budgets = sorted({row["budget"] for row in rows})
    rates = [v for row in rows for v in (row["seen"], *row["seen_interval"].values()) if v]
    floor = min([*rates, *budgets]) / 3
    for number, size in enumerate(sorted({row["gallery_faces"] for row in rows})):
        own = [row for row in rows if row["gallery_faces"] == size]
        seen, low, high = np.maximum(
            [(row["seen"], *row["seen_interval"].values()) for row in own], floor
        ).T
        places = np.array([row["budget"] for row in own]) * 1.12 ** (number - 1)
        reach = np.maximum([seen - low, high - seen], 0)
        axes.errorbar(
            places, seen, yerr=reach, fmt=_MARKERS[number % len(_MARKERS)], capsize=3,
            color=SERIES[number % len(SERIES)], markersize=5.5, label=f"{size:,} in the gallery",
        )  # fmt: skip
    ends = [budgets[0] / 2, min(budgets[-1] * 2, 1)]
    axes.plot(ends, ends, color=MARK, linewidth=0.8, linestyle=":", label="equal to the budget")
    low, high = floor * 0.8, max([*rates, *budgets]) * 2
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=(low, high))
    axes.set_xticks(budgets, [_percent(budget) for budget in budgets])
    axes.minorticks_off()
    ticks = {tick: _percent(tick) for tick in (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)}
    ticks = {tick: label for tick, label in ticks.items() if low <= tick <= high}
    if any(row["seen"] <= floor for row in rows):
        ticks[floor] = "none"
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.legend(loc="upper left")
    return figure


def read_history(path: Path) -> list[dict[str, str]]:
    """Read the history of the train stage, a row an epoch, the start first.

    Raises FaceOpsError: it is not such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            [float(row[key]) for key in ("epoch", LOSS, SCORE) if row[key]]
            row["phase"].strip()
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, AttributeError) as error:
        raise FaceOpsError(
            f"{path} is not a training history ({type(error).__name__}: {error}); run the train "
            "stage again."
        ) from None
    return rows


def draw_training(history: list[dict[str, str]]) -> Figure | None:
    """Return loss and validation score by epoch; None where nothing was trained."""
    if len(history) < 2:
        return None
    figure, axes = _axes("Training: the loss, and TAR on validation people", "epoch", "")
    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    for line, key, color, label in (
        (axes, LOSS, DIFFERENT, "loss"),
        (right, SCORE, SAME, "true accept rate, FAR 1e-3"),
    ):
        points = [(int(row["epoch"]), float(row[key])) for row in history if row[key]]
        line.plot(*zip(*points, strict=True), "o-", color=color, markersize=4, label=label)
        line.set_ylabel(label, color=color)
        line.margins(y=0.15)
    for phase, rows in groupby(history, lambda row: row["phase"]):
        place = int(next(rows)["epoch"]) - 0.5
        axes.axvline(place, color=FAINT, linewidth=0.8, linestyle=":")
        above = {"xycoords": ("data", "axes fraction"), "va": "top"}
        _note(axes, phase, (place, 0.98), (4, 0), **above, fontsize=9, color=FAINT)
    axes.set_xlim(-0.5, int(history[-1]["epoch"]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
