"""Which calibration foretells pairs of people that it has not seen: chosen by log-loss."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.calibrators import isotonic, mean_loss, platt_of, temperature
from faceops.verification.pairs import (
    PairScores,
    codes,
    genuine_pairs,
    genuine_weights,
    impostor_blocks,
)
from faceops.verification.reliability import counted_reliability
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
        """Return the layer with this map behind it, its affine part in weight and bias."""
        weight = (layer.weight.astype(np.float64) * self.scale).astype(np.float32)
        bias = float(np.float32(layer.bias * self.scale + self.shift))
        return Verifier(weight, bias, layer.kind, self.calibration)


@dataclass(frozen=True)
class HeldOut:
    """What a method's probabilities were worth on the pairs of people held out."""

    log_loss: float  # nats a pair, both kinds of pairs weighing the same
    expected_error: float  # ECE, ten bins


@dataclass(frozen=True)
class Choice:
    """The method chosen, its map fitted on all pairs, and each method's worth, held out."""

    method: Method
    map: LogitMap
    held_out: dict[Method, HeldOut]  # empty where the people are too few to hold any out
    folds: int


def fit_map(table: ScoreTable, method: Method) -> LogitMap:
    """Fit one method to a table of raw logits; the map rises strictly."""
    if method == "temperature":
        return LogitMap(temperature(table), 0.0, Calibration(method))
    scale, shift = platt_of(table)
    scale = max(scale, 1e-3)  # where likeness says nothing, the ranking stays
    if method == "isotonic":
        scaled = ScoreTable(scale * table.score + shift, table.genuine, table.impostor)
        knots, log_odds = isotonic(scaled)
        if len(knots) > 1:
            return LogitMap(scale, shift, Calibration(method, knots, log_odds))
        shift += float(log_odds[0] - knots[0])
    return LogitMap(scale, shift, Calibration(method))


def held_out(table: FoldTable, method: Method) -> HeldOut:
    """Fit on the pairs of all folds but one, look at the pairs within that one; for each fold."""
    parts = []
    for fold in range(len(table.genuine)):
        unseen = table.within(fold)
        log_odds = fit_map(table.without(fold), method)(unseen.score)
        parts.append(np.stack([log_odds, unseen.genuine, unseen.impostor]))
    log_odds, genuine, impostor = np.concatenate(parts, axis=1)
    pooled = ScoreTable(log_odds, genuine, impostor)
    return HeldOut(
        mean_loss(pooled, log_odds),
        counted_reliability(sigmoid(log_odds), genuine, impostor).expected_error,
    )


def choose_calibration(
    logits: PairScores, persons: np.ndarray, *, method: Method | None = None, seed: int = 0
) -> Choice:
    """Fit `method`, or the one with the least held-out log-loss (the simplest of equals).

    `logits` are the raw ones of all pairs of `persons` (N,), by `all_pair_scores` with `seed`.
    The folds are of people: pairs within a fold are foretold from pairs among all others. Pairs
    of one person weigh so that people weigh alike (`genuine_weights`).
    """
    person = codes(persons)
    folds = min(FOLDS, int((np.bincount(person) > 1).sum()))
    fold = people_folds(person, max(folds, 1), seed)[person]
    table = by_folds(logits, person, fold, seed)
    worth: dict[Method, HeldOut] = {}
    if folds > 1 and all(_both(table.without(k)) and _both(table.within(k)) for k in range(folds)):
        worth = {name: held_out(table, name) for name in CHOICES}
    best: Method = min(worth, key=lambda name: round(worth[name].log_loss, 6), default="platt")
    chosen = method or best
    return Choice(chosen, fit_map(table.whole(), chosen), worth, folds if worth else 0)


def people_folds(person: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Return a fold int (P,) for each code of `person` (N,), dealt by falling number of photos.

    People with many photos make most of the pairs of one person, so each fold gets its share.
    """
    counts = np.bincount(person)
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(counts))
    order = shuffled[np.argsort(-counts[shuffled], kind="stable")]
    fold = np.empty(len(counts), np.int16)
    fold[order] = np.arange(len(counts)) % folds
    return fold


def by_folds(logits: PairScores, person: np.ndarray, fold: np.ndarray, seed: int) -> FoldTable:
    """Return the scores of all pairs by the folds (N,) of their two photos; people weigh alike."""
    folds = int(fold.max()) + 1
    own = fold[genuine_pairs(person)[:, 0]]
    parts = [np.zeros(0, np.int16)]
    for block in impostor_blocks(person, seed=seed):
        cell = fold[block.rows][:, None] * np.int16(folds) + fold[block.start :]
        parts.append(cell[block.new])
    cells = np.concatenate(parts)
    return fold_table(
        logits.genuine,
        logits.impostor,
        own * folds + own,
        cells,
        folds=folds,
        weights=genuine_weights(person),
    )


def _both(table: ScoreTable) -> bool:
    return bool(table.genuine.any() and table.impostor.any())
