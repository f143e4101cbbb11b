"""How alike the faces of enrolled people are: photos that disagree, and people who look alike.

Two people are lookalikes if a photo of one reaches the score with a photo of the other from which
a stranger would be named at the release's default budget, or lies within the runner-up margin of
it: a face of one may stay unnamed as ambiguous. Scores are normalised with the gallery as cohort.
In a gallery of `FEWEST_PEOPLE` people or more, that score is taken from its own pairs of people, of
whom it is known that they are two; else from the release. Nothing is stored: another release may
see other lookalikes.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.nearest import EXACT_ROWS, nearest
from faceops.dataset.names import display_name, person_key
from faceops.gallery.faces_file import Embeddings
from faceops.gallery.store import Gallery
from faceops.release.bundle import Bundle
from faceops.verification.album import FEWEST_PEOPLE, effective_people
from faceops.verification.normalisation import HIGH, LOW, RATES, Cohort, at_rate
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verify, clipped_log_odds, reaches

DISSIMILAR = 0.5  # below this probability two faces are more likely two people than one
DISAGREEING = 0.5  # a group with this share of faces unlike the person's is another person
MAX_COMPARED = 200  # faces of one person that are compared with each other
COMPARED = 256  # of a large gallery: faces of other people, the nearest by cosine
# With normalised scores, a face is unlike a person's faces if its score is below the one that the
# share STRANGERS of stranger pairs reaches, or if another enrolled person leads by LEAD runner-up
# margins. Chosen on one half of the families in Families in the Wild, see docs/the-promise.md.
STRANGERS, LEAD = 0.007, 4.0


@dataclass(frozen=True)
class Comparison:
    """Scores of pairs of faces, and the limits for them."""

    dissimilar: float  # two faces with a lower score are taken for two people
    lead: float  # by this much a score for another person must exceed that for the own person
    match: Callable[[int], float]  # the least score with which a face matches one of so many faces
    scores: Callable[[np.ndarray, np.ndarray], np.ndarray]  # float32 (N, M), of described faces
    # The input of `scores`, float32 (N, E), for embeddings, float32 (N, D)
    describe: Callable[[np.ndarray], np.ndarray]


def comparison(thresholds: Thresholds, verify: Verify) -> Comparison:
    """Return the comparison by normalised scores if the release has them, else by `verify`.

    Scores are normalised with synthetic people only. They do not depend on who is enrolled, so an
    interrupted enrolment refuses the same photos.
    """
    known, budget = thresholds.normalisation, thresholds.default_budget
    if known is None:
        return Comparison(
            DISSIMILAR,
            np.inf,
            lambda count: max(DISSIMILAR, thresholds.for_search(budget, count)),
            partial(all_pairs, verify=verify),
            lambda embeddings: embeddings,
        )
    cohort = Cohort(known, np.zeros((0, len(known.weight)), np.float32))
    return Comparison(
        known.worst(STRANGERS)[1],
        LEAD * thresholds.runner_up_margin,
        lambda count: known.worst(1 - (1 - budget) ** (1 / count))[1],
        cohort.verifier.logit_matrix,
        cohort.describe,
    )


def choose_faces(
    photos: Sequence[np.ndarray],
    known: np.ndarray,
    verify: Verify,
    threshold_for: Callable[[int], float],
) -> list[int | None]:
    """Return the index of the person's face in each photo, None where it is ambiguous.

    A photo's only face is chosen. Of several, the one that matches the person's other faces is
    chosen: those of photos with one face and those enrolled already or, if there are none, the
    faces of the person's other photos. If no face matches, or several do, it is ambiguous.

    Args:
        photos: the embeddings of each photo's usable faces, float32 (faces, D), at least one.
        known: float32 (K, D), faces of this person that are enrolled already.
        threshold_for: returns the least probability of a match among a number of faces.
    """
    single = np.concatenate([known, *(photo for photo in photos if len(photo) == 1)])
    chosen: list[int | None] = []
    for index, photo in enumerate(photos):
        if len(photo) == 1:
            chosen.append(0)
            continue
        others = single
        if not len(others):
            others = np.concatenate([known, *photos[:index], *photos[index + 1 :]])
        matches = np.zeros(0, np.int64)
        if len(others):
            best = all_pairs(photo, others, verify).max(axis=1)
            matches = np.flatnonzero(reaches(best, threshold_for(len(others))))
        chosen.append(int(matches[0]) if len(matches) == 1 else None)
    return chosen


def dissimilar_photos(
    photos: Sequence[np.ndarray], known: np.ndarray, others: np.ndarray, compare: Comparison
) -> set[int]:
    """Return the indices of photos whose only face is unlike the person's other faces.

    Enrolled faces are the reference: new faces that match each other may all show another person of
    the same name. If none is enrolled, faces that differ from all other new ones are returned, but
    none if no two of the new ones match. A face also differs if its score with another person is
    higher by `compare.lead`.

    Args:
        photos, known: see `choose_faces`.
        others: float32 (M, E), the faces of all other people, described.
    """
    if not (places := [index for index, photo in enumerate(photos) if len(photo) == 1]):
        return set()
    faces = compare.describe(np.concatenate([photos[index] for index in places]))
    if len(known):
        best = compare.scores(faces, compare.describe(known)).max(axis=1)
    else:
        faces = faces[:MAX_COMPARED]
        if len(faces) < 3:
            return set()
        scores = compare.scores(faces, faces)
        np.fill_diagonal(scores, -np.inf)
        best = scores.max(axis=1)
        if not reaches(best.max(), compare.match(len(faces) - 1)):
            return set()
    strange = best < compare.dissimilar
    if len(others):
        strange |= compare.scores(faces, others).max(axis=1) > best + compare.lead
    return {places[row] for row in np.flatnonzero(strange)}


class OtherPeople:
    """The embeddings of other people's faces, to be compared with new faces.

    Args:
        vectors: M, read at first use. Of more than `EXACT_ROWS` only the nearest are compared.
    """

    def __init__(self, vectors: Embeddings, compare: Comparison) -> None:
        self._vectors, self._compare = vectors, compare
        self._described: np.ndarray | None = None

    def near(self, faces: np.ndarray, left_out: np.ndarray | None = None) -> np.ndarray:
        """Return the described rows, float32 (K, E), to compare with `faces`, float32 (N, D).

        Args:
            left_out: bool (M,), rows to leave out.
        """
        if len(self._vectors) <= EXACT_ROWS:
            if self._described is None:
                self._described = self._compare.describe(self._vectors.matrix())
            return self._described if left_out is None else self._described[~left_out]
        rows = np.unique(nearest(faces, self._vectors.matrix(), COMPARED)[0])
        rows = rows if left_out is None else rows[~left_out[rows]]
        return self._compare.describe(self._vectors.matrix()[rows])


class Agreement:
    """Compares further faces with the faces that a gallery has of the same people."""

    def __init__(self, gallery: Gallery, bundle: Bundle) -> None:
        self._gallery = gallery
        self._compare = comparison(bundle.release.thresholds, bundle.verify)
        self._others = OtherPeople(gallery.faces.vectors, self._compare)

    def unlike(self, person: str, embeddings: np.ndarray) -> np.ndarray:
        """Return which faces are unlike the person's, bool (N,), see `dissimilar_photos`.

        Args:
            person: a name in the gallery, or a new one.
            embeddings: float32 (N, D), of faces that show one person each.
        """
        own = self._gallery.faces.where("person", [person])
        others = np.zeros((0, self._gallery.embedding_size), np.float32)
        if np.isfinite(self._compare.lead):
            others = self._others.near(embeddings, own)
        faces, known = [row[None] for row in embeddings], self._gallery.embeddings[own]
        is_unlike = np.zeros(len(embeddings), bool)
        is_unlike[sorted(dissimilar_photos(faces, known, others, self._compare))] = True
        return is_unlike

    def contradiction(self, person: str, embeddings: np.ndarray, faces: str = "faces") -> str:
        """Return a sentence if a group of faces seems to show somebody else than `person`, or "".

        It does if the share `DISAGREEING` of them is unlike the person's enrolled faces.

        Args:
            embeddings: float32 (N, D), of the group.
            faces: what to call them in the sentence.
        """
        if person not in self._gallery.people or not len(embeddings):
            return ""
        unlike = self.unlike(person, embeddings)
        if unlike.mean() < DISAGREEING:
            return ""
        return (
            f"{unlike.sum()} of the {len(unlike)} {faces} are unlike the faces that are "
            f"enrolled as {person}"
        )


def all_pairs(faces: np.ndarray, others: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the probability of every face (N, D) with every other (M, D), float32 (N, M)."""
    pairs = verify(np.repeat(faces, len(others), axis=0), np.tile(others, (len(faces), 1)))
    return pairs.reshape(len(faces), len(others))


