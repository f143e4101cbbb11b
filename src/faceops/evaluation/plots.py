"""All pictures of an evaluation.

Detection error trade-off: both error rates on normal-deviate axes (Martin et al. 1997).

Scores that are normally distributed in both kinds of pairs give a straight line.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from faceops.evaluation.curves import deviate
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.protocols.all_pairs import LOG_ODDS_RANGE
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import clipped_log_odds

SAME, DIFFERENT, MARK, FAINT = "#0b6e4f", "#b3541e", "#3c4450", "#8b93a0"
SERIES = ("#1f5fa8", "#b3541e", "#0b6e4f", "#7a3e9d", "#8a6d00", "#4a5568")
WIDTH, HEIGHT = 6.0, 4.4
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.edgecolor": FAINT,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the look of the pictures, whatever the reader's own matplotlibrc says."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def blank(title: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """Return a figure with one set of axes below `title`."""
    figure = Figure(figsize=(WIDTH, height), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def plain_ticks(axis: Axis) -> None:
    """Write the decades of a log axis as 0.001 rather than as powers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG to `path`."""
    # Without a version of matplotlib in the file, the bytes depend on the picture alone.
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def draw_cmc(evaluation: Evaluation) -> Figure:
    """Return the rate at each rank, the interval over people at ranks 1 and 5."""
    figures, rates = evaluation.figures["closed_set"], evaluation.cmc
    ranks = np.arange(1, len(rates) + 1)
    figure, axes = blank(f"Who is nearest, of {figures['gallery_people']:,} people?")
    axes.plot(ranks, rates, "o-", color=SAME, linewidth=1.8, markersize=4)
    lows = [rates.min()] if len(rates) else []
    for rank in (1, 5):
        ends, rate = figures[f"rank_{rank}_interval"], figures[f"rank_{rank}"]
        if rank > len(rates) or rate is None or ends["low"] is None:
            continue
        lows.append(ends["low"])
        reach = [[max(rate - ends["low"], 0)], [max(ends["high"] - rate, 0)]]
        axes.errorbar([rank], [rate], yerr=reach, color=SAME, capsize=4, linewidth=1.2)
        axes.annotate(
            f"{rate:.4f}", (rank, rate), xytext=(8, -14), textcoords="offset points"
        )  # fmt: skip
    floor = min([*lows, 0.99])  # else nothing is left to see where all are found
    axes.set_ylim(floor - 0.15 * (1 - floor), 1 + 0.05 * (1 - floor))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("rank")
    axes.set_ylabel("share of probes found up to the rank")
    return figure


TICKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


def draw_det(evaluation: Evaluation) -> Figure:
    """Return false rejects against false accepts; no rate is drawn below half a pair."""
    accepts, rejects = evaluation.error_rates
    figure, axes = blank("What does strictness cost? Both errors")
    axes.plot(deviate(accepts), deviate(rejects), color=SAME, linewidth=1.8)
    for axis, least, most in (
        ("x", accepts.min(), 0.5),
        ("y", min(rejects.min(), 0.01), max(rejects.max(), 0.05)),
    ):
        low, high = deviate(np.array([least, most]))
        shown = np.array([tick for tick in TICKS if least * 0.9 <= tick <= most * 1.1])
        axes.set(**{f"{axis}lim": (low - 0.1, high + 0.1), f"{axis}ticks": deviate(shown)})
        axes.set(**{f"{axis}ticklabels": [_percent(tick) for tick in shown]})
    ends = axes.get_xlim()
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":", label="equal error rates")
    axes.legend(loc="upper right")
    axes.tick_params(axis="x", rotation=30)
    axes.set_xlabel("false accept rate (normal deviates)")
    axes.set_ylabel("false reject rate (normal deviates)")
    return figure


def _percent(rate: float) -> str:
    return f"{rate * 100:g} %"


_MARKERS = "osD^vP"


def draw_promise(promises: Sequence[dict[str, Any]]) -> Figure | None:
    """Return the promises of `faceops.evaluation.protocols.promise`, a colour a gallery size.

    None without any that was not refused. Nothing seen is drawn on the lowest line.
    """
    rows = [row for row in promises if row["seen"] is not None]
    if not rows:
        return None
    figure, axes = blank("Strangers named: promised against seen")
    budgets = sorted({row["budget"] for row in rows})
    seen = [v for row in rows for v in (row["seen"], *row["seen_interval"].values()) if v]
    floor = min([*seen, *budgets]) / 3
    for number, size in enumerate(sorted({row["gallery_faces"] for row in rows})):
        color, shift = SERIES[number % len(SERIES)], 1.12 ** (number - 1)
        own = [row for row in rows if row["gallery_faces"] == size]
        axes.errorbar(
            [row["budget"] * shift for row in own],
            [max(row["seen"], floor) for row in own],
            yerr=_reach(own, floor),
            fmt=_MARKERS[number % len(_MARKERS)],
            color=color,
            capsize=3,
            markersize=5.5,
            label=f"{size:,} in the gallery",
        )
    ends = [budgets[0] / 2, min(budgets[-1] * 2, 1)]
    axes.plot(ends, ends, color=MARK, linewidth=0.8, linestyle=":", label="as promised")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(*ends)
    axes.set_ylim(floor * 0.8, max([*seen, *budgets]) * 2)
    axes.set_xticks(budgets, [f"{budget * 100:g} %" for budget in budgets])
    axes.minorticks_off()
    ticks = [t for t in (1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0) if axes.get_ylim()[0] <= t]
    ticks = [t for t in ticks if t <= axes.get_ylim()[1]]
    labels = [f"{tick * 100:g} %" for tick in ticks]
    if any(row["seen"] <= floor for row in rows):
        ticks, labels = [floor, *ticks], ["none", *labels]
    axes.set_yticks(ticks, labels)
    axes.set_xlabel("promised: at most")
    axes.set_ylabel("seen")
    axes.legend(loc="upper left")
    return figure


def _reach(rows: Sequence[dict[str, Any]], floor: float) -> list[list[float]]:
    """Return how far the intervals reach below and above what was seen."""
    below, above = [], []
    for row in rows:
        at, ends = max(row["seen"], floor), row["seen_interval"]
        below.append(max(at - max(ends["low"], floor), 0))
        above.append(max(ends["high"] - at, 0))
    return [below, above]


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


_TICKS = np.array([1e-6, 1e-4, 0.01, 0.5, 0.99, 0.9999, 0.999999])


def draw_scores(evaluation: Evaluation, thresholds: Thresholds | None) -> Figure:
    """Return shares of pairs on a log axis, so that the few wrong ones beyond a line are seen."""
    calibrated = thresholds is not None
    centres, same, different = evaluation.score_histogram(10 if calibrated else 1)
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
        axes.set_xticks(clipped_log_odds(_TICKS), [f"{tick:g}" for tick in _TICKS], rotation=30)
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
    return [(float(clipped_log_odds(value)), label) for value, label in sorted(marks)]


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


def write_plots(
    evaluation: Evaluation,
    thresholds: Thresholds | None,
    fars: Sequence[float],
    folder: Path,
    history: list[dict[str, str]] | None = None,
) -> list[Path]:
    """Write PNG pictures to `folder` and return their paths.

    roc, det, scores and cmc; of a calibrated model calibration too; promise, where one was held
    against what was seen; loss, where `history`, the rows of a training, has epochs.
    """
    with style():
        figures: dict[str, Figure | None] = {
            "roc": draw_roc(evaluation, fars),
            "det": draw_det(evaluation),
            "scores": draw_scores(evaluation, thresholds),
            "cmc": draw_cmc(evaluation),
            "calibration": draw_reliability(evaluation) if thresholds else None,
            "promise": draw_promise(evaluation.figures.get("promise", [])),
            "loss": draw_training(history or []),
        }
        written = []
        for name, figure in figures.items():
            path = folder / f"{name}.png"
            if figure is not None:
                save(figure, path)
                written.append(path)
    return written


def write_promise_plot(promises: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write promise.png alone, where one of `promises` was held against what was seen."""
    with style():
        figure = draw_promise(promises)
        if figure is not None:
            save(figure, folder / "promise.png")
