"""False positive identification rate (FPIR): how often a stranger is identified as somebody.

FPIR(n, t) is the probability that a random stranger's photo, searched in a gallery of n random
other people with one photo each, scores t or more with any of them (ISO/IEC 19795-1). A random
stranger is a random person and then one of their photos, so people weigh the same.

No galleries are drawn. A probe that scores t or more with E of M other people meets none of them
in C(M - E, n) / C(M, n) of the galleries of n people, so the mean over probes is the exact
expectation over all galleries: an unbiased U-statistic (Hoeffding 1948), which does not assume
that pairs are independent, as 1 - (1 - FAR)^n does. Only the photo of each enrolled person is
drawn, a few times.

For a gallery N larger than the measured ones, 1 - (1 - f)^N is concave in N for every probe, so
FPIR(N, t) <= FPIR(n, t) N / n: a threshold that keeps b n / N in galleries of n keeps b in N.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceops.verification.bootstrap import interval_figures, resampled_people
from faceops.verification.pairs import codes, row_blocks
from faceops.verification.thresholds import smallest_fpir
from faceops.verification.verifier import Verifier, reaches

DRAWS = 3
REPEATS = 500
# Thresholds of the counts in log odds; float32 probabilities end at 16.6.
GRID = np.arange(-10.0, 16.61, 0.05).astype(np.float32)


@dataclass(frozen=True)
class StrangerCounts:
    """For each photo, the number of other people that it resembles at each threshold of `GRID`.

    `counts` uint16 or int32 (draws, N, T); `person` int (N,) codes of `people` P: each photo is
    compared with one photo of each of the P - 1 others.
    """

    counts: np.ndarray
    person: np.ndarray
    people: int

    def rates(self, gallery_people: int) -> np.ndarray:
        """Return FPIR, float64 (T,), falling with `GRID`, for galleries of `gallery_people`.

        Raises:
            ValueError: not 1 to P - 1 people.
        """
        others = self.people - 1
        if not 1 <= gallery_people <= others:
            raise ValueError(f"galleries of 1 to {others} people, not {gallery_people}")
        named = chance_named(np.arange(others + 1), others, gallery_people)
        weight = _photo_weights(self.person)
        by_threshold = np.moveaxis(self.counts, 2, 0)
        return np.array([(named[counts].mean(0) * weight).sum() for counts in by_threshold])


def chance_named(exceeding: np.ndarray, others: np.ndarray | int, gallery: int) -> np.ndarray:
    """Return 1 - C(M - E, n) / C(M, n), float64, for E `exceeding` of M `others`, n `gallery`."""
    from scipy.special import gammaln

    exceeding, others = np.broadcast_arrays(np.asarray(exceeding, float), np.asarray(others, float))
    left = others - exceeding
    sure = left < gallery
    safe = np.where(sure, gallery, left)
    log_none = (
        gammaln(safe + 1)
        - gammaln(safe - gallery + 1)
        - gammaln(others + 1)
        + gammaln(others - gallery + 1)
    )
    return np.where(sure, 1.0, np.where(exceeding == 0, 0.0, -np.expm1(np.minimum(log_none, 0))))


def count_strangers(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, *, draws: int = DRAWS,
    seed: int = 0,
) -> StrangerCounts:  # fmt: skip
    """Compare every photo with a random photo of every other person, `draws` times.

    `embeddings` float32 (N, D), `persons` (N,). Memory: draws x N x 533 counts.
    """
    person = codes(persons)
    people = int(person.max()) + 1
    kind = np.uint16 if people < 1 << 16 else np.int32
    bins = len(GRID) + 1
    counts = np.empty((draws, len(person), len(GRID)), kind)
    for draw, rows, scores in _scan(embeddings, person, verifier, draws, seed):
        reached = np.searchsorted(GRID, scores.ravel(), side="right").reshape(scores.shape)
        keys = np.arange(len(rows))[:, None] * bins + reached
        filled = np.bincount(keys.ravel(), minlength=len(rows) * bins).reshape(len(rows), bins)
        counts[draw, rows] = filled[:, ::-1].cumsum(1)[:, ::-1][:, 1:]
    return StrangerCounts(counts, person, people)


@dataclass(frozen=True)
class ImpostorComparisons:
    """Comparisons of strangers at or above a floor, (E,)."""

    probe: np.ndarray  # int: draw * N + photo
    other: np.ndarray  # int: code of the gallery person
    log_odds: np.ndarray  # float32
    person: np.ndarray  # int (N,)
    draws: int

    def rate(self, log_odds: float, gallery_people: int) -> float:
        """Return the FPIR at a threshold, which must not be below the floor."""
        return self._influences(log_odds, gallery_people)[0]

    def interval(
        self, log_odds: float, gallery_people: int, *, seed: int = 0, repeats: int = REPEATS
    ) -> dict[str, float]:
        """Return the 95 % interval of the FPIR at a fixed threshold.

        Bootstrap over people of the jackknife's pseudo-values (Tukey 1958), which hold the effect
        of each person as probe and as gallery face; their variance errs on the wide side (Efron &
        Stein 1981). Resampling people directly is biased: a person drawn twice is in the gallery
        twice but is one chance to be resembled. With no false positive the upper end is 3 / P.
        """
        rate, pseudo = self._influences(log_odds, gallery_people)
        if rate == 0:
            return {"low": 0.0, "high": smallest_fpir(len(pseudo))}
        resamples = resampled_people(len(pseudo), seed, repeats)
        means = np.array([(times * pseudo).sum() for times in resamples]) / len(pseudo)
        return interval_figures(means.clip(0, 1))

    def _influences(self, log_odds: float, gallery_people: int) -> tuple[float, np.ndarray]:
        """Return the FPIR and the pseudo-value P U - (P - 1) U(without i) of each person i, (P,).

        Without person i, every probe of others meets M - 1 people, one fewer of them exceeding
        where i did; so all P rates take one pass over the comparisons.
        """
        people = int(self.person.max()) + 1
        others = people - 1
        kept = reaches(self.log_odds, log_odds)
        probes, index = np.unique(self.probe[kept], return_inverse=True)
        photo = probes % len(self.person)
        weight = _photo_weights(self.person)[photo] / self.draws
        exceeding = np.bincount(index, minlength=len(probes))
        rate = float((weight * chance_named(exceeding, others, min(gallery_people, others))).sum())
        if others < 2:
            return rate, np.full(people, rate)
        gallery = min(gallery_people, others - 1)
        as_many = chance_named(np.minimum(exceeding, others - 1), others - 1, gallery)
        one_fewer = chance_named(exceeding - 1, others - 1, gallery)
        own = np.bincount(self.person[photo], weight * as_many, minlength=people)
        lost = weight * (as_many - one_fewer)
        enrolled = np.bincount(self.other[kept], lost[index], minlength=people)
        without = (own.sum() - own - enrolled) * people / others
        return rate, people * rate - others * without


def impostor_comparisons(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, floor: float, *,
    draws: int = DRAWS, seed: int = 0,
) -> ImpostorComparisons:  # fmt: skip
    """Return every comparison of `count_strangers` (same seed, same draws) at `floor` or above."""
    person = codes(persons)
    found = []
    for draw, rows, scores in _scan(embeddings, person, verifier, draws, seed):
        row, other = np.nonzero(reaches(scores, floor))
        found.append((draw * len(person) + rows[row], other, scores[row, other]))
    probe, other, log_odds = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorComparisons(probe, other, log_odds, person, draws)


def _photo_weights(person: np.ndarray) -> np.ndarray:
    """Return weights (N,) of the photos, sum 1: people weigh the same, then their photos."""
    photos = np.bincount(person)
    return 1 / (photos[person] * len(photos))


def _scan(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, draws: int, seed: int
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (draw, rows of a block, log odds float32 (rows, P)); a person's own column is -inf."""
    people = int(person.max()) + 1
    random = np.random.default_rng(seed)
    for draw in range(draws):
        order = random.permutation(len(person))
        gallery = order[np.unique(person[order], return_index=True)[1]]  # one photo a person
        for block in row_blocks(len(person), people):
            rows = np.arange(len(person))[block]
            scores = verifier.logit_matrix(embeddings[rows], embeddings[gallery])
            scores[np.arange(len(rows)), person[rows]] = -np.inf
            yield draw, rows, scores
