"""Compare all photos: within each person, and with the most similar other people.

The model. The verifier's log odds L assume equal priors, so they are log likelihood ratios. A
share s of the labels is assumed to be wrong. The log odds that a photo does not show the person
that it is labelled with are then

    ln(s / (1 - s)) - L(own) + ln(1 + exp(L(other) - ln M)),

where `own` are the person's other photos and `other` the most similar of the M other people: the
photo shows one of them, each equally likely, or a stranger. Two names count as one person
only if the evidence outweighs the same prior odds divided by M: among thousands of people there are
always some who look alike by chance.

A group of photos is compared by its template, the normalised mean of its embeddings. The verifier
was not calibrated on templates; on LFW they separate people better than the mean or the maximum of
the single scores, and raise impostor scores only slightly. Far outside the calibrated range, scores
rank pairs but are no probabilities.

The calibration. A mislabelled photo makes impostor pairs that are labelled genuine; a few of them
flatten a logistic fit badly. The share e of such pairs is fitted together with the line
(class-conditional label noise, Angluin & Laird 1988; for logistic regression Bootkrajang & Kaban
2012): if a pair's likelihood ratio is exp(z), z = scale x + bias, then that of a pair labelled
genuine is (1 - e) exp(z) + e.
"""

import math
from dataclasses import dataclass

import numpy as np

from faceops.base.nearest import nearest_of_others
from faceops.base.work import track
from faceops.verification.album import average_linkage
from faceops.verification.calibration import platt
from faceops.verification.normalisation import unit
from faceops.verification.pairs import ScoreTable, codes, score_pairs, score_table
from faceops.verification.verifier import Verifier

LEAST_PAIRS, LEAST_PEOPLE = 1000, 50  # of one name; fewer do not fit the tail
_A_PERSON = 50  # pairs at most, so that people with many photos do not dominate
_GENUINE, _IMPOSTOR = 200_000, 300_000


def calibrate_with_label_noise(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier
) -> tuple[Verifier, float | None]:
    """Return the verifier with a new calibration, and the share of pairs of one name that show two.

    For too few pairs it is `verifier` itself, and None.

    `embeddings` float32 (N, D), L2-normalised; `persons` str (N,), labels, some of them wrong. The
    ranking of `verifier` is kept.
    """
    draw = np.random.default_rng(0)
    person = codes(persons)
    raw = Verifier(verifier.weight, verifier.bias, verifier.kind)
    genuine, people = _pairs_of_one_name(person, draw)
    if len(genuine) < LEAST_PAIRS or people < LEAST_PEOPLE:
        return verifier, None
    impostor = draw.integers(0, len(person), (_IMPOSTOR, 2))
    impostor = impostor[person[impostor[:, 0]] != person[impostor[:, 1]]]
    one, two = (score_pairs(embeddings, part, raw, log_odds=True) for part in (genuine, impostor))
    table = score_table(one, two)
    scale, bias, share = fit_label_noise(table)
    weight = (verifier.weight.astype(np.float64) * scale).astype(np.float32)
    return Verifier(weight, verifier.bias * scale + bias, verifier.kind), share


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


