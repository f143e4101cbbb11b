"""All pictures of an evaluation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.plots.canvas import save, style
from faceops.evaluation.plots.cmc import draw_cmc
from faceops.evaluation.plots.det import draw_det
from faceops.evaluation.plots.promise import draw_promise
from faceops.evaluation.plots.reliability import draw_reliability
from faceops.evaluation.plots.roc import draw_roc
from faceops.evaluation.plots.scores import draw_scores
from faceops.evaluation.plots.training import draw_training
from faceops.verification.thresholds import Thresholds


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
