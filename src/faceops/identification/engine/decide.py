"""Decide who a face shows: rank the enrolled people by the verifier, then apply the naming rule.

A release that knows normalised scores compares a face with the mean of each person's faces, see
`album_search`; an earlier one with the nearest gallery faces, see `rank_people`. All faces of a
block of photos are decided together, as columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceops.base.nearest import nearest
from faceops.base.reasons import (
    IDENTIFIED,
    NO_REASON,
    REASONS,
    REJECTED,
    UNKNOWN,
    Reason,
    reason_code,
)
from faceops.gallery.store import Gallery
from faceops.identification.engine.album_search import AlbumSearch, Ranked, refusals
from faceops.identification.engine.verdicts import NOBODY, UNNAMED, Verdicts
from faceops.identification.settings import IDENTIFICATION, FacePolicy
from faceops.identification.state.photo_block import PhotoBlock
from faceops.verification.album import AlbumThreshold
from faceops.verification.thresholds import NamingLimits, Thresholds
from faceops.verification.verifier import Verify

NEAREST = 16


@dataclass(frozen=True, eq=False)
class Decisions:
    """The decisions about F faces, as columns.

    Attributes:
        kind: int8 (F,), places in `KINDS`.
        reason: int8 (F,), places in `REASONS`; `NO_REASON` for a face that is identified by its
            score.
        best, runner_up: int32 (F,), the two most probable people, as places in
            `NamedBlock.people`; `NOBODY` if the face was not compared, or nobody else is enrolled.
            A face is only given the name of `best` if it is identified.
        probability, runner_up_probability: float32 (F,), 0 to 1 by the verifier, of the person's
            most probable gallery face, or of the mean of the person's faces if scores are
            normalised in an album; NaN for nobody.
        distance: float32 (F,), Euclidean, 0 to 2, to the same face or mean; NaN for nobody.
        stranger_share: float32 (F,), estimated share of the album's strangers that score as high as
            the best; NaN if scores are not normalised.
    """

    kind: np.ndarray
    reason: np.ndarray
    best: np.ndarray
    runner_up: np.ndarray
    probability: np.ndarray
    runner_up_probability: np.ndarray
    distance: np.ndarray
    stranger_share: np.ndarray

    @property
    def named(self) -> np.ndarray:
        """bool (F,): the face is given the name of `best`."""
        return self.kind == IDENTIFIED

    @property
    def person(self) -> np.ndarray:
        """int32 (F,): the person whose name the face is given, `NOBODY` for none."""
        return np.where(self.named, self.best, NOBODY)

    def with_rows(self, rows: np.ndarray, columns: Mapping[str, np.ndarray]) -> "Decisions":
        """Return the decisions with other values in some columns of `rows`, int64 (N,)."""
        changed = {name: getattr(self, name).copy() for name in columns}
        for name, values in columns.items():
            changed[name][rows] = values
        return replace(self, **changed)

    @classmethod
    def without_names(cls, faces: int) -> "Decisions":
        """Return decisions for faces that are not compared with anybody."""
        nothing, nobody = np.full(faces, np.nan, np.float32), np.full(faces, NOBODY, np.int32)
        kind, reason = np.full(faces, UNKNOWN, np.int8), np.full(faces, NO_REASON, np.int8)
        return cls(kind, reason, nobody, nobody, nothing, nothing, nothing, nothing)


@dataclass(frozen=True, eq=False)
class NamedBlock:
    """Photos with a decision for each face.

    Attributes:
        photo_paths: below the photos' folder, as text.
        people: the sorted names of the gallery, then those that only people have given.
        shown: the names under which these people are shown, if others; two may be the same.
    """

    photos: PhotoBlock
    photo_paths: Sequence[str]
    decisions: Decisions
    people: Sequence[str]
    shown: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.photos)

    def names(self) -> list[str | None]:
        """Return the name under which the person of each face is shown, None for none."""
        people = self.shown or self.people
        return [None if one < 0 else people[one] for one in self.decisions.person.tolist()]

    def reasons(self) -> list[Reason | None]:
        """Return the reason of each decision."""
        return [None if one < 0 else REASONS[one] for one in self.decisions.reason.tolist()]


@dataclass(frozen=True)
class NamingRule:
    """The conditions under which a face is named.

    Attributes:
        limits: on the scores.
        policy: which faces are good enough to be compared.
        search: ranks the enrolled people by normalised scores; None for a release without them.
    """

    limits: NamingLimits
    policy: FacePolicy = IDENTIFICATION
    search: AlbumSearch | None = None

    @property
    def threshold(self) -> float:
        """Smallest probability of the best person."""
        return self.limits.probability

    @classmethod
    def for_gallery(
        cls,
        thresholds: Thresholds,
        gallery: Gallery,
        budget: float,
        policy: FacePolicy = IDENTIFICATION,
    ) -> "NamingRule":
        """Return the rule that names at most the share `budget` of strangers, by the calibration.

        Raises:
            UsageError: the release was not calibrated for such a budget.
        """
        faces = len(gallery.faces)
        threshold = thresholds.for_search(budget, faces) if faces else 1.0
        return cls(NamingLimits(threshold, thresholds.runner_up_margin), policy)

    def in_album(
        self, search: AlbumSearch, found: AlbumThreshold, default_budget: float
    ) -> "NamingRule":
        """Return the rule with the threshold that was found in an album."""
        usual = search.album.threshold(default_budget, search.enrolled).log_odds
        limits = NamingLimits(found.probability, self.limits.margin, found.log_odds, usual)
        return replace(self, limits=limits, search=search)


def name_faces(
    photos: PhotoBlock,
    gallery: Gallery,
    verify: Verify,
    rule: NamingRule,
    verdicts: Verdicts | None = None,
) -> Decisions:
    """Return the decisions for the faces of all `photos`, which are searched in one batch.

    `verdicts`: what people decided about these faces.
    """
    verdicts = verdicts or Verdicts.none(len(photos.faces))
    refused = refusals(photos, rule.policy)
    refused[verdicts.ignored] = reason_code(Reason.IGNORED)
    compared = refused < 0
    queries = photos.embeddings[compared]
    excluded = _of_queries(verdicts.refused, compared, len(gallery.people))
    if rule.search is None:
        whose = gallery.person_rows
        ranked = rank_people(queries, gallery.embeddings, whose, verify, excluded=excluded)
    else:
        ranked = rule.search.rank(queries, excluded)
    return decide(ranked, photos.photo_of_face, refused, rule.limits, verdicts)


def _of_queries(refused: np.ndarray, compared: np.ndarray, enrolled: int) -> np.ndarray:
    """Return `Verdicts.refused` of compared faces and enrolled people; faces as query rows."""
    faces, people = refused
    counts = compared[faces] & (people < enrolled)
    return np.stack([(np.cumsum(compared) - 1)[faces[counts]], people[counts]])


def rank_people(
    embeddings: np.ndarray,
    gallery: np.ndarray,
    person_rows: np.ndarray,
    verify: Verify,
    nearest_faces: int = NEAREST,
    excluded: np.ndarray | None = None,
) -> Ranked:
    """Return the most probable person for each of Q embeddings, and the next one.

    The nearest `nearest_faces` gallery faces by cosine are verified. If they all show one person,
    as many of the nearest faces of other people are verified too, to find the runner-up. Equally
    probable people are ordered by distance, then by name.

    Args:
        embeddings: float32 (Q, D), L2-normalised.
        gallery: float32 (M, D), L2-normalised.
        person_rows: int (M,), the person of each gallery row, as a place in the sorted names.
        verify: the probability of one person for rows of two (N, D).
        excluded: int64 (2, R), rows of `embeddings` and people whom they do not show.
    """
    result = Ranked.of_nobody(len(embeddings))
    if not len(embeddings) or not len(gallery):
        return result
    queries, rows = _pairs_to_verify(embeddings, gallery, person_rows, nearest_faces)
    if excluded is not None and excluded.size:
        queries, rows = _without_excluded(
            embeddings, gallery, person_rows, (queries, rows), excluded
        )
        if not len(queries):
            return result
    probabilities = verify(embeddings[queries], gallery[rows])
    distances = np.linalg.norm(embeddings[queries] - gallery[rows], axis=1)
    persons = person_rows[rows]
    order = np.lexsort((persons, distances, -probabilities, queries))
    queries, persons = queries[order], persons[order]
    starts = np.flatnonzero(np.diff(queries, prepend=-1))  # of each query that has pairs
    is_other = persons != np.repeat(persons[starts], np.diff([*starts, len(queries)]))
    others = np.where(is_other, np.arange(len(order)), len(order))
    seconds = np.minimum.reduceat(others, starts)
    for column, chosen in ((0, starts), (1, seconds)):
        there = chosen < len(order)
        query, pairs = queries[starts[there]], order[chosen[there]]
        result.people[query, column] = persons[chosen[there]]
        result.scores[query, column] = result.probabilities[query, column] = probabilities[pairs]
        result.distances[query, column] = distances[pairs]
    return result


def _pairs_to_verify(
    embeddings: np.ndarray, gallery: np.ndarray, person_rows: np.ndarray, nearest_faces: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs as rows of `embeddings` and rows of `gallery`, int64 (N,) each."""
    rows, _ = nearest(embeddings, gallery, min(nearest_faces, len(gallery)))  # (Q, N)
    queries = [np.repeat(np.arange(len(rows)), rows.shape[1])]
    found = [rows.ravel()]
    first = person_rows[rows[:, 0]]
    is_of_one_person = (person_rows[rows] == first[:, None]).all(axis=1)
    for person in np.unique(first[is_of_one_person]).tolist():
        some = np.flatnonzero(is_of_one_person & (first == person))
        others = np.flatnonzero(person_rows != person)
        count = min(nearest_faces, len(others))
        more, _ = nearest(embeddings[some], gallery[others], count, threads=1)  # a short search
        queries.append(np.repeat(some, more.shape[1]))
        found.append(others[more].ravel())
    return np.concatenate(queries), np.concatenate(found)


