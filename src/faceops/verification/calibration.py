"""Calibration: Platt scaling, temperature scaling, isotonic regression, and the choice of one.

Each is fitted to a table of scores in which genuine pairs together weigh as much as impostor
pairs, so probabilities hold where half of the pairs are genuine. The method with the lowest
cross-validated log loss over people is chosen. `Reliability` shows how good probabilities are:
predicted against observed share of genuine pairs, by bin of probability.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from faceops.verification.pairs import (
    FoldTable,
    PairScores,
    ScoreTable,
    codes,
    fold_table,
    genuine_pairs,
    genuine_weights,
    impostor_blocks,
)
from faceops.verification.verifier import Calibration, Method, Verifier, sigmoid

# A steeper map would amplify the rounding of a float32 logit beyond 1e-5 in probability.
MAX_SLOPE = 4.0
MIN_STEP = 1e-3
SCALES = (1e-3, 1e3)  # of a temperature


def mean_loss(table: ScoreTable, logit: np.ndarray, high: float = 1, low: float = 0) -> float:
    """Return the log loss, in nats, of `logit` (S,) for the targets `high` and `low`."""
    one, two = table.weights
    softplus = np.logaddexp(0, logit)
    return float((one * (softplus - high * logit) + two * (softplus - low * logit)).sum())


def _targets(table: ScoreTable) -> tuple[float, float]:
    """Return Platt's targets of genuine and impostor pairs, near 1 and 0."""
    return (table.genuine.sum() + 1) / (table.genuine.sum() + 2), 1 / (table.impostor.sum() + 2)


def platt(table: ScoreTable) -> tuple[float, float]:
    """Return (scale, bias) so that sigmoid(scale * score + bias) is a probability (Platt 1999).

    His targets keep the result finite for separable scores. Newton's method on the two
    parameters, with a line search; the scores are standardised first.
    """
    pairs = table.genuine + table.impostor
    centre = np.average(table.score, weights=pairs)
    spread = float(np.sqrt(np.average((table.score - centre) ** 2, weights=pairs))) or 1.0
    x = (table.score - centre) / spread
    one, two = table.weights
    high, low = _targets(table)
    features = np.stack([x, np.ones_like(x)])
    values = np.array([1.0, 0.0])

    def loss(values: np.ndarray) -> float:
        return mean_loss(table, values @ features, high, low)

    for _ in range(100):
        p = 0.5 * (1 + np.tanh((values @ features) / 2))
        gradient = features @ (one * (p - high) + two * (p - low))
        hessian = (features * ((one + two) * p * (1 - p))) @ features.T
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        size, before = 1.0, loss(values)
        while size > 1e-6 and loss(values - size * step) > before:
            size /= 2
        values = values - size * step
        if np.abs(step).max() * size < 1e-10:
            break
    scale, bias = values
    return float(scale / spread), float(bias - scale * centre / spread)


def temperature(table: ScoreTable) -> float:
    """Return 1 / T so that sigmoid(logit / T) has the least log loss (Guo et al. 2017).

    The bias stays that of the layer fitted to training people. Targets are Platt's, the result is
    within `SCALES`.
    """
    one, two = table.weights
    high, low = _targets(table)
    lowest, highest = np.log(SCALES)
    for _ in range(60):  # the loss is convex in the scale: bisect its slope
        middle = (lowest + highest) / 2
        p = 0.5 * (1 + np.tanh(np.exp(middle) * table.score / 2))
        slope = float(((one * (p - high) + two * (p - low)) * table.score).sum())
        lowest, highest = (lowest, middle) if slope > 0 else (middle, highest)
    return float(np.exp((lowest + highest) / 2))


class IsotonicBlock(NamedTuple):
    """A stretch of logits over which the share of genuine pairs does not rise."""

    centre: float  # mean logit
    genuine: float  # weight, with the added pair
    impostor: float
    weight: float  # of all pairs, without those added

    @property
    def log_odds(self) -> float:
        """Of a genuine pair, for equal priors."""
        return float(np.log(self.genuine / self.impostor))

    def too_steep(self, right: "IsotonicBlock") -> bool:
        """Whether the map from here to the next block is flat, or steeper than `MAX_SLOPE`."""
        run, rise = right.centre - self.centre, right.log_odds - self.log_odds
        return run < MIN_STEP or rise < MIN_STEP or rise > MAX_SLOPE * run

    def merged(self, b: "IsotonicBlock") -> "IsotonicBlock":
        weight = self.weight + b.weight
        centre = (self.centre * self.weight + b.centre * b.weight) / weight
        return IsotonicBlock(centre, self.genuine + b.genuine, self.impostor + b.impostor, weight)


