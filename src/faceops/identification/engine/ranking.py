"""Rank the enrolled people for each face.

A release that knows normalised scores compares a face with the mean of each person's faces, see
`AlbumSearch`; an earlier one with the nearest gallery faces, see `rank_people`.

`AlbumSearch` compares all faces of an album with all people, by matrix products over blocks of
faces: 100,000 against 5,000 take seconds. Of more than `EXACT_PEOPLE` only the `CANDIDATES` are
compared whom an index of their templates finds nearest to a face. They get the same scores: who is
missed cannot be named, and nobody is named by another score. A score falls with the distance in
each network, scaled by the face's and the person's deviation; the index takes the mean of the
latter.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from faceops.base.nearest import Index, nearest
from faceops.base.reasons import CODES, NO_REASON, Reason
from faceops.gallery.store import Gallery
from faceops.identification.state.photo_block import PhotoBlock
from faceops.verification.album import (
    GALLERY_SAMPLE,
    Album,
    AlbumThreshold,
    effective_people,
    measure_album,
    threshold_in,
)
from faceops.verification.normalisation import Cohort, Normalisation
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verify, sigmoid

# A smaller or poorer face is not compared: shorter side of its box, pixels; quality, 0 to 1.
MIN_SIZE, MIN_QUALITY = 20, 0.1
NEAREST = 16  # gallery faces that `rank_people` verifies
NO_PAIRS = np.zeros((2, 0), np.int64)  # of faces and people
_CELLS, _MOST_ROWS = 1 << 22, 1024  # scores at a time: 16 MB, and about as much twice beside it
EXACT_PEOPLE = 50_000  # up to here everybody is compared: not much slower than an index
# Of 200,000 people, 64 by inner products and 512 by codes hold the best two of each face of LFW.
CANDIDATES, _BY_CODES = 128, 1024
_NUMBERS = 1 << 22  # of candidates' templates at a time: 16 MB, and about as much twice beside it


def refusals(photos: PhotoBlock) -> np.ndarray:
    """Return why each face is not compared with the gallery, int8 (F,).

    A place in `REASONS`; `NO_REASON` for a face that is compared.
    """
    faces = photos.faces
    refused = np.full(len(faces), NO_REASON, np.int8)
    refused[faces["quality"] < MIN_QUALITY] = CODES[Reason.LOW_QUALITY]
    refused[faces["box"][:, 2:].min(axis=1) < MIN_SIZE] = CODES[Reason.FACE_TOO_SMALL]
    refused[faces["forgotten"]] = CODES[Reason.FORGOTTEN]
    return refused


def usable_faces(blocks: Iterable[PhotoBlock]) -> tuple[np.ndarray, np.ndarray]:
    """Return which faces are compared, int64 (N,), of all faces of `blocks`, and their photos.

    Of copies of a photo the first counts: the same face in another photo would be another person.
    """
    seen: set[str] = set()
    rows, codes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    photos = faces = 0
    for block in blocks:
        is_first = np.zeros(len(block), bool)
        for place, photo_id in enumerate(block.photo_ids):
            if photo_id is not None and photo_id not in seen:
                seen.add(photo_id)
                is_first[place] = True
        photo = block.photo_of_face
        usable = np.flatnonzero((refusals(block) < 0) & is_first[photo])
        rows.append(faces + usable)
        codes.append(photos + photo[usable])
        photos += len(block)
        faces += len(block.faces)
    return np.concatenate(rows), np.concatenate(codes)


class Ranked(NamedTuple):
    """The best person of each of Q faces, and the next one in the second column."""

    people: np.ndarray  # int64 (Q, 2), places in the sorted names; -1 for nobody
    # float32 (Q, 2), by which they are ranked: log odds if normalised, else probabilities; -inf for
    # nobody
    scores: np.ndarray
    probabilities: np.ndarray  # float32 (Q, 2), of `scores`; NaN for nobody
    # float32 (Q, 2), Euclidean, to the person's most probable face or, if normalised, to the mean
    # of the person's embeddings; NaN for nobody
    distances: np.ndarray
    # float64 (Q,), estimated share of the album's strangers that score as high as the best; NaN if
    # not normalised
    stranger_share: np.ndarray

    @classmethod
    def of_nobody(cls, faces: int) -> "Ranked":
        shape = (faces, 2)
        unknown, lowest = np.full(shape, np.nan, np.float32), np.full(shape, -np.inf, np.float32)
        return cls(np.full(shape, -1), lowest, unknown, unknown.copy(), np.full(faces, np.nan))


class AlbumSearch:
    """The enrolled people, and the album that normalises the scores.

    Args:
        album: measured.
        gallery: with at least one face.
        people: float32 (P, D), see `templates_of`.

    Attributes:
        photos: the number of photos of each person.
        enrolled: see `effective_people`.
    """

    def __init__(self, album: Album, gallery: Gallery, people: np.ndarray) -> None:
        self.album = album
        self.photos: list[int] = np.bincount(gallery.person_rows).tolist()
        self.enrolled = effective_people(self.photos)
        self._people = album.cohort.describe(people)
        is_large = len(people) > EXACT_PEOPLE
        self._index = Index(people, "people", exact_rows=0) if is_large else None

    @classmethod
    def of_run(
        cls, normalisation: Normalisation, gallery: Gallery, faces: np.ndarray, photos: np.ndarray
    ) -> "AlbumSearch":
        """Measure the album of `faces`, see `measure_album`."""
        people = templates_of(normalisation, gallery)
        return cls(measure_album(normalisation, faces, people, photos), gallery, people)

    @classmethod
    def of_no_album(cls, normalisation: Normalisation, gallery: Gallery) -> "AlbumSearch":
        """Return a search for single photos, which say nothing about an album.

        The enrolled people are the cohort. The threshold is that of the calibration set with the
        most similar strangers; it was measured without any cohort of people, so this errs on the
        strict side.
        """
        nothing = np.zeros((0, gallery.embedding_size), np.float32)
        album = measure_album(normalisation, nothing, nothing)
        people = templates_of(normalisation, gallery)
        cohort = Cohort(normalisation, people[:GALLERY_SAMPLE])
        return cls(replace(album, cohort=cohort), gallery, people)

    def threshold(self, thresholds: Thresholds, budget: float) -> AlbumThreshold:
        """Return the threshold for `budget`; UsageError as `Thresholds.require`."""
        return threshold_in(self.album, thresholds, budget, self.photos)

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the log odds, float32 (Q, P), of each row, float32 (Q, D), with each person."""
        cohort = self.album.cohort
        return cohort.verifier.logit_matrix(cohort.describe(embeddings), self._people)

    def rank(self, embeddings: np.ndarray, excluded: np.ndarray = NO_PAIRS) -> Ranked:
        """Return the best people for each row of `embeddings`, float32 (Q, D).

        Equally probable people are sorted by name.

        `excluded`: int64 (2, R), rows of `embeddings`, ascending, and people whom they do not show.
        """
        ranked = Ranked.of_nobody(len(embeddings))
        rest = np.arange(len(embeddings))
        if self._index is not None:
            rest = self._rank_candidates(self._index, embeddings, ranked, excluded[0])
        rows = max(1, min(_MOST_ROWS, _CELLS // len(self._people)))
        for start in range(0, len(rest), rows):
            self._rank_block(embeddings, rest[start : start + rows], ranked, excluded)
        found = ranked.people >= 0
        ranked.probabilities[found] = sigmoid(ranked.scores[found])
        share = self.album.strangers_named(ranked.scores[:, 0], self.enrolled)
        return ranked._replace(stranger_share=share)

    def _rank_candidates(
        self, index: Index, embeddings: np.ndarray, ranked: Ranked, excluded: np.ndarray
    ) -> np.ndarray:
        """Rank the people found by the index; return the rows `excluded` or with fewer than two."""
        cohort, size = self.album.cohort, embeddings.shape[1]
        left = np.isin(np.arange(len(embeddings)), excluded)
        described = cohort.describe(embeddings)
        found, _ = index.search(self._queries(described), CANDIDATES, _BY_CODES)
        step = max(1, _NUMBERS // (CANDIDATES * described.shape[1]))
        for start in range(0, len(embeddings), step):
            block = slice(start, start + step)
            people, part = found[block], embeddings[block, None]
            scores = cohort.verifier.logit(described[block, None], self._people[people])
            scores[people < 0] = -np.inf
            best = np.lexsort((people, -scores))[:, :2]  # of equals the first by name
            people = np.take_along_axis(people, best, axis=1)
            left[block] |= people[:, 1] < 0
            ranked.people[block] = people
            ranked.scores[block] = np.take_along_axis(scores, best, axis=1)
            ranked.distances[block] = np.linalg.norm(part - self._people[people, :size], axis=2)
        return np.flatnonzero(left)

    def _queries(self, described: np.ndarray) -> np.ndarray:
        """Return float32 (Q, D) whose inner products with templates approximate the ranking."""
        parts = []
        for part, (raw, columns, at, weight) in enumerate(self.album.cohort.verifier.networks()):
            scale = weight * (1 / described[:, at + 1] + self._sharpness[part])
            parts.append(scale[:, None] * -raw.weight * described[:, columns])
        return np.concatenate(parts, axis=1)

    @cached_property
    def _sharpness(self) -> list[float]:
        """The people's mean 1 / deviation in each network."""
        networks = self.album.cohort.verifier.networks()
        return [float((1 / self._people[:, at + 1]).mean()) for _, _, at, _ in networks]

    def _rank_block(
        self, embeddings: np.ndarray, block: np.ndarray, ranked: Ranked, excluded: np.ndarray
    ) -> None:
        """Fill the rows `block`, ascending, of `ranked`, except for probabilities."""
        part = embeddings[block]
        scores = self.scores(part)
        rows = np.arange(len(scores))
        if excluded.size:
            own = np.flatnonzero(np.isin(excluded[0], block))
            scores[np.searchsorted(block, excluded[0, own]), excluded[1, own]] = -np.inf
        for column in range(min(2, len(self._people))):
            person = scores.argmax(axis=1)
            score = scores[rows, person]
            difference = part - self._people[person, : part.shape[1]]
            distance = np.linalg.norm(difference, axis=1)
            is_there = score > -np.inf
            ranked.people[block, column] = np.where(is_there, person, -1)
            ranked.scores[block, column] = score
            ranked.distances[block, column] = np.where(is_there, distance, np.nan)
            scores[rows, person] = -np.inf


def templates_of(normalisation: Normalisation, gallery: Gallery) -> np.ndarray:
    """Return the embedding that stands for each enrolled person in a search, float32 (P, D).

    At one FPIR, more known people are named rightly than with the best of a person's faces.
    """
    return normalisation.templates(gallery.embeddings, gallery.person_rows)


def rank_people(
    embeddings: np.ndarray,
    gallery: np.ndarray,
    person_rows: np.ndarray,
    verify: Verify,
    excluded: np.ndarray = NO_PAIRS,
) -> Ranked:
    """Return the most probable person for each of Q embeddings, and the next one.

    The `NEAREST` gallery faces by cosine are verified. If they all show one person, as many of the
    nearest faces of other people are verified too, to find the runner-up. Equally probable people
    are ordered by distance, then by name.

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
    queries, rows = _pairs_to_verify(embeddings, gallery, person_rows, excluded)
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
    embeddings: np.ndarray, gallery: np.ndarray, person_rows: np.ndarray, excluded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs as rows of `embeddings` and rows of `gallery`, int64 (N,) each.

    A query with excluded people is paired with all faces of the others.
    """
    near, _ = nearest(embeddings, gallery, min(NEAREST, len(gallery)))  # (Q, N)
    first = person_rows[near[:, 0]]
    is_free = ~np.isin(np.arange(len(near)), excluded[0])
    is_of_one_person = is_free & (person_rows[near] == first[:, None]).all(axis=1)
    pairs = [(np.flatnonzero(is_free), near[is_free])]
    for person in np.unique(first[is_of_one_person]).tolist():
        some = np.flatnonzero(is_of_one_person & (first == person))
        others = np.flatnonzero(person_rows != person)
        count = min(NEAREST, len(others))
        more, _ = nearest(embeddings[some], gallery[others], count, threads=1)  # a short search
        pairs.append((some, others[more]))
    for query in np.unique(excluded[0]).tolist():
        others = np.flatnonzero(~np.isin(person_rows, excluded[1][excluded[0] == query]))
        pairs.append((np.array([query]), others[None]))
    queries = np.concatenate([np.repeat(some, rows.shape[1]) for some, rows in pairs])
    return queries, np.concatenate([rows.ravel() for _, rows in pairs])
