"""The threshold that keeps a budget in one album, found on the album itself without any label.

docs/the-promise.md has the method. A sample of the album's faces and of the enrolled people is
grouped by average linkage; one face of each group is the cohort of `normalisation`. Two faces of
different groups are a pair of strangers, one of whom stands for an enrolled person (target-decoy
approach of proteomics, Elias & Gygi 2007). The album is measured at the scores that 10 % and 1 % of
pairs reach, where errors of grouping have little effect; the tail beyond them has the shape that
the release states (`TailShape`).

Where pairs of groups made with the strict limit score higher than that, as among relatives, the
tail is moved up, by at most `_MOST_ABOVE`; but not if the excess is already there at the higher
rates of ordinary strangers, since it then comes from people whose faces were not grouped. At rates
that too few pairs of the album reach, the tail is moved up in any case.

All of this but the groups is repeated for resampled groups, a bootstrap (Efron 1979). An album with
fewer than `FEWEST_PEOPLE` groups gets the threshold of the calibration set with the most similar
strangers; with fewer than `ENOUGH_FACES` faces, one between the two, if its own is the lower one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from faceops.verification.normalisation import (
    HIGH,
    LOW,
    RATES,
    Cohort,
    Normalisation,
    at_rate,
    pair_rate,
    rate_at,
    skipped_of,
)
from faceops.verification.thresholds import Thresholds, as_threshold
from faceops.verification.verifier import Verifier

SAMPLE, GALLERY_SAMPLE = 2000, 500  # faces and enrolled people that are grouped, at most
FEWEST_PEOPLE, ENOUGH_FACES = 40, 150
# The mean of k faces is reached by about as many strangers as k ** _PHOTOS single faces: measured
# on LFW, families and Pins, 1.1 to 1.8 times as many as one face for k = 2, 1.3 to 2.6 for k = 5.
_PHOTOS = 0.6
_PURE = RATES.index(1e-3)  # up to here an excess of strict groups means people who were not grouped
_RESAMPLES = 200
GRID = np.arange(-15.0, 30.0, 0.05)  # z
# Normalised scores z, a constant and so much for each score that `skipped_of` leaves out: groups
# join from the first; a group that reaches the second with a larger one may be the same person,
# and is left out of the cohort; strict groups join from the third.
JOIN, _DOUBTFUL, STRICT = (4.0, 0.7), (4.0, 0.4), (7.0, 0.6)
ROUNDS = 3


def effective_people(photos: Sequence[int]) -> float:
    """Return how many people with one photo attract as many strangers as this gallery.

    `photos` are the numbers of photos of its people.
    """
    return float((np.asarray(photos, float) ** _PHOTOS).sum())


@dataclass(frozen=True)
class AlbumThreshold:
    """The threshold of a run, and what is known about it."""

    budget: float  # largest share of strangers' faces that may get a name; see `pair_rate`
    log_odds: float  # the threshold
    # 95 % interval of the share of strangers named in this album; None if it cannot be estimated.
    low: float | None
    high: float | None
    people: int  # groups of faces that the album was measured on
    faces: int  # in the album
    # The calibration set whose threshold is used where the album has too few people, else "".
    population: str = ""

    @property
    def probability(self) -> float:
        return as_threshold(self.log_odds)


@dataclass(frozen=True, eq=False)
class Album:
    cohort: Cohort  # normalises the scores of this album
    # float64 (R,), log odds that the shares `RATES` of pairs of strangers reach: the mean of
    # `resampled`, moved up towards the worst calibration set in an album of few faces.
    tail: np.ndarray
    # float64 (B, R), the same for resampled groups of the album; B is 0 with too few people.
    resampled: np.ndarray
    people: int  # groups of faces that it was measured on
    faces: int

    def threshold(self, budget: float, enrolled: float) -> AlbumThreshold:
        """Return the threshold for `budget` in a gallery of `enrolled` (`effective_people`)."""
        rate = pair_rate(budget, enrolled)
        odds = at_rate(self.tail, rate)
        if not len(self.resampled):
            name, _ = self.cohort.normalisation.worst(rate)
            return AlbumThreshold(budget, odds, None, None, self.people, self.faces, name)
        low, high = self._interval(odds, enrolled)
        return AlbumThreshold(budget, odds, low, high, self.people, self.faces)

    def strangers_named(self, log_odds: np.ndarray, enrolled: float) -> np.ndarray:
        """Return the estimated share of strangers who score at least `log_odds`, of any shape."""
        return _fpir(rate_at(self.tail, np.asarray(log_odds, float)), enrolled)

    def _interval(self, odds: float, enrolled: float) -> tuple[float, float]:
        """Return the 95 % interval of the share of this album's strangers at or above `odds`."""
        rates = np.array([rate_at(tail, np.array(odds)) for tail in self.resampled])
        # The faces of one stranger are taken to be named together. Of a large album only the people
        # in the sample are counted, so the interval errs on the wide side.
        named = np.random.default_rng(0).poisson(_fpir(rates, enrolled) * self.people)
        low, high = np.quantile(named / self.people, [0.025, 0.975])
        return float(low), float(min(high, 1.0))


