"""The share of strangers named: promised against seen, with intervals over people."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from faceops.evaluation.plots.canvas import MARK, SERIES, blank

_MARKERS = "osD^vP"


def draw_promise(promises: Sequence[dict[str, Any]]) -> Figure | None:
    """Return the promises of `faceops.evaluation.promise`, a colour a gallery size.

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
