"""Cumulative match characteristic: is the right person among the first ranks?"""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import SAME, blank


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