def _fpir(rate: np.ndarray, enrolled: float) -> np.ndarray:
    return -np.expm1(enrolled * np.log1p(-np.minimum(rate, 1 - 1e-12)))


def threshold_in(
    album: Album, thresholds: Thresholds, budget: float, gallery_photos: Sequence[int]
) -> AlbumThreshold:
    """Return the threshold that keeps an FPIR of `budget` in `album`.

    `gallery_photos` are the numbers of photos of the enrolled people.

    Raises UsageError: as `Thresholds.require`.
    """
    thresholds.require(budget, sum(gallery_photos))
    return album.threshold(budget, effective_people(gallery_photos))


def measure_album(
    normalisation: Normalisation, faces: np.ndarray, gallery: np.ndarray,
    photos: np.ndarray | None = None,
) -> Album:  # fmt: skip
    """Measure an album; the same faces in any order give the same result.

    `faces` float32 (N, D) are the embeddings to be named, L2-normalised; `gallery` float32 (G, D)
    the enrolled people, see `Normalisation.templates`; `photos` int (N,) the photo of each face:
    two faces of one photo are two people.
    """
    chosen = _sample(faces, SAMPLE)
    chosen = chosen[np.isfinite(faces[chosen]).all(axis=1)]  # others would reach every threshold
    both = np.concatenate([faces[chosen], gallery[_sample(gallery, GALLERY_SAMPLE)]])
    apart = np.zeros((0, 2), np.int64)
    if photos is not None:
        apart = pairs_within(np.asarray(photos)[chosen])
    linked = link_faces(both, normalisation, apart)
    groups, core = group_people(both, linked, normalisation, apart, JOIN, ROUNDS)
    one_each = both[np.unique(groups, return_index=True)[1]]  # the order of the faces is random
    cohort = Cohort(normalisation, one_each[core], skipped_of(len(both)))
    people = min(int(core.sum()), len(faces))  # a gallery alone is no sample of strangers
    worst = np.array([normalisation.worst(rate)[1] for rate in RATES])
    if people < FEWEST_PEOPLE:
        return Album(cohort, worst, np.zeros((0, len(RATES))), people, len(faces))
    described = cohort.describe(both)
    z = normalised_scores(cohort, described[: len(chosen)], described)
    strict, _ = group_people(both, linked, normalisation, apart, STRICT, ROUNDS - 1)
    loose_tails = _tails(z, groups, core[groups].astype(float))
    strict_tails = _tails(z, strict, np.ones(len(strict)))
    # The first number is not used, so that thresholds stay those that were measured.
    spread = np.random.default_rng(1).uniform(-1, 1, 1 + _RESAMPLES)[1:]
    pairs = len(chosen) * len(both)
    tails = np.array([
        _tail(loose, high, normalisation.curve, pairs, off)
        for loose, high, off in zip(loose_tails, strict_tails, spread, strict=True)
    ])  # fmt: skip
    tails = normalisation.scale * tails + normalisation.shift
    mean = _mean_tail(tails)
    unsure = np.clip((ENOUGH_FACES - len(faces)) / (ENOUGH_FACES - FEWEST_PEOPLE), 0, 1)
    tail = mean + unsure * np.maximum(worst - mean, 0)
    return Album(cohort, tail, tails, people, len(faces))


def _sample(rows: np.ndarray, most: int) -> np.ndarray:
    """Return the indices of at most `most` rows, by a hash of their bytes, so in a stable order.

    A new photo therefore changes little of the sample.
    """
    digests = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    return np.argsort(np.array(digests, "S8"), kind="stable")[:most].astype(np.int64)


def pairs_within(photos: np.ndarray) -> np.ndarray:
    """Return the pairs of rows, int64 (P, 2), that have the same photo."""
    order = np.argsort(photos, kind="stable")
    found = []
    most = int(np.unique(photos, return_counts=True)[1].max(initial=0))
    for step in range(1, most):
        same = photos[order[step:]] == photos[order[:-step]]
        found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def link_faces(faces: np.ndarray, normalisation: Normalisation, apart: np.ndarray) -> np.ndarray:
    """Return the first groups, int64 (N,), of faces by raw scores; `apart` as of `group_people`."""
    raw = Verifier(np.array(normalisation.weight, np.float32), 0.0, "linear")
    return average_linkage(_kept_apart(raw.logit_matrix(faces, faces), apart), normalisation.link)


