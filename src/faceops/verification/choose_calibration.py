"""Choose the calibration method by cross-validated log loss over people."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.calibrators import isotonic, mean_loss, platt, temperature
from faceops.verification.pairs import (
    PairScores,
    codes,
    genuine_pairs,
    genuine_weights,
    impostor_blocks,
)
from faceops.verification.reliability import reliability_of_counts
from faceops.verification.score_table import FoldTable, ScoreTable, fold_table
from faceops.verification.verifier import Calibration, Method, Verifier, sigmoid

CHOICES: tuple[Method, ...] = ("platt", "temperature", "isotonic")  # the simplest first
FOLDS = 5
_CHUNK = 1 << 20


@dataclass(frozen=True)
class LogitMap:
    """From a layer's raw logit to calibrated log odds: calibration(scale * raw + shift)."""

    scale: float
    shift: float
    calibration: Calibration

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return the log odds float32 of raw logits, float of any shape."""
        return self.calibration((self.scale * raw + self.shift).astype(np.float32))

    def probability(self, raw: np.ndarray) -> np.ndarray:
        """Return the probabilities float32 (N,) of raw logits float32 (N,), with little memory."""
        result = np.empty(len(raw), np.float32)
        for at in range(0, len(raw), _CHUNK):
            result[at : at + _CHUNK] = sigmoid(self(raw[at : at + _CHUNK]))
        return result

    def of(self, layer: Verifier) -> Verifier:
        """Return `layer` followed by this map, whose affine part goes into weight and bias."""
        weight = (layer.weight.astype(np.float64) * self.scale).astype(np.float32)
        bias = float(np.float32(layer.bias * self.scale + self.shift))
        return Verifier(weight, bias, layer.kind, self.calibration)


def fit_map(table: ScoreTable, method: Method) -> LogitMap:
    """Fit `method` to a table of raw logits; the map rises strictly."""
    if method == "temperature":
        return LogitMap(temperature(table), 0.0, Calibration(method))
    scale, shift = platt(table)
    scale = max(scale, 1e-3)  # keeps the ranking where scores say nothing
    if method == "isotonic":
        scaled = ScoreTable(scale * table.score + shift, table.genuine, table.impostor)
        knots, log_odds = isotonic(scaled)
        if len(knots) > 1:
            return LogitMap(scale, shift, Calibration(method, knots, log_odds))
        shift += float(log_odds[0] - knots[0])
    return LogitMap(scale, shift, Calibration(method))


@dataclass(frozen=True)
class CrossValidation:
    """How good a method's probabilities are on the pairs of held-out people."""

    log_loss: float  # nats per pair; genuine and impostor pairs weigh the same
    expected_error: float  # expected calibration error, ten bins


@dataclass(frozen=True)
class ChosenCalibration:
    """The method, its map fitted on all pairs, and the cross-validation of each method."""

    method: Method
    map: LogitMap
    held_out: dict[Method, CrossValidation]  # empty with too few people for folds
    folds: int


def choose_calibration(
    logits: PairScores, persons: np.ndarray, *, method: Method | None = None, seed: int = 0
) -> ChosenCalibration:
    """Fit `method`, or the one with the lowest cross-validated log loss (the simplest of equals).

    `logits` are the raw ones of all pairs of `persons` (N,), by `all_pair_scores` with `seed`.
    Folds are of people: a method is fitted on the pairs among the people outside a fold and scored
    on the pairs within it. Genuine pairs are weighted so that people weigh the same.
    """
    person = codes(persons)
    folds = min(FOLDS, int((np.bincount(person) > 1).sum()))
    fold = people_folds(person, max(folds, 1), seed)[person]
    table = pairs_by_fold(logits, person, fold, seed)
    parts = [part for k in range(folds) for part in (table.without(k), table.within(k))]
    held_out: dict[Method, CrossValidation] = {}
    if folds > 1 and all(part.genuine.any() and part.impostor.any() for part in parts):
        held_out = {name: cross_validate(table, name) for name in CHOICES}
    losses = {name: round(result.log_loss, 6) for name, result in held_out.items()}
    best: Method = min(losses, key=losses.__getitem__, default="platt")
    chosen = method or best
    fitted = fit_map(table.whole(), chosen)
    return ChosenCalibration(chosen, fitted, held_out, folds if held_out else 0)


def cross_validate(table: FoldTable, method: Method) -> CrossValidation:
    """Fit on the pairs outside each fold, score the pairs within it; all folds together."""
    parts = []
    for fold in range(len(table.genuine)):
        inside = table.within(fold)
        log_odds = fit_map(table.without(fold), method)(inside.score)
        parts.append(np.stack([log_odds, inside.genuine, inside.impostor]))
    log_odds, genuine, impostor = np.concatenate(parts, axis=1)
    return CrossValidation(
        mean_loss(ScoreTable(log_odds, genuine, impostor), log_odds),
        reliability_of_counts(sigmoid(log_odds), genuine, impostor).expected_error,
    )


def people_folds(person: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return the fold int (P,) of each code of `person` (N,), assigned by falling photo count.

    People with many photos make most of the genuine pairs, so each fold gets its share of them.
    """
    counts = np.bincount(person)
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    fold = np.empty(len(counts), np.int16)
    fold[order] = np.arange(len(counts)) % folds
    return fold


def pairs_by_fold(logits: PairScores, person: np.ndarray, fold: np.ndarray, seed: int) -> FoldTable:
    """Return the scores of all pairs by the folds int16 (N,) of their two photos."""
    folds = int(fold.max()) + 1
    own = fold[genuine_pairs(person)[:, 0]]
    cells = [np.zeros(0, np.int16)]
    for block in impostor_blocks(person, seed=seed):
        cell = fold[block.rows][:, None] * np.int16(folds) + fold[block.start :]
        cells.append(cell[block.new])
    cell_of_pair = (own * folds + own, np.concatenate(cells))
    return fold_table(logits, cell_of_pair, folds, weights=genuine_weights(person))