_MOST_PEOPLE = 2000  # on whose pairs the score is measured
_BLOCK = 512  # faces compared with all others at a time
_NEAREST = 30  # faces by cosine that are scored, of many faces or without a normalisation


@dataclass(frozen=True)
class Lookalikes:
    """Two enrolled people, by name, and the log odds of their most similar photos."""

    person: str
    other: str
    log_odds: float

    def beside(self, person: str) -> str:
        """Return the other one of the two."""
        return self.other if person == self.person else self.person


def find_lookalikes(
    gallery: Gallery, thresholds: Thresholds, verify: Verify, people: Collection[str] | None = None
) -> list[Lookalikes]:
    """Return the lookalikes in `gallery`, the most similar pair first.

    Args:
        verify: gives the scores where the release has no normalisation; its threshold is then the
            one of the release.
        people: only pairs with one of them; None for all. In a gallery of more than `EXACT_ROWS`
            faces, theirs are compared with the nearest by cosine.
    """
    if len(gallery.people) < 2:
        return []
    budget, margin = thresholds.default_budget, thresholds.runner_up_margin
    faces, are_many = gallery.embeddings, len(gallery.faces) > EXACT_ROWS
    rows = np.arange(len(faces))
    if people is not None:
        rows = np.flatnonzero(gallery.faces.where("person", people))
    blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
    if thresholds.normalisation is None:
        least = log_odds_of(thresholds.for_search(budget, len(faces))) - margin
        found = [_of_nearest(block, faces, verify) for block in blocks]
    else:
        first = np.unique(gallery.person_rows, return_index=True)[1]
        if are_many:
            first = first[:: -(-len(first) // _MOST_PEOPLE)]
        cohort = Cohort(thresholds.normalisation, faces[first])
        rate = 1 - (1 - budget) ** (1 / effective_people(np.bincount(gallery.person_rows).tolist()))
        least = _log_odds_at(rate, cohort, cohort.describe(faces[first[:_MOST_PEOPLE]])) - margin
        others, found = np.arange(len(faces)), []
        described = None if are_many else cohort.describe(faces)
        for block in blocks:
            if described is None:
                others = np.unique(nearest(faces[block], faces, _NEAREST)[0])
                pair = cohort.describe(faces[block]), cohort.describe(faces[others])
            else:
                pair = described[block], described
            scores = cohort.verifier.logit_matrix(*pair)
            one, other = np.nonzero(scores >= least)
            found.append(np.column_stack([block[one], others[other], scores[one, other]]))
    return _of_people(gallery, np.concatenate([np.zeros((0, 3)), *found]), least)


def _of_nearest(rows: np.ndarray, faces: np.ndarray, verify: Verify) -> np.ndarray:
    """Return the pairs (row, row, log odds) of `rows` with their nearest `faces` (G, D)."""
    near = nearest(faces[rows], faces, min(_NEAREST, len(faces)))[0]
    own, near = np.repeat(rows, near.shape[1]), near.ravel()
    return np.column_stack([own, near, clipped_log_odds(verify(faces[own], faces[near]))])


def _of_people(gallery: Gallery, found: np.ndarray, least: float) -> list[Lookalikes]:
    """Return the pairs of people of pairs of faces (row, row, score), each with its highest."""
    found = found[found[:, 2] >= least]
    people = np.sort(gallery.person_rows[found[:, :2].astype(np.int64)], axis=1)
    order = np.lexsort((-found[:, 2], people[:, 1], people[:, 0]))
    people, scores = people[order], found[order, 2]
    is_first = np.diff(people, axis=0, prepend=-1).any(axis=1) & (people[:, 0] != people[:, 1])
    names = gallery.people
    pairs = [
        Lookalikes(names[one], names[other], round(float(score), 2))
        for (one, other), score in zip(people[is_first].tolist(), scores[is_first], strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.log_odds, pair.person, pair.other))


def _log_odds_at(rate: float, cohort: Cohort, faces: np.ndarray) -> float:
    """Return the log odds that a share `rate` of pairs of two people reaches.

    `faces` (P, D + 2) are described, one of each person.
    """
    known = cohort.normalisation
    if len(faces) < FEWEST_PEOPLE:
        return known.worst(rate)[1]
    scores = cohort.verifier.logit_matrix(faces, faces)[np.triu_indices(len(faces), 1)]
    low, high = np.quantile(scores, [1 - RATES[LOW], 1 - RATES[HIGH]])
    return at_rate(known.tail(low, high), rate)


@dataclass(frozen=True)
class EnrolledFace:
    """One face of a person, as `faceops people show` prints it."""

    photo: str
    photo_id: str
    quality: float
    # Mean cosine to the person's other faces, -1 to 1; None for an only face
    mean_similarity: float | None
    other: str  # the other person with the most similar face; "" if there is none
    other_similarity: float | None  # cosine to that face; None if there is none

    @property
    def is_suspicious(self) -> bool:
        """Whether it is more like another person's face than like the person's own faces."""
        own, other = self.mean_similarity, self.other_similarity
        return own is not None and other is not None and other > own


def show(gallery: Gallery, name: str) -> tuple[str, list[EnrolledFace]]:
    """Return the name that is shown and the faces of `name`, the least similar first."""
    key = person_key(display_name(name))
    names = [person for person in gallery.people if person_key(person) == key]
    own = gallery.faces.where("person", names)
    if not own.any():
        raise FaceOpsError(f"{name} is not in the gallery {gallery.storage}.")
    rows, others = np.flatnonzero(own), np.flatnonzero(~own)
    cosines = gallery.embeddings[rows] @ gallery.embeddings.T  # (faces, M)
    faces = []
    for row, face, cosine in zip(rows, gallery.faces.take(rows), cosines, strict=True):
        same, other, similarity = cosine[rows[rows != row]], "", None
        mean = round(float(same.mean()), 4) if len(same) else None
        if len(others):
            best = others[np.argmax(cosine[others])]
            other, similarity = gallery.persons[best], round(float(cosine[best]), 4)
        quality = round(face.quality, 4)
        faces.append(EnrolledFace(face.photo, face.photo_id, quality, mean, other, similarity))
    faces.sort(key=lambda face: (2.0 if (s := face.mean_similarity) is None else s, face.photo))
    return gallery.faces[int(rows[0])].person, faces
