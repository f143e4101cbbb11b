"""Pairs of photos: genuine (of one person) and impostor (of two people), and their scores.

The false accept rate is the share of impostor pairs that reach a threshold. A score table counts
millions of pairs by score in little memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.verification.verifier import Verifier

_POOL = 2000
LIMIT = 30_000_000
BLOCK = 1 << 21  # scores at a time: 8 MB of float32
_CHUNK = 1 << 15  # pairs at a time: 16 MB of 128 floats a side


def codes(persons: np.ndarray) -> np.ndarray:
    """Return int64 codes (N,) of `persons` (N,): equal where the person is equal."""
    return np.unique(np.asarray(persons).astype(str), return_inverse=True)[1].astype(np.int64)


def genuine_pairs(persons: np.ndarray) -> np.ndarray:
    """Return all genuine pairs of rows, int64 (N, 2), first < second, sorted."""
    person = codes(persons)
    order = np.argsort(person, kind="stable")
    parts = []
    for rows in np.split(order, np.cumsum(np.bincount(person))[:-1]):
        i, j = np.triu_indices(len(rows), 1)
        parts.append(np.stack([rows[i], rows[j]], 1))
    pairs = np.concatenate(parts)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def genuine_weights(persons: np.ndarray) -> np.ndarray:
    """Return a weight float64 (N,) for each of `genuine_pairs`: those of a person sum to 1.

    Their number grows with the square of the photos: unweighted, one person with 500 photos
    outweighs a thousand with ten.
    """
    person = codes(persons)
    photos = np.bincount(person)[person[genuine_pairs(persons)[:, 0]]]
    return 2 / (photos * (photos - 1))


@dataclass(frozen=True)
class BalancedPairs:
    """Rows `first`, `second` int64 (N,) of an embedding table; `same` bool (N,)."""

    first: np.ndarray
    second: np.ndarray
    same: np.ndarray


def balanced_pairs(
    persons: np.ndarray, count: int, seed: int, embeddings: np.ndarray | None = None,
    hard_negative_share: float = 0.0,
) -> BalancedPairs:  # fmt: skip
    """Return up to `count` pairs, half of them genuine, drawn without repeats.

    There are fewer when there are fewer genuine pairs. Genuine pairs are drawn one per person in
    turn. A share `hard_negative_share` of the impostor pairs is hard: a random photo with the
    nearest of another person in a random pool of 2,000, by `embeddings` float32 (N, D).

    Raises FaceOpsError: nobody has two photos, or there is only one person.
    """
    person = codes(persons)
    draw = np.random.default_rng(seed)
    genuine = genuine_pairs(persons)
    if len(genuine) == 0 or len(np.unique(person)) < 2:
        raise FaceOpsError(
            "pairs need two people or more, and one with two photos or more; give more photos "
            "or a larger share of people to this split."
        )
    genuine = genuine[_in_turn(person[genuine[:, 0]], draw)[: count // 2]]
    wanted = len(genuine)
    hard = np.zeros((0, 2), np.int64)
    if embeddings is not None and hard_negative_share > 0:
        hard = _hard_pairs(person, embeddings, round(wanted * hard_negative_share), draw)
    impostor = _random_impostors(person, wanted, draw, taken=hard)
    both = np.concatenate([genuine, impostor])
    same = np.arange(len(both)) < wanted
    return BalancedPairs(both[:, 0], both[:, 1], same)


def _in_turn(person: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return an order of the pairs: each person's first, then each person's second, ..."""
    shuffled = draw.permutation(len(person))
    by_person = shuffled[np.argsort(person[shuffled], kind="stable")]
    counts = np.bincount(person[by_person])
    counts = counts[counts > 0]
    turn = np.concatenate([np.arange(count) for count in counts])
    return by_person[np.lexsort((draw.random(len(turn)), turn))]