def group_people(
    faces: np.ndarray, groups: np.ndarray, normalisation: Normalisation, apart: np.ndarray,
    join: tuple[float, float], rounds: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the group of each face, int64 (N,), and whether a group is in the cohort, (G,).

    Average linkage of the groups' mean embeddings by normalised scores, with the groups found so
    far as cohort. `groups` int64 (N,) are those of `link_faces`, `apart` int64 (P, 2) pairs of
    faces that must not be in one group.
    """
    skipped = skipped_of(len(faces))
    core = np.ones(groups.max(initial=-1) + 1, bool)
    for _ in range(rounds):
        z, core = _compare_groups(faces, groups, normalisation)
        joined = average_linkage(_kept_apart(z, groups[apart]), join[0] + join[1] * skipped)
        if joined.max(initial=-1) == groups.max(initial=-1):
            return groups, core
        groups = joined[groups]
    return groups, _compare_groups(faces, groups, normalisation)[1]


def _compare_groups(
    faces: np.ndarray, groups: np.ndarray, normalisation: Normalisation
) -> tuple[np.ndarray, np.ndarray]:
    """Return z of the groups' means, float32 (G, G), and which groups resemble no larger one."""
    skipped = skipped_of(len(faces))
    means, sizes = normalisation.templates(faces, groups), np.bincount(groups)
    rank = np.argsort(np.lexsort((np.arange(len(sizes)), -sizes)))
    larger = rank[None, :] < rank[:, None]

    def scores(core: np.ndarray) -> np.ndarray:
        cohort = Cohort(normalisation, means[core], skipped)
        described = cohort.describe(means)
        return normalised_scores(cohort, described, described)

    core = np.ones(len(sizes), bool)
    for _ in range(2):
        z, rows = scores(core), core
        core = np.asarray(~((z >= _DOUBTFUL[0] + _DOUBTFUL[1] * skipped) & larger).any(axis=1))
    return z if (rows == core).all() else scores(core), core


def normalised_scores(cohort: Cohort, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return z of described rows `a` and `b`, see `Cohort.describe`, float32 (N, M)."""
    known = cohort.normalisation
    return (cohort.verifier.logit_matrix(a, b) - known.shift) / known.scale


def _kept_apart(scores: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    scores[pairs[:, 0], pairs[:, 1]] = scores[pairs[:, 1], pairs[:, 0]] = -np.inf
    return scores


def average_linkage(similarity: np.ndarray, cut: float) -> np.ndarray:
    """Return the groups int64 (N,) that average linkage joins at a similarity of at least `cut`.

    They are numbered from 0 in the order of their first rows.

    Nearest-neighbour chains (Benzecri 1982) with the update of Lance & Williams (1967): quadratic
    in time; scipy, which has the same, is not installed with a core FaceOps.

    `similarity`: float (N, N), symmetric; it is changed. -inf keeps two groups apart.
    """
    count = len(similarity)
    np.fill_diagonal(similarity, -np.inf)
    sizes, group = np.ones(count), np.arange(count)
    open_rows = np.ones(count, bool)
    chain: list[int] = []
    while open_rows.any():
        if not chain:
            chain.append(int(open_rows.argmax()))
        last = chain[-1]
        row = similarity[last]
        nearest = int(row.argmax())
        if len(chain) > 1 and row[chain[-2]] >= row[nearest]:
            nearest = chain[-2]  # of equals the earlier one, so that a chain ends
        if not row[nearest] >= cut:
            # No later join raises an average above the largest of its parts.
            open_rows[last] = False
            similarity[last] = similarity[:, last] = -np.inf
            chain.pop()
        elif len(chain) > 1 and nearest == chain[-2]:
            del chain[-2:]
            kept, gone = sorted((last, nearest))
            whole = sizes[kept] + sizes[gone]
            joined = (similarity[kept] * sizes[kept] + similarity[gone] * sizes[gone]) / whole
            joined[[kept, gone]] = -np.inf
            similarity[kept] = similarity[:, kept] = joined
            similarity[gone] = similarity[:, gone] = -np.inf
            sizes[kept], open_rows[gone] = whole, False
            group[group == gone] = kept
        else:
            chain.append(nearest)
    return np.unique(group, return_inverse=True)[1].astype(np.int64)


def _mean_tail(tails: np.ndarray) -> np.ndarray:
    """Return the tail whose rates are the means of those of `tails` (B, R).

    Errors of the threshold do not cancel out: rates grow by more below it than they fall above.
    """
    scores = np.linspace(tails.min(), tails.max(), 500)
    rates = np.mean([rate_at(tail, scores) for tail in tails], axis=0)
    return np.interp(-np.log(RATES), -np.log(rates), scores)


def _tails(z: np.ndarray, groups: np.ndarray, included: np.ndarray) -> np.ndarray:
    """Return the z that the shares `RATES` of pairs of groups reach, float64 (B, R), resampled.

    Faces of a group of n weigh 1 / sqrt(n) each, so that a person with many photos counts for more
    than one with few, but not by as much. `z` float32 (N, M) are the scores of the album's faces,
    the first N of the M in `groups`; `included` (M,) is 0 for faces to leave out.
    """
    weight = included / np.sqrt(np.bincount(groups)[groups])
    rows = len(z)
    place = np.searchsorted(GRID, z.ravel(), side="right").reshape(z.shape)
    different = groups[:rows, None] != groups[None, :]
    bins, numbers = len(GRID) + 1, int(groups.max()) + 1

    def reached(owner: np.ndarray, pair_weight: np.ndarray) -> np.ndarray:
        """Return the weight of each group's pairs that reach the grid, (groups, bins)."""
        keys = owner * bins + place
        counts = np.bincount(keys.ravel(), pair_weight.ravel(), numbers * bins)
        return counts.reshape(numbers, bins)[:, ::-1].cumsum(axis=1)[:, ::-1]

    pair_weight = weight[:rows, None] * weight[None, :] * different
    probes = reached(np.broadcast_to(groups[:rows, None], z.shape), pair_weight)
    decoys = reached(np.broadcast_to(groups[None, :], z.shape), pair_weight)
    whole = np.maximum(_share(probes.sum(axis=0)), 1e-12)
    times = np.random.default_rng(0).multinomial(numbers, np.full(numbers, 1 / numbers), _RESAMPLES)
    drawn, shares = times.astype(float), []
    for probed, decoyed in zip(drawn @ probes, drawn @ decoys, strict=True):
        # A group is drawn as probe and as decoy: a pigeonhole bootstrap (Owen 2007).
        both = _share(probed) * _share(decoyed) / whole
        shares.append(np.minimum.accumulate(np.minimum(both, 1.0)))
    return np.array([_at_rates(share) for share in shares])


def scores_at_rates(reached: np.ndarray) -> np.ndarray:
    """Return the z at `RATES` (R,); `reached` is the weight of all pairs, then from each `GRID`."""
    return _at_rates(_share(reached))


def _share(reached: np.ndarray) -> np.ndarray:
    return reached[1:] / max(reached[0], 1e-12)


def _at_rates(share: np.ndarray) -> np.ndarray:
    return np.interp(-np.log(RATES), -np.log(np.maximum(share, 1e-12)), GRID)


# In units of the distance between the scores that 10 % and 1 % of pairs reach, at a rate of 1e-3
# and for each decade below it.
_MOST_ABOVE, _MOST_BELOW, _UNSURE = (0.05, 0.35), (0.05, 0.05), (0.03, 0.05)
_TOLERATED, _IMPURE, _UNSEEN = 0.05, 3.0, 0.3


def _tail(
    loose: np.ndarray, strict: np.ndarray, shape: np.ndarray, pairs: int, off: float
) -> np.ndarray:
    """Return the scores at `RATES`: `loose` at two rates, `shape` beyond, moved as `strict` says.

    At rates that fewer than 30 of the `pairs` counted reach, the tail is moved up by `_UNSEEN` a
    decade. `off`, -1 to 1, moves the tail within the differences between the shapes of the
    calibration sets.
    """
    span = max(loose[HIGH] - loose[LOW], 1e-6)
    tail = loose[LOW] + shape * span
    decades = np.maximum(np.log10(1e-3 / np.array(RATES)), 0)
    excess = (strict - tail) / span
    impure = _IMPURE * max(excess[_PURE] - _TOLERATED, 0)
    most, least, unsure = (a + b * decades for a, b in (_MOST_ABOVE, _MOST_BELOW, _UNSURE))
    moved = np.clip(np.where(excess > 0, np.maximum(excess - impure, 0), excess), -least, most)
    moved[: HIGH + 1] = 0
    seen = int(np.flatnonzero(np.array(RATES) * pairs >= 30)[-1])
    unseen = np.log10(RATES[seen] / np.array(RATES[seen + 1 :]))
    moved[seen + 1 :] = moved[seen] + _UNSEEN * unseen
    moved += np.where(np.arange(len(RATES)) > HIGH, off * unsure, 0)
    return np.maximum.accumulate(tail + moved * span + 1e-9 * np.arange(len(RATES)))
