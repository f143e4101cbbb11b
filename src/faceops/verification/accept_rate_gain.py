"""Does one score accept more pairs of one person than another, at the same false accept rate?"""

from dataclasses import dataclass

import numpy as np

from faceops.verification.pairs import PairScores, codes, genuine_pairs, impostors_at

REPEATS = 500
_SPARE = 4  # a resample may hold that many times the pairs above the threshold


@dataclass(frozen=True)
class Gain:
    """True accept rates at one false accept rate; [0] of the new score, [1] of the old one."""

    far: float
    rates: tuple[float, float]
    resampled: np.ndarray  # float64 (R, 2): the rates on resampled people

    @property
    def gain(self) -> float:
        """New rate minus old."""
        return self.rates[0] - self.rates[1]

    @property
    def low(self) -> float:
        """Lower end of the gain's one-sided 95 % interval."""
        return float(np.quantile(self.resampled[:, 0] - self.resampled[:, 1], 0.05))

    def interval(self) -> tuple[float, float]:
        """The gain's two-sided 95 % interval."""
        low, high = np.quantile(self.resampled[:, 0] - self.resampled[:, 1], [0.025, 0.975])
        return float(low), float(high)

    def rate_intervals(self) -> list[tuple[float, float]]:
        """The two-sided 95 % interval of each rate."""
        return [(float(low), float(high)) for low, high in
                np.quantile(self.resampled, [0.025, 0.975], axis=0).T]  # fmt: skip


def accept_rate_gain(
    new: PairScores, old: PairScores, persons: np.ndarray, far: float, *, seed: int = 0,
    repeats: int = REPEATS,
) -> Gain:  # fmt: skip
    """Compare two scores of all pairs of `persons` (N,), by `all_pair_scores` with `seed`.

    Paired bootstrap over people (Efron 1979): both scores see the same resampled people, and
    each sets its threshold anew on their pairs of two people, so the interval holds what the
    threshold varies by as well. A person drawn twice makes no pairs of two with themselves.
    """
    person = codes(persons)
    parts = [_Side.of(scores, person, far, seed) for scores in (new, old)]
    whose = person[genuine_pairs(persons)[:, 0]]
    photos = np.bincount(person).astype(float)
    once = np.ones(len(photos))
    draw = np.random.default_rng(seed)
    resampled = np.empty((repeats, 2))
    for repeat in range(repeats):
        times = np.bincount(draw.integers(0, len(photos), len(photos)), minlength=len(photos))
        while not times[whose].any():  # nobody with two photos was drawn
            times = np.bincount(draw.integers(0, len(photos), len(photos)), minlength=len(photos))
        resampled[repeat] = [side.rate(times.astype(float), whose, photos, far) for side in parts]
    first, second = (side.rate(once, whose, photos, far) for side in parts)
    return Gain(far, (first, second), resampled)


@dataclass(frozen=True)
class _Side:
    genuine: np.ndarray
    top: np.ndarray  # the highest scores of pairs of two people, falling
    people: tuple[np.ndarray, np.ndarray]  # codes of their people
    pairs: int  # of two people that were scored
    share: float  # of all that there are

    @classmethod
    def of(cls, scores: PairScores, person: np.ndarray, far: float, seed: int) -> "_Side":
        count = len(scores.impostor)
        kept = min(count, int(_SPARE * far * count) + 100)
        cut = np.partition(scores.impostor, count - kept)[count - kept]
        positions = np.flatnonzero(scores.impostor >= cut)
        first, second = impostors_at(positions, person, seed=seed)
        top = scores.impostor[positions]
        order = np.argsort(-top, kind="stable")
        photos = np.bincount(person).astype(float)
        there_are = (photos.sum() ** 2 - (photos**2).sum()) / 2
        people = person[first][order], person[second][order]
        return cls(scores.genuine, top[order], people, count, count / there_are)

    def rate(self, times: np.ndarray, whose: np.ndarray, photos: np.ndarray, far: float) -> float:
        """True accept rate where each person counts `times` (P,) often."""
        mass = times * photos
        pairs = self.share * (mass.sum() ** 2 - (mass**2).sum()) / 2
        above = np.cumsum(times[self.people[0]] * times[self.people[1]])
        # The first pair whose acceptance would break the rate, and all tied with it, are refused.
        refused = min(int(np.searchsorted(above, far * pairs + 1e-9, "right")), len(self.top) - 1)
        weight = times[whose]
        return float(weight[self.genuine > self.top[refused]].sum() / weight.sum())