def _random_impostors(
    person: np.ndarray, count: int, draw: np.random.Generator, taken: np.ndarray
) -> np.ndarray:
    size = len(person)
    possible = math.comb(size, 2) - sum(math.comb(n, 2) for n in np.bincount(person).tolist())
    wanted = min(count, possible)
    found = taken[:wanted, 0] * size + taken[:wanted, 1]
    while len(found) < wanted:
        pair = np.sort(draw.integers(0, size, (2 * (wanted - len(found)) + 16, 2)), axis=1)
        pair = pair[person[pair[:, 0]] != person[pair[:, 1]]]
        merged = np.concatenate([found, pair[:, 0] * size + pair[:, 1]])
        kept = np.sort(np.unique(merged, return_index=True)[1])
        found = merged[kept][:wanted]
    return np.stack([found // size, found % size], 1)


def _hard_pairs(
    person: np.ndarray, embeddings: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    anchors = draw.permutation(len(person))[:count]
    parts = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(anchors), _POOL):
        rows = anchors[start : start + _POOL]
        pool = draw.permutation(len(person))[:_POOL]
        similarity = embeddings[rows] @ embeddings[pool].T
        similarity[person[rows][:, None] == person[pool][None]] = -np.inf
        nearest = similarity.argmax(1)
        found = similarity[np.arange(len(rows)), nearest] > -np.inf
        parts.append(np.sort(np.stack([rows, pool[nearest]], 1)[found], axis=1))
    return np.unique(np.concatenate(parts), axis=0)


def row_blocks(rows: int, columns: int) -> list[slice]:
    """Return slices that together hold `rows` rows, each at most `BLOCK` scores of `columns`."""
    step = max(1, BLOCK // max(columns, 1))
    return [slice(at, min(at + step, rows)) for at in range(0, rows, step)]


@dataclass(frozen=True)
class ImpostorBlock:
    """Rows int (B,) of a table, each with the rows from `start` on.

    `new` bool (B, N - start) marks the impostor pairs that no earlier block has.
    """

    rows: np.ndarray
    start: int
    new: np.ndarray


def impostor_blocks(
    person: np.ndarray, *, limit: int | None = LIMIT, seed: int = 0
) -> Iterator[ImpostorBlock]:
    """Yield blocks that together hold each impostor pair of rows with `person` (N,) codes once.

    The pairs are in the order of rows, then columns. Beyond `limit` pairs (None: no limit), a
    seeded sample of the rows is paired with all rows instead.
    """
    size = len(person)
    rows = np.arange(size)
    sampled = limit is not None and math.comb(size, 2) > limit
    if limit is not None and sampled:
        rows = np.sort(np.random.default_rng(seed).permutation(size)[: max(1, limit // size)])
    at = 0
    while at < len(rows):
        start = 0 if sampled else at
        block = rows[at : at + max(1, BLOCK // (size - start))]
        at += len(block)
        new = person[block][:, None] != person[start:]
        paired = rows if sampled else block  # also rows themselves: each pair of them comes once
        new[:, paired - start] &= paired > block[:, None]
        yield ImpostorBlock(block, start, new)


def impostors_at(
    positions: np.ndarray, person: np.ndarray, *, limit: int = LIMIT, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (first, second), int (P,), of the pairs at `positions` of the scan.

    `positions` int (P,), rising, count the pairs of `impostor_blocks` from 0.
    """
    parts = [(np.zeros(0, int), np.zeros(0, int))]
    seen = 0
    for block in impostor_blocks(person, limit=limit, seed=seed):
        count = int(block.new.sum())
        here = positions[(positions >= seen) & (positions < seen + count)] - seen
        if len(here):
            flat = np.flatnonzero(block.new)[here]
            row, column = np.divmod(flat, block.new.shape[1])
            parts.append((block.rows[row], block.start + column))
        seen += count
    first, second = (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second


def score_pairs(
    embeddings: np.ndarray, pairs: np.ndarray, verifier: Verifier, *, log_odds: bool = False
) -> np.ndarray:
    """Return the probabilities float32 (P,), or the `log_odds`, of the row pairs int (P, 2)."""
    score = verifier.logit if log_odds else verifier.probability
    scores = np.empty(len(pairs), np.float32)
    for at in range(0, len(pairs), _CHUNK):
        first, second = pairs[at : at + _CHUNK].T
        scores[at : at + _CHUNK] = score(embeddings[first], embeddings[second])
    return scores


@dataclass(frozen=True)
class PairScores:
    """Scores of genuine pairs, float32 (N,), and of impostor pairs, float32 (M,)."""

    genuine: np.ndarray
    impostor: np.ndarray


def all_pair_scores(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, *, log_odds: bool = False,
    limit: int = LIMIT, seed: int = 0,
) -> PairScores:  # fmt: skip
    """Score every pair of rows by `verifier`: probabilities, or their `log_odds`.

    `embeddings` float32 (N, D), `persons` (N,). Genuine pairs are in the order of `genuine_pairs`
    and always complete, impostor pairs are those of `impostor_blocks`. Memory: eight bytes per
    pair, and 50 MB.
    """
    person = codes(persons)
    by_matrix = verifier.logit_matrix if log_odds else verifier.probability_matrix
    genuine = score_pairs(embeddings, genuine_pairs(persons), verifier, log_odds=log_odds)
    impostor = [np.zeros(0, np.float32)]
    for block in impostor_blocks(person, limit=limit, seed=seed):
        scores = by_matrix(embeddings[block.rows], embeddings[block.start :])
        impostor.append(scores[block.new])
    return PairScores(genuine, np.concatenate(impostor))


SCORE_BINS = 1 << 15
_PART = 1 << 22  # scores counted at a time


@dataclass(frozen=True)
class ScoreTable:
    """Pairs by rising score; all arrays are float64 (S,)."""

    score: np.ndarray
    genuine: np.ndarray  # number of genuine pairs, or their weight
    impostor: np.ndarray

    @property
    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares (S,), (S,) of genuine and of impostor pairs; each kind sums to one half."""
        return (
            0.5 * self.genuine / max(self.genuine.sum(), 1),
            0.5 * self.impostor / max(self.impostor.sum(), 1),
        )

    def filled(self) -> "ScoreTable":
        """Return the table without scores that no pair has."""
        kept = self.genuine + self.impostor > 0
        return ScoreTable(self.score[kept], self.genuine[kept], self.impostor[kept])


@dataclass(frozen=True)
class FoldTable:
    """A score table per pair of folds: counts float64 (K, K, S) of people in i with people in j."""

    score: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    def whole(self) -> ScoreTable:
        return ScoreTable(self.score, self.genuine.sum((0, 1)), self.impostor.sum((0, 1))).filled()

    def within(self, fold: int) -> ScoreTable:
        return ScoreTable(self.score, self.genuine[fold, fold], self.impostor[fold, fold]).filled()

    def without(self, fold: int) -> ScoreTable:
        rest = np.arange(len(self.genuine)) != fold
        one, two = (part[rest][:, rest].sum((0, 1)) for part in (self.genuine, self.impostor))
        return ScoreTable(self.score, one, two).filled()


def score_table(
    genuine: np.ndarray, impostor: np.ndarray, bins: int = SCORE_BINS, *,
    weights: np.ndarray | None = None,
) -> ScoreTable:  # fmt: skip
    """Return the table of scores of genuine pairs (N,) and impostor pairs (M,).

    Exact up to `bins` pairs; beyond, the range is cut evenly into `bins`, each with the mean of
    its scores. `weights` float (N,) of the genuine pairs, else 1.
    """
    cells = np.zeros(len(genuine), np.int16), np.zeros(len(impostor), np.int16)
    return fold_table(PairScores(genuine, impostor), cells, 1, bins, weights=weights).whole()


def fold_table(
    scores: PairScores, cells: tuple[np.ndarray, np.ndarray], folds: int, bins: int = SCORE_BINS, *,
    weights: np.ndarray | None = None,
) -> FoldTable:  # fmt: skip
    """Return the table of `scores` by the folds of the two people of each pair.

    `cells`, (N,) of the genuine and (M,) of the impostor pairs, are i x `folds` + j. For `bins`
    and `weights` see `score_table`.
    """
    parts = (scores.genuine, scores.impostor)
    exact = None
    if len(scores.genuine) + len(scores.impostor) <= bins:
        exact = np.unique(np.concatenate(parts))
        bins = len(exact)
    filled = [part for part in parts if len(part)]
    low = min((float(part.min()) for part in filled), default=0.0)
    high = max((float(part.max()) for part in filled), default=0.0)
    width = (high - low) / max(bins, 1) or 1.0

    def bin_of(part: np.ndarray) -> np.ndarray:
        if exact is not None:
            return np.searchsorted(exact, part)
        return np.minimum(((part.astype(np.float64) - low) / width).astype(np.int64), bins - 1)

    sums, totals, counts = np.zeros(bins), np.zeros(bins), []
    for part, cell, weight in zip(parts, cells, (weights, None), strict=True):
        count = np.zeros(folds * folds * bins)
        for at in range(0, len(part), _PART):
            chunk = slice(at, at + _PART)
            place = bin_of(part[chunk])
            sums += np.bincount(place, part[chunk], bins)
            totals += np.bincount(place, minlength=bins)
            key = cell[chunk].astype(np.int64) * bins + place
            count += np.bincount(key, None if weight is None else weight[chunk], len(count))
        counts.append(count.reshape(folds, folds, bins))
    mean = np.divide(sums, totals, out=np.zeros(bins), where=totals > 0)
    return FoldTable(mean, *counts)