def isotonic(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Return (knots, log odds), float32 (K,), strictly rising, for a table of logits.

    Centred isotonic regression (Oron & Flournoy 2017): each block of adjacent violators (Ayer et
    al. 1955) gives one knot at its mean logit, and log odds are interpolated between knots, so no
    two logits become equal. Blocks closer than `MAX_SLOPE` allows are merged. One more genuine pair
    at the lowest logit, and one more impostor pair at the highest, keep the probabilities from 0
    and 1. K may be 1.
    """
    from scipy.optimize import isotonic_regression

    genuine, impostor = table.genuine.copy(), table.impostor.copy()
    genuine[0] += 1
    impostor[-1] += 1
    one, two = 0.5 * genuine / genuine.sum(), 0.5 * impostor / impostor.sum()
    starts = isotonic_regression(one / (one + two), weights=one + two).blocks[:-1]
    seen = sum(table.weights)
    columns = [np.add.reduceat(part, starts) for part in (seen * table.score, one, two, seen)]
    kept: list[IsotonicBlock] = []
    for total, same, different, weight in zip(*columns, strict=True):
        kept.append(IsotonicBlock(total / weight, same, different, weight))
        while len(kept) > 1 and kept[-2].too_steep(kept[-1]):
            kept.append(kept.pop().merged(kept.pop()))
    knots = np.array([block.centre for block in kept])
    log_odds = np.array([block.log_odds for block in kept])
    return knots.astype(np.float32), log_odds.astype(np.float32)


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
    scale = max(scale, 1e-3)  # keeps the ranking where scores are uninformative
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

    `logits` are the raw ones of all pairs of `persons` (N,), by `all_pair_scores` with `seed`. A
    method is fitted on the pairs among the people outside a fold and scored on the pairs within it.
    Genuine pairs are weighted so that people weigh the same.
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
    # The table has weights of pairs, so only the weighted sums have a meaning.
    sums = [bin_sums(sigmoid(log_odds), counts)[[1, 1, 1, 3]] for counts in (genuine, impostor)]
    loss = mean_loss(ScoreTable(log_odds, genuine, impostor), log_odds)
    return CrossValidation(loss, reliability_of(*sums).expected_error)


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


BINS = 10  # of probability
_PART = 1 << 22  # probabilities counted at a time


@dataclass(frozen=True)
class Reliability:
    """Per bin of probability, float (B,); genuine and impostor pairs together weigh the same."""

    pairs: np.ndarray
    weight: np.ndarray
    effective: np.ndarray  # effective sample size (Kish 1965)
    predicted: np.ndarray  # weighted mean probability
    observed: np.ndarray  # weighted share of genuine pairs

    @property
    def expected_error(self) -> float:
        """Mean |observed - predicted|, weighted (expected calibration error, Guo et al. 2017)."""
        gaps = np.abs(self.observed - self.predicted)
        return float((gaps * self.weight).sum() / self.weight.sum())


def reliability_of(genuine: np.ndarray, impostor: np.ndarray) -> Reliability:
    """Return the reliability from the `bin_sums` of both kinds of pairs, without empty bins."""
    filled = genuine[0] + impostor[0] > 0
    each = [0.5 / (part[1].sum() or 1.0) for part in (genuine, impostor)]
    same, other = genuine[:, filled] * each[0], impostor[:, filled] * each[1]
    weight = same[1] + other[1]
    return Reliability(
        pairs=(genuine[0] + impostor[0])[filled],
        weight=weight,
        effective=weight**2 / (same[2] * each[0] + other[2] * each[1]),
        predicted=(same[3] + other[3]) / weight,
        observed=same[1] / weight,
    )


def bin_sums(probability: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return float64 (4, BINS), sums over each bin of 0..1: 1, w, w^2, w * probability.

    `probability` (S,), `weights` (S,) or None for 1.
    """
    sums = np.zeros((4, BINS))
    for at in range(0, len(probability), _PART):
        part = probability[at : at + _PART].astype(np.float64)
        index = np.minimum((part * BINS).astype(int), BINS - 1)
        weight = np.ones(len(part)) if weights is None else weights[at : at + _PART]
        for row, values in enumerate((np.ones(len(part)), weight, weight**2, weight * part)):
            sums[row] += np.bincount(index, values, BINS)
    return sums
