"""The curves of an evaluation as CSV tables, for DVC's plots."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from faceops.base.tables import write_csv
from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.protocols.roc import HISTOGRAM_EDGES, LOG_ODDS_RANGE

CURVES = tuple(
    f"{name}.csv"
    for name in ("roc", "det", "scores", "cmc", "identification", "promise", "calibration")
)
_MERGED = 10  # bins of the scan in one of the histogram
_DET = ("false_accepts", "false_rejects", "false_accept_deviate", "false_reject_deviate")


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), float64, held within +-`LOG_ODDS_RANGE`."""
    inside = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.clip(np.log(inside) - np.log1p(-inside), -LOG_ODDS_RANGE, LOG_ODDS_RANGE)


def error_rates(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return (false accepts, false rejects) of the ROC, (P,); never below half a pair."""
    far, tar = evaluation.roc
    half = 0.5 / evaluation.pairs.roc.impostors, 0.5 / len(evaluation.pairs.roc.genuine)
    return np.clip(far, half[0], 1 - half[0]), np.clip(1 - tar, half[1], 1 - half[1])


def deviate(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviates float64 (N,) of `rates` between 0 and 1, both excluded."""
    inverse = NormalDist().inv_cdf
    return np.array([inverse(float(rate)) for rate in rates])


def score_histogram(
    evaluation: Evaluation, merged: int = _MERGED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (bin centres in log odds, counts of one person's pairs, of two people's), (B,).

    `merged` bins of the scan, 0.05 wide, make one.
    """
    edges = HISTOGRAM_EDGES[::merged]
    same, different = (
        counts.reshape(-1, merged).sum(1)
        for counts in (evaluation.pairs.same, evaluation.pairs.different)
    )
    return (edges[:-1] + edges[1:]) / 2, same, different


def write_curves(evaluation: Evaluation, folder: Path) -> None:
    """Write the CSV tables of `CURVES` to `folder`."""
    far, tar = evaluation.roc
    write_table(folder / "roc.csv", ("far", "tar"), zip(far, tar, strict=True))
    accepts, rejects = error_rates(evaluation)
    columns = (accepts, rejects, deviate(accepts), deviate(rejects))
    write_table(folder / "det.csv", _DET, zip(*columns, strict=True))
    centres, same, different = score_histogram(evaluation)
    rows = zip(centres, same.astype(float), different.astype(float), strict=True)
    write_table(folder / "scores.csv", ("bin", "same", "different"), rows)
    ranks = enumerate(evaluation.cmc, start=1)
    write_table(folder / "cmc.csv", ("rank", "rate"), ((float(n), rate) for n, rate in ranks))
    rates = zip(*evaluation.identification, strict=True)
    write_table(folder / "identification.csv", ("fpr", "tpr", "identified"), rates)
    held = [
        (float(row["gallery_faces"]), row["budget"], row["seen"], *row["seen_interval"].values())
        for row in evaluation.figures["promise"]
        if row["seen"] is not None
    ]
    write_table(folder / "promise.csv", ("gallery_faces", "promised", "seen", "low", "high"), held)
    bins = evaluation.reliability
    rows = zip(bins.predicted, bins.observed, bins.pairs, strict=True)
    write_table(folder / "calibration.csv", ("predicted", "observed", "pairs"), rows)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """Write a CSV file of numbers with seven significant digits."""
    write_csv(path, header, ([f"{value:.7g}" for value in row] for row in rows))
