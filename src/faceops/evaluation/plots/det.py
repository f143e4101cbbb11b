"""Detection error trade-off: both error rates on normal-deviate axes (Martin et al. 1997).

Scores that are normally distributed in both kinds of pairs give a straight line.
"""

import numpy as np
from matplotlib.figure import Figure

from faceops.evaluation.curves import deviate, error_rates
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import FAINT, SAME, blank

TICKS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


def draw_det(evaluation: Evaluation) -> Figure:
    """Return false rejects against false accepts; no rate is drawn below half a pair."""
    accepts, rejects = error_rates(evaluation)
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
