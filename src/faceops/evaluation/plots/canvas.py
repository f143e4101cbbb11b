"""One look for all pictures, legible on paper and on a phone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from faceops.base.files import atomic_path

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
