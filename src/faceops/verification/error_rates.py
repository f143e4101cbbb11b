"""Error rates with intervals over people: TAR, FAR, and the false positive identification rate.

Percentile bootstrap over people (Efron 1979): photos of one person are not independent. A pair of
one person counts as often as the person was drawn, a pair of two people as often as the product
says (pigeonhole bootstrap, Owen 2007); a person drawn twice makes no pair of two with themselves.

FPIR(n, t) is the probability that a random stranger's photo, searched in a gallery of n random
other people with one photo each, scores t or more with any of them (ISO/IEC 19795-1). A random
stranger is a random person and then one of their photos, so people weigh the same.

No galleries are drawn. A probe that scores t or more with E of M other people meets none of them in
C(M - E, n) / C(M, n) of the galleries of n people, so the mean over probes is the exact expectation
over all galleries: an unbiased U-statistic (Hoeffding 1948), which does not assume that pairs are
independent, as 1 - (1 - FAR)^n does. Only the photo of each enrolled person is drawn, a few times.
Beyond the measured sizes see `thresholds`: 1 - (1 - f)^N is concave in N for every probe, so
FPIR(N, t) <= FPIR(n, t) N / n.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import codes, impostor_blocks, row_blocks
from faceops.verification.thresholds import smallest_fpir
from faceops.verification.verifier import Verifier, reaches

REPEATS = 1000
_RATE_REPEATS = 500  # of the false accept rate and of the FPIR


def resampled_people(
    people: int, seed: int, repeats: int = REPEATS,
    accept: Callable[[np.ndarray], bool | np.bool_] | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Yield `repeats` resamples, float64 (people,): how often each person was drawn.

    A resample that `accept` refuses is drawn again. One seed gives the same resamples, so figures
    of two models may be subtracted resample by resample: a paired difference.
    """
    random = np.random.default_rng(seed)
    for _ in range(repeats):
        while True:
            drawn = np.bincount(random.integers(0, people, people), minlength=people).astype(float)
            if accept is None or accept(drawn):
                break
        yield drawn


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return (low, high) of resampled `values` (R,), two-sided; NaN without any."""
    if len(values) == 0:
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high


def interval_figures(values: np.ndarray) -> dict[str, float]:
    """Return the 95 % interval of resampled `values` (R,) as {"low", "high"}."""
    return dict(zip(("low", "high"), percentile_interval(values), strict=True))


def resampled_pair_shares(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> np.ndarray:
    """Return the mean of `hits` (N,) of pairs in each resample, float64 (R,); empty without rows.

    `first`, `second` int (N,) name the people of each pair.
    """
    if len(hits) == 0:
        return np.zeros(0)
    people, index = np.unique(np.stack([first, second]), return_inverse=True)
    keys = np.sort(index.reshape(2, -1), axis=0)
    key, place = np.unique(keys[0] * len(people) + keys[1], return_inverse=True)
    sums, counts = np.bincount(place, hits.astype(float)), np.bincount(place)
    one, two = np.divmod(key, len(people))

    def weights(times: np.ndarray) -> np.ndarray:
        return times[one] * np.where(one != two, times[two], 1.0)

    resamples = resampled_people(len(people), seed, repeats, lambda times: weights(times).any())
    drawn = map(weights, resamples)
    return np.array([(weight * sums).sum() / (weight * counts).sum() for weight in drawn])


def pairs_interval(
    hits: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean; see `resampled_pair_shares`."""
    return interval_figures(resampled_pair_shares(hits, first, second, seed, repeats))


def share_interval(
    hits: np.ndarray, groups: np.ndarray, seed: int, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the 95 % interval {"low", "high"} of the mean of `hits` of people `groups`, (N,)."""
    return pairs_interval(hits, groups, groups, seed, repeats)


@dataclass(frozen=True)
class ResampledTar:
    """The true accept rate at a false accept rate, for any resample of the people.

    Each resample sets its threshold on its own impostor pairs, so an interval holds what the
    threshold varies by. The threshold is read off the K highest impostor pairs.
    """

    far: float  # false accept rate
    photos: np.ndarray  # int (P,), of each person
    person: np.ndarray  # int (G,), of each genuine pair, by rising score
    # int (K + 1,), how many genuine pairs a threshold above the k-th highest impostor pair refuses;
    # the last one holds where all K may pass.
    refused: np.ndarray
    first: np.ndarray  # int (K,), one person of each of the highest impostor pairs, falling scores
    second: np.ndarray  # int (K,), the other one
    each: float = 1.0  # impostor pairs that each of the K represents

    def rate(self, times: np.ndarray) -> float:
        """Return the true accept rate where each person counts `times` (P,) often."""
        mass = times * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        above = np.cumsum(times[self.first] * times[self.second]) * self.each
        # The first pair whose acceptance would break the rate, and all tied with it, are refused.
        at = int(np.searchsorted(above, self.far * pairs + 1e-9, side="right"))
        weight = times[self.person]
        return float(weight[self.refused[at] :].sum() / weight.sum())


@dataclass(frozen=True)
class ImpostorPairs:
    """The impostor pairs (E,) at or above a floor, and the photo count of each person."""

    first: np.ndarray  # int: code of one person
    second: np.ndarray  # int: code of the other
    probability: np.ndarray  # float32
    photos: np.ndarray  # int (P,) of each person

    def rate(self, probability: float) -> float:
        """Return the false accept rate at `probability`."""
        return self._rate(self._kept(probability), np.ones(len(self.photos)))

    def interval(self, probability: float, *, seed: int = 0) -> dict[str, float]:
        """Return the rate's 95 % interval at a fixed threshold, over resampled people."""
        kept = self._kept(probability)
        resamples = resampled_people(len(self.photos), seed, _RATE_REPEATS)
        return interval_figures(np.array([self._rate(kept, times) for times in resamples]))

    def _kept(self, probability: float) -> tuple[np.ndarray, np.ndarray]:
        kept = reaches(self.probability, probability)
        return self.first[kept], self.second[kept]

    def _rate(self, kept: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> float:
        mass = weight * self.photos
        pairs = (mass.sum() ** 2 - (mass**2).sum()) / 2
        return float((weight[kept[0]] * weight[kept[1]]).sum() / pairs) if pairs else 0.0


def find_impostor_pairs(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, floor: float
) -> ImpostorPairs:
    """Return the impostor pairs of `embeddings` float32 (N, D) at probability `floor` or above."""
    person = codes(persons)
    found = []
    for block in impostor_blocks(person, limit=None):
        scores = verifier.probability_matrix(embeddings[block.rows], embeddings[block.start :])
        row, column = np.nonzero(reaches(scores, floor) & block.new)
        people = person[block.rows[row]], person[block.start + column]
        found.append((*people, scores[row, column]))
    first, second, probability = (np.concatenate(part) for part in zip(*found, strict=True))
    return ImpostorPairs(first, second, probability, np.bincount(person))


DRAWS = 3
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

        Raises ValueError: not 1 to P - 1 people.
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
        self, log_odds: float, gallery_people: int, *, seed: int = 0, repeats: int = _RATE_REPEATS
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
