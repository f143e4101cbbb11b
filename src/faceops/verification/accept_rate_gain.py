"""Whether one score accepts more genuine pairs than another at the same false accept rate."""

from dataclasses import dataclass

import numpy as np

from faceops.verification.bootstrap import ResampledTar, percentile_interval, resampled_people
from faceops.verification.pairs import PairScores, codes, genuine_pairs, impostors_at

REPEATS = 500
_SPARE = 4  # a resample may hold that many times the impostor pairs above the threshold


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
        return percentile_interval(self.resampled[:, 0] - self.resampled[:, 1])


def accept_rate_gain(
    new: PairScores, old: PairScores, persons: np.ndarray, far: float, *, seed: int = 0,
    repeats: int = REPEATS,
) -> Gain:  # fmt: skip
    """Compare two scores of all pairs of `persons` (N,), by `all_pair_scores` with `seed`.

    Paired bootstrap over people: both scores see the same resamples, and each sets its threshold
    anew on their impostor pairs.
    """
    person = codes(persons)
    new_tar, old_tar = (_resampled_tar(scores, person, far, seed) for scores in (new, old))
    genuine = np.bincount(new_tar.person, minlength=len(new_tar.photos))
    resamples = resampled_people(
        len(genuine), seed, repeats, lambda times: bool((times * genuine).any())
    )
    resampled = np.array([(new_tar.rate(times), old_tar.rate(times)) for times in resamples])
    once = np.ones(len(genuine))
    return Gain(far, (new_tar.rate(once), old_tar.rate(once)), resampled)


def _resampled_tar(scores: PairScores, person: np.ndarray, far: float, seed: int) -> ResampledTar:
    count = len(scores.impostor)
    kept = min(count, int(_SPARE * far * count) + 100)
    cut = np.partition(scores.impostor, count - kept)[count - kept]
    positions = np.flatnonzero(scores.impostor >= cut)
    first, second = impostors_at(positions, person, seed=seed)
    order = np.argsort(-scores.impostor[positions], kind="stable")
    rising = np.argsort(scores.genuine, kind="stable")
    refused = np.searchsorted(
        scores.genuine[rising], scores.impostor[positions][order], side="right"
    )
    photos = np.bincount(person)
    return ResampledTar(
        far=far,
        photos=photos,
        person=person[genuine_pairs(person)[:, 0]][rising],
        refused=np.append(refused, refused[-1]),
        first=person[first][order],
        second=person[second][order],
        each=(photos.sum() ** 2 - (photos**2).sum()) / 2 / count,
    )
