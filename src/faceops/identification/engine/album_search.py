"""Search the enrolled people by scores that are normalised in one album.

All faces are compared with all enrolled people, by matrix products over blocks of faces: 100,000
against 5,000 take seconds.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceops.base.reasons import NO_REASON, Reason, reason_code
from faceops.gallery.store import Gallery
from faceops.identification.settings import FacePolicy
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
from faceops.verification.verifier import sigmoid

_CELLS, _MOST_ROWS = 1 << 22, 1024  # scores at a time: 16 MB, and about as much twice beside it


def refusals(photos: PhotoBlock, policy: FacePolicy) -> np.ndarray:
    """Return why each face is not compared with the gallery, int8 (F,).

    A place in `REASONS`; `NO_REASON` for a face that is compared.
    """
    faces = photos.faces
    refused = np.full(len(faces), NO_REASON, np.int8)
    refused[faces["quality"] < policy.min_quality] = reason_code(Reason.LOW_QUALITY)
    refused[photos.face_sizes < policy.min_size] = reason_code(Reason.FACE_TOO_SMALL)
    refused[faces["forgotten"]] = reason_code(Reason.FORGOTTEN)
    return refused


def usable_faces(blocks: Iterable[PhotoBlock], policy: FacePolicy) -> tuple[np.ndarray, np.ndarray]:
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
        usable = np.flatnonzero((refusals(block, policy) < 0) & is_first[photo])
        rows.append(faces + usable)
        codes.append(photos + photo[usable])
        photos += len(block)
        faces += len(block.faces)
    return np.concatenate(rows), np.concatenate(codes)


class Ranked(NamedTuple):
    """The best person of each of Q faces, and the next one in the second column.

    Attributes:
        people: int64 (Q, 2), places in the sorted names; -1 for nobody.
        scores: float32 (Q, 2), by which they are ranked: log odds if normalised, else
            probabilities; -inf for nobody.
        probabilities: float32 (Q, 2), of `scores`; NaN for nobody.
        distances: float32 (Q, 2), Euclidean, to the person's most probable face or, if normalised,
            to the mean of the person's embeddings; NaN for nobody.
        stranger_share: float64 (Q,), estimated share of the album's strangers that score as high
            as the best; NaN if not normalised.
    """

    people: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    distances: np.ndarray
    stranger_share: np.ndarray

    @classmethod
    def of_nobody(cls, faces: int) -> "Ranked":
        """Return nobody for each of so many faces."""
        shape = (faces, 2)
        unknown, lowest = np.full(shape, np.nan, np.float32), np.full(shape, -np.inf, np.float32)
        return cls(np.full(shape, -1), lowest, unknown, unknown.copy(), np.full(faces, np.nan))


class AlbumSearch:
    """The enrolled people, and the album that normalises the scores.

    Args:
        album: measured.
        gallery: with at least one face.

    Attributes:
        photos: the number of photos of each person.
        enrolled: see `effective_people`.
    """

    def __init__(self, album: Album, gallery: Gallery) -> None:
        self.album = album
        self.photos: list[int] = np.bincount(gallery.person_rows).tolist()
        self.enrolled = effective_people(self.photos)
        self._people = album.cohort.describe(templates_of(album.cohort.normalisation, gallery))

    @classmethod
    def of_run(
        cls, normalisation: Normalisation, gallery: Gallery, faces: np.ndarray, photos: np.ndarray
    ) -> "AlbumSearch":
        """Measure the album of `faces`, see `measure_album`."""
        people = templates_of(normalisation, gallery)
        return cls(measure_album(normalisation, faces, people, photos), gallery)

    @classmethod
    def of_no_album(cls, normalisation: Normalisation, gallery: Gallery) -> "AlbumSearch":
        """Return a search for single photos, which say nothing about an album.

        The enrolled people are the cohort. The threshold is that of the calibration set with the
        most similar strangers; it was measured without any cohort of people, so this errs on the
        strict side.
        """
        nothing = np.zeros((0, gallery.embedding_size), np.float32)
        album = measure_album(normalisation, nothing, nothing)
        cohort = Cohort(normalisation, templates_of(normalisation, gallery)[:GALLERY_SAMPLE])
        return cls(replace(album, cohort=cohort), gallery)

    def threshold(self, thresholds: Thresholds, budget: float) -> AlbumThreshold:
        """Return the threshold for `budget`; UsageError as `Thresholds.require`."""
        return threshold_in(self.album, thresholds, budget, self.photos)

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the log odds, float32 (Q, P), of each row, float32 (Q, D), with each person."""
        cohort = self.album.cohort
        return cohort.verifier.logit_matrix(cohort.describe(embeddings), self._people)

    def rank(self, embeddings: np.ndarray, excluded: np.ndarray | None = None) -> Ranked:
        """Return the best people for each row of `embeddings`, float32 (Q, D).

        Equally probable people are sorted by name.

        Args:
            excluded: int64 (2, R), rows of `embeddings`, ascending, and people whom they do not
                show.
        """
        excluded = np.zeros((2, 0), np.int64) if excluded is None else excluded
        ranked = Ranked.of_nobody(len(embeddings))
        rows = max(1, min(_MOST_ROWS, _CELLS // len(self._people)))
        for start in range(0, len(embeddings), rows):
            self._rank_block(embeddings, slice(start, start + rows), ranked, excluded)
        found = ranked.people >= 0
        ranked.probabilities[found] = sigmoid(ranked.scores[found])
        share = self.album.strangers_named(ranked.scores[:, 0], self.enrolled)
        return ranked._replace(stranger_share=share)

    def _rank_block(
        self, embeddings: np.ndarray, block: slice, ranked: Ranked, excluded: np.ndarray
    ) -> None:
        """Fill the rows `block` of `ranked`, except for probabilities."""
        part = embeddings[block]
        scores = self.scores(part)
        rows = np.arange(len(scores))
        first, last = np.searchsorted(excluded[0], (block.start, block.start + len(part)))
        scores[excluded[0, first:last] - block.start, excluded[1, first:last]] = -np.inf
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
