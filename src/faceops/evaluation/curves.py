"""The curves of an evaluation as CSV tables, for DVC's plots."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from faceops.evaluation.evaluate import Evaluation
from faceops.evaluation.score_counts import HISTOGRAM_EDGES
from faceops.evaluation.score_counts import LOG_ODDS_RANGE as LOG_ODDS_RANGE

_MERGED = 10  # bins of the scan in one of the histogram


def log_odds(probability: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)), float64, held within +-`LOG_ODDS_RANGE`."""
    inside = np.clip(probability.astype(np.float64), 1e-12, 1 - 1e-12)
    return np.clip(np.log(inside) - np.log1p(-inside), -LOG_ODDS_RANGE, LOG_ODDS_RANGE)


def score_histogram(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (bin centres in log odds, counts of one person's pairs, of two people's), (B,)."""
    edges = HISTOGRAM_EDGES[::_MERGED]
    same, different = (
        counts.reshape(-1, _MERGED).sum(1)
        for counts in (evaluation.pairs.same, evaluation.pairs.different)
    )
    return (edges[:-1] + edges[1:]) / 2, same, different


def write_curves(evaluation: Evaluation, folder: Path) -> None:
    """Write roc.csv, scores.csv, cmc.csv, identification.csv and calibration.csv to `folder`."""
    far, tar = evaluation.roc
    write_table(folder / "roc.csv", ("far", "tar"), zip(far, tar, strict=True))
    centres, same, different = score_histogram(evaluation)
    rows = zip(centres, same.astype(float), different.astype(float), strict=True)
    write_table(folder / "scores.csv", ("bin", "same", "different"), rows)
    ranks = enumerate(evaluation.cmc, start=1)
    write_table(folder / "cmc.csv", ("rank", "rate"), ((float(n), rate) for n, rate in ranks))
    rates = zip(*evaluation.identification, strict=True)
    write_table(folder / "identification.csv", ("fpr", "tpr", "identified"), rates)
    bins = evaluation.reliability
    rows = zip(bins.predicted, bins.observed, bins.pairs, strict=True)
    write_table(folder / "calibration.csv", ("predicted", "observed", "pairs"), rows)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[float]]) -> None:
    """Write a CSV file of numbers with seven significant digits, replaced at once."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([f"{value:.7g}" for value in row] for row in rows)
    temporary.replace(path)