def nearest_other(
    faces: np.ndarray, person: np.ndarray, templates: np.ndarray, owner: np.ndarray,
    verifier: Verifier,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the most similar template of another person: rows int64 (N,), log odds float32 (N,).

    -1 and -inf if there is no other person. `faces` float32 (N, D) with labels `person` int64 (N,),
    `templates` float32 (M, D) with labels `owner` int64 (M,), all L2-normalised.
    """
    # w . (a - b)^2 less w . a^2, which ranks nothing, as an inner product
    squares = templates.astype(np.float64) ** 2 @ verifier.weight.astype(np.float64)
    pair = np.insert(-2 * verifier.weight * faces, 0, 1, 1), np.insert(templates, 0, squares, 1)
    found, _ = nearest_of_others(pair[0], person, pair[1], owner, 1, "comparing with other people")
    row, best = found[:, 0], np.full(len(faces), -np.inf, np.float32)
    some = np.flatnonzero(row >= 0)
    best[some] = verifier.logit(faces[some], templates[row[some]])
    return row, best


_MOST = 3000  # photos of one person compared all with all: 9 million float64, 72 MB


@dataclass(frozen=True)
class PhotoGroups:
    """Each person's photos, clustered; groups are numbered by person."""

    group: np.ndarray  # int64 (N,), of each photo
    person: np.ndarray  # int64 (G,), code of each group's person
    size: np.ndarray  # int64 (G,), its photos
    template: np.ndarray  # float32 (G, D), the L2-normalised mean of its embeddings
    # int64 (P,), each person's largest group; -1 if no two of several photos agree
    core: np.ndarray

    def photos(self, group: int) -> tuple[int, ...]:
        """Return the sorted rows of the photos in `group`."""
        return tuple(np.flatnonzero(self.group == group).tolist())

    def count(self, group: int, besides: int = 0) -> str:
        """Return "the only photo", "the 2 photos", ... of the group, less `besides`."""
        count = int(self.size[group]) - besides
        return "the only photo" if count == 1 else f"the {count} photos"


def group_photos(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, apart: float
) -> PhotoGroups:
    """Cluster each person's photos by average linkage (UPGMA, Sokal & Michener 1958).

    Of a person with more than 3,000 photos an even sample is clustered; each other photo joins the
    group with the most similar template. `embeddings` float32 (N, D), L2-normalised; `person`
    int64 (N,), codes 0..P-1, each with a photo. Two groups whose mean log odds are below `apart`
    stay separate.
    """
    order = np.argsort(person, kind="stable")
    ends = np.cumsum(np.bincount(person))
    group = np.empty(len(person), np.int64)
    core = np.empty(len(ends), np.int64)
    owners: list[int] = []
    for code, rows in enumerate(track(np.split(order, ends[:-1]), "comparing photos of a person")):
        part = _parts(embeddings[rows], verifier, apart)
        sizes = np.bincount(part)
        group[rows] = len(owners) + part
        # The largest group; among equals the one with the earlier photo.
        core[code] = len(owners) + int(sizes.argmax())
        if len(rows) > 1 and sizes.max() == 1:
            core[code] = -1
        owners += [code] * len(sizes)
    size = np.bincount(group, minlength=len(owners))
    by_group = np.argsort(group, kind="stable")
    starts = np.cumsum(size) - size
    template = np.add.reduceat(embeddings[by_group].astype(np.float32), starts, axis=0)
    return PhotoGroups(group, np.array(owners), size, unit(template), core)


def _parts(embeddings: np.ndarray, verifier: Verifier, apart: float) -> np.ndarray:
    """Return the cluster of each photo of one person, numbered by first appearance."""
    count = len(embeddings)
    if count <= _MOST:
        return _linked(embeddings, verifier, apart)
    sample = np.arange(_MOST) * count // _MOST
    linked = _linked(embeddings[sample], verifier, apart)
    templates = unit(
        np.stack([embeddings[sample[linked == i]].sum(0) for i in range(linked.max() + 1)])
    )
    part = np.empty(count, np.int64)
    for start in range(0, count, _MOST):
        scores = verifier.logit_matrix(embeddings[start : start + _MOST], templates)
        best = scores.argmax(1)
        alone = scores.max(1) < apart
        part[start : start + _MOST] = np.where(alone, count + start + np.arange(len(best)), best)
    part[sample] = linked
    first, code = np.unique(part, return_index=True, return_inverse=True)[1:]
    return np.argsort(np.argsort(first))[code]


def _linked(embeddings: np.ndarray, verifier: Verifier, apart: float) -> np.ndarray:
    scores = verifier.logit_matrix(embeddings, embeddings).astype(np.float64)
    return average_linkage((scores + scores.T) / 2, apart)


@dataclass(frozen=True)
class Comparison:
    """Groups of photos and their similarity to other people."""

    embeddings: np.ndarray  # float32 (N, D), L2-normalised
    people: np.ndarray  # str (P,), sorted
    person: np.ndarray  # int64 (N,), rows of `people`
    verifier: Verifier  # gives log odds
    groups: PhotoGroups  # of each person's photos
    nearest: np.ndarray  # int64 (G,), the most similar group of another person; -1 if there is none
    similarity: np.ndarray  # float32 (G,), the log odds of the two
    prior: float  # ln(s / (1 - s))
    chance: float  # ln M, 0 without other people

    def mislabelled(self, own: float, other: float) -> float:
        """Return the log odds of a wrong label (formula above)."""
        return float(self.prior - own + np.logaddexp(0, other - self.chance))

    def two_names(self, other: float) -> float:
        """Return the log odds that two names are one person."""
        return float(self.prior + other - self.chance)

    def between(self, first: int, second: int) -> float:
        """Return the verifier's log odds between two groups."""
        template = self.groups.template
        return float(self.verifier.logit(template[first], template[second]))

    def name(self, group: int) -> str:
        return str(self.people[self.groups.person[group]])

    def suggested(self, group: int) -> str:
        """Return the other person that the group resembles by more than chance, or ""."""
        return self.name(self.nearest[group]) if self.is_like_another(group) else ""

    def alike(self, group: int) -> tuple[int, ...]:
        """Return the rows of that person's typical photos."""
        return self.typical(self.nearest[group]) if self.is_like_another(group) else ()

    def is_like_another(self, group: int) -> bool:
        """Return whether the group resembles another person by more than chance."""
        return bool(self.similarity[group] > self.chance)

    def is_core(self, group: int) -> bool:
        """Return whether the group is its person's largest and has two photos or more."""
        core = self.groups.core[self.groups.person[group]] == group
        return bool(core and self.groups.size[group] > 1)

    def typical(self, group: int, most: int = 4) -> tuple[int, ...]:
        """Return the rows of the photos nearest to the group's template, nearest first."""
        rows = np.array(self.groups.photos(group))
        near = self.embeddings[rows] @ self.groups.template[group]
        return tuple(rows[np.argsort(-near, kind="stable")][:most].tolist())

    def without(self, photo: int) -> np.ndarray:
        """Return the template of the photo's group without the photo, float32 (D,)."""
        rows = np.array(self.groups.photos(int(self.groups.group[photo])))
        return unit(self.embeddings[rows[rows != photo]].sum(0))


def compare(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, share: float
) -> Comparison:
    """Cluster each person's photos and find the most similar other person of each group.

    `embeddings` float32 (N, D), L2-normalised, of `persons` str (N,); `verifier` is calibrated and
    `share` is the assumed share of wrong labels, between 0 and 1.
    """
    people, person = np.unique(np.asarray(persons).astype(str), return_inverse=True)
    prior = math.log(share / (1 - share))
    groups = group_photos(embeddings, person, verifier, apart=prior)
    nearest, similarity = nearest_other(
        groups.template, groups.person, groups.template, groups.person, verifier
    )
    chance = math.log(max(len(people) - 1, 1))
    return Comparison(
        embeddings, people, person, verifier, groups, nearest, similarity, prior, chance
    )
