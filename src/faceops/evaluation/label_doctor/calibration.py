"""Calibrate a verifier on photos with some wrong labels.

A mislabelled photo makes impostor pairs that are labelled genuine; a few of them flatten a logistic
fit badly. The share e of such pairs is fitted together with the line (class-conditional label
noise, Angluin & Laird 1988; for logistic regression Bootkrajang & Kaban 2012): if a pair's
likelihood ratio is exp(z), z = scale x + bias, then that of a pair labelled genuine is
(1 - e) exp(z) + e.
"""

from dataclasses import dataclass

import numpy as np

from faceops.verification.calibration import platt
from faceops.verification.pairs import ScoreTable, codes, score_pairs, score_table
from faceops.verification.verifier import Verifier

LEAST_PAIRS, LEAST_PEOPLE = 1000, 50  # of one name; fewer do not fit the tail
_A_PERSON = 50  # pairs at most, so that people with many photos do not dominate
_GENUINE, _IMPOSTOR = 200_000, 300_000


@dataclass(frozen=True)
class NoisyLabelCalibration:
    """The calibrated verifier, and the share of pairs of one name that show two people."""

    verifier: Verifier
    wrong_pairs: float


def calibrate_with_label_noise(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, seed: int = 0
) -> NoisyLabelCalibration | None:
    """Return the verifier with a new calibration, or None for too few pairs.

    `embeddings` float32 (N, D), L2-normalised; `persons` str (N,), labels, some of them wrong. The
    ranking of `verifier` is kept; `seed` draws pairs.
    """
    draw = np.random.default_rng(seed)
    person = codes(persons)
    raw = Verifier(verifier.weight, verifier.bias, verifier.kind)
    genuine, people = _pairs_of_one_name(person, draw)
    if len(genuine) < LEAST_PAIRS or people < LEAST_PEOPLE:
        return None
    impostor = draw.integers(0, len(person), (_IMPOSTOR, 2))
    impostor = impostor[person[impostor[:, 0]] != person[impostor[:, 1]]]
    one, two = (score_pairs(embeddings, part, raw, log_odds=True) for part in (genuine, impostor))
    table = score_table(one, two)
    scale, bias, share = fit_label_noise(table)
    weight = (verifier.weight.astype(np.float64) * scale).astype(np.float32)
    return NoisyLabelCalibration(
        Verifier(weight, verifier.bias * scale + bias, verifier.kind), share
    )


def fit_label_noise(table: ScoreTable) -> tuple[float, float, float]:
    """Return scale, bias and the share of wrong genuine pairs, by maximum likelihood."""
    from scipy.optimize import minimize

    one, two = table.weights
    centre = np.average(table.score, weights=one + two)
    spread = float(np.sqrt(np.average((table.score - centre) ** 2, weights=one + two))) or 1.0
    x = (table.score - centre) / spread
    scale, bias = platt(ScoreTable(x, table.genuine, table.impostor))

    def loss(guess: np.ndarray) -> float:
        z = np.exp(guess[0]) * x + guess[1]
        right, wrong = -np.logaddexp(0, guess[2]), -np.logaddexp(0, -guess[2])
        ratio = np.logaddexp(right + z, wrong)
        return float((one * np.logaddexp(0, -ratio) + two * np.logaddexp(0, ratio)).sum())

    starts = [
        [np.log(max(scale, 1e-3) * steeper), bias * steeper, share]
        for steeper in (1, 2, 4)
        for share in (-6.0, -3.0)
    ]
    limits = [(-7, 7), (-100, 100), (-12, -0.5)]
    fits = [minimize(loss, start, method="L-BFGS-B", bounds=limits) for start in starts]
    best = min(fits, key=lambda fit: float(fit.fun)).x
    scale = float(np.exp(best[0]))
    share = float(1 / (1 + np.exp(-best[2])))
    return scale / spread, float(best[1] - scale * centre / spread), share


def _pairs_of_one_name(person: np.ndarray, draw: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return pairs of rows int64 (M, 2), at most 50 per person, and the number of people."""
    order = np.argsort(person, kind="stable")
    ends = np.cumsum(np.bincount(person))
    several = [rows for rows in np.split(order, ends[:-1]) if len(rows) > 1]
    parts, count = [np.zeros((0, 2), np.int64)], 0
    for index in draw.permutation(len(several)):
        rows = several[index]
        if len(rows) * (len(rows) - 1) // 2 <= _A_PERSON:
            first, second = np.triu_indices(len(rows), 1)
        else:
            first = draw.integers(0, len(rows), _A_PERSON)
            second = (first + draw.integers(1, len(rows), _A_PERSON)) % len(rows)
        parts.append(np.stack([rows[first], rows[second]], axis=1))
        count += len(first)
        if count >= _GENUINE:
            break
    return np.concatenate(parts), len(parts) - 1
