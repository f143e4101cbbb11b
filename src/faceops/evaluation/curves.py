"""The curves of an evaluation as CSV tables, for DVC's plots."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from faceops.base.tables import write_csv
from faceops.evaluation.evaluate import Evaluation

CURVES = tuple(
    f"{name}.csv"
    for name in ("roc", "det", "scores", "cmc", "identification", "promise", "calibration")
)


def deviate(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviates float64 (N,) of `rates` between 0 and 1, both excluded."""
    from scipy.special import ndtri

    deviates: np.ndarray = ndtri(rates)
    return deviates


def write_curves(evaluation: Evaluation, folder: Path) -> None:
    """Write the CSV tables of `CURVES` to `folder`."""
    accepts, rejects = evaluation.error_rates
    ranks = np.arange(1, len(evaluation.cmc) + 1)
    bins = evaluation.reliability
    promises = [
        (row["gallery_faces"], row["budget"], row["seen"], *row["seen_interval"].values())
        for row in evaluation.figures["promise"]
        if row["seen"] is not None
    ]
    det = (accepts, rejects, deviate(accepts), deviate(rejects))
    det_header = ("false_accepts", "false_rejects", "false_accept_deviate", "false_reject_deviate")
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[float]]]] = {
        "roc": (("far", "tar"), _rows(*evaluation.roc)),
        "det": (det_header, _rows(*det)),
        "scores": (("bin", "same", "different"), _rows(*evaluation.score_histogram())),
        "cmc": (("rank", "rate"), _rows(ranks, evaluation.cmc)),
        "identification": (("fpr", "tpr", "identified"), _rows(*evaluation.identification)),
        "promise": (("gallery_faces", "promised", "seen", "low", "high"), promises),
        "calibration": (
            ("predicted", "observed", "pairs"),
            _rows(bins.predicted, bins.observed, bins.pairs),
        ),
    }
    for name, (header, rows) in tables.items():
        cells = ([f"{float(value):.7g}" for value in row] for row in rows)
        write_csv(folder / f"{name}.csv", header, cells)


def _rows(*columns: np.ndarray) -> Iterable[Sequence[float]]:
    return zip(*columns, strict=True)