def _without_excluded(
    embeddings: np.ndarray,
    gallery: np.ndarray,
    person_rows: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    excluded: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs, but of queries with excluded people those with all faces of others."""
    queries, rows = pairs
    again = np.unique(excluded[0])
    kept = ~np.isin(queries, again)
    found = [(queries[kept], rows[kept])]
    for query in again.tolist():
        others = np.flatnonzero(~np.isin(person_rows, excluded[1][excluded[0] == query]))
        found.append((np.full(len(others), query), others))
    return np.concatenate([one for one, _ in found]), np.concatenate([other for _, other in found])


def decide(
    ranked: Ranked,
    photo_of_face: np.ndarray,
    refused: np.ndarray,
    limits: NamingLimits,
    verdicts: Verdicts | None = None,
) -> Decisions:
    """Return a decision for each of F faces.

    A confirmed face gets its person, without a name if the person has none. Of the others, a face
    with a refusal is rejected; else it gets the best person if the score reaches the threshold and
    exceeds the runner-up's by the margin. If two faces of a photo would get one name, the confirmed
    one or the one with the higher score (on a tie the earlier one) gets it; the other is
    `ambiguous`.

    Args:
        ranked: of the faces without a refusal, in order.
        photo_of_face: int (F,), equal for the faces of one photo.
        refused: int8 (F,), why a face is not compared, as a place in `REASONS`, or `NO_REASON`.
        verdicts: what people decided about the faces; people whom they exclude are not in `ranked`.
    """
    verdicts = verdicts or Verdicts.none(len(refused))
    faces = np.flatnonzero(refused < 0)
    best, runner_up = ranked.people.T
    reached = limits.reached(ranked.scores[:, 0]) & (best >= 0)
    leads = limits.leads(ranked.scores[:, 0], ranked.scores[:, 1])
    grouped = verdicts.confirmed[faces] == UNNAMED
    named = reached & leads & ~grouped
    decided = np.flatnonzero(verdicts.confirmed >= 0)
    if len(decided):
        people = int(max(best.max(initial=0), verdicts.confirmed.max())) + 1
        taken = photo_of_face[decided] * people + verdicts.confirmed[decided]
        named &= ~np.isin(photo_of_face[faces] * people + best, taken)
    if named.any():
        rows = np.flatnonzero(named)
        key = (photo_of_face[faces[rows]], best[rows])
        order = np.lexsort((rows, -ranked.scores[rows, 0], *key[::-1]))
        again = np.zeros(len(rows), bool)
        again[1:] = np.logical_and.reduce([np.diff(part[order]) == 0 for part in key])
        named[rows[order[again]]] = False
    kind, reason = np.full(len(refused), REJECTED, np.int8), refused.astype(np.int8)
    kind[faces] = np.where(named, IDENTIFIED, UNKNOWN)
    unnamed = np.where(reached, reason_code(Reason.AMBIGUOUS), reason_code(Reason.BELOW_THRESHOLD))
    unnamed[best < 0] = reason_code(Reason.GALLERY_EMPTY)
    has_refused = np.isin(faces, verdicts.refused[0])
    by_people = has_refused & ~reached | grouped & reached
    unnamed[by_people] = reason_code(Reason.REFUSED_BY_PERSON)
    reason[faces] = np.where(named, NO_REASON, unnamed)
    columns = {
        "best": best,
        "runner_up": runner_up,
        "probability": ranked.probabilities[:, 0],
        "runner_up_probability": ranked.probabilities[:, 1],
        "distance": ranked.distances[:, 0],
        "stranger_share": ranked.stranger_share,
    }
    found = Decisions.without_names(len(refused)).with_rows(faces, columns)
    found = replace(found, kind=kind, reason=reason)
    return _with_confirmed(found, verdicts.confirmed) if len(decided) else found


def _with_confirmed(found: Decisions, confirmed: np.ndarray) -> Decisions:
    """Give confirmed faces their person; the probability is NaN unless best or runner-up."""
    rows = np.flatnonzero(confirmed >= 0)
    person, columns = confirmed[rows], {name: value.copy() for name, value in vars(found).items()}
    is_best, is_second = found.best[rows] == person, found.runner_up[rows] == person
    kept = {
        "probability": (found.probability, found.runner_up_probability),
        "distance": (found.distance, np.full(len(confirmed), np.nan, np.float32)),
        "stranger_share": (found.stranger_share, np.full(len(confirmed), np.nan, np.float32)),
    }
    for name, (of_best, of_second) in kept.items():
        second = np.where(is_second, of_second[rows], np.nan)
        columns[name][rows] = np.where(is_best, of_best[rows], second)
    columns["best"][rows] = person
    other = np.where(is_best, found.runner_up[rows], found.best[rows])
    columns["runner_up"][rows] = other
    columns["runner_up_probability"][rows] = np.where(
        is_best, found.runner_up_probability[rows], found.probability[rows]
    )
    columns["kind"][rows], columns["reason"][rows] = IDENTIFIED, reason_code(Reason.CONFIRMED)
    return Decisions(**columns)
