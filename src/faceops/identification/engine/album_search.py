"""Search the enrolled people by scores that are normalised in one album.

All faces are compared with all enrolled people, by matrix products over blocks of faces: 100,000
against 5,000 take seconds.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from faceops.base.reasons import Reason
from faceops.gallery.store import Gallery
from faceops.identification.settings import FacePolicy
from faceops.identification.state.found_photo import FoundFace, FoundPhoto
from faceops.verification.album import (
    GALLERY_SAMPLE,
    Album,
    AlbumThreshold,
    effective_people,
    measure_album,
    person_templates,
    threshold_in,
)
from faceops.verification.normalisation import Cohort, Normalisation
from faceops.verification.thresholds import Thresholds

_CELLS, _MOST_ROWS = 1 << 22, 1024  # scores at a time: 16 MB, and about as much twice beside it


def refusal(face: FoundFace, policy: FacePolicy) -> Reason | None:
    """Return why a face is not compared with the gallery, or None if it is."""
    return Reason.FORGOTTEN if face.forgotten else policy.refusal(face.size, face.quality)


def usable_faces(
    photos: Iterable[FoundPhoto], policy: FacePolicy, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the embeddings float32 (N, `size`) of faces that are compared, and photos int64 (N,).

    Of copies of a photo the first counts: the same face in another photo would be another person.
    """
    seen: set[str] = set()
    rows, codes = [], []
    for code, photo in enumerate(photos):
        if photo.photo_id is None or photo.photo_id in seen:
            continue
        seen.add(photo.photo_id)
        usable = [face.embedding for face in photo.faces if refusal(face, policy) is None]
        rows += usable
        codes += [code] * len(usable)
    faces = np.stack(rows) if rows else np.zeros((0, size), np.float32)
    return faces, np.array(codes, np.int64)


class Ranked(NamedTuple):
    """The best person of each of Q faces, and the next one in the second column.

    There is no second column if only one person is enrolled.

    Attributes:
        people: int64 (Q, 2), indices in the sorted names.
        log_odds: float32 (Q, 2), normalised.
        distances: float32 (Q, 2), Euclidean, to the mean of the person's embeddings.
        stranger_share: float64 (Q,), estimated share of the album's strangers that score as high
            as the best.
    """

    people: np.ndarray
    log_odds: np.ndarray
    distances: np.ndarray
    stranger_share: np.ndarray


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
        self._people = album.cohort.describe(templates_of(gallery))

    @classmethod
    def of_run(
        cls, normalisation: Normalisation, gallery: Gallery, faces: np.ndarray, photos: np.ndarray
    ) -> "AlbumSearch":
        """Measure the album of `faces`, see `measure_album`."""
        return cls(measure_album(normalisation, faces, templates_of(gallery), photos), gallery)

    @classmethod
    def of_no_album(cls, normalisation: Normalisation, gallery: Gallery) -> "AlbumSearch":
        """Return a search for single photos, which say nothing about an album.

        The enrolled people are the cohort. The threshold is that of the calibration set with the
        most similar strangers; it was measured without any cohort of people, so this errs on the
        strict side.
        """
        nothing = np.zeros((0, gallery.embedding_size), np.float32)
        album = measure_album(normalisation, nothing, nothing)
        cohort = Cohort(normalisation, templates_of(gallery)[:GALLERY_SAMPLE])
        return cls(replace(album, cohort=cohort), gallery)

    def threshold(self, thresholds: Thresholds, budget: float) -> AlbumThreshold:
        """Return the threshold for `budget`; UsageError as `Thresholds.require`."""
        return threshold_in(self.album, thresholds, budget, self.photos)

    def rank(self, embeddings: np.ndarray) -> Ranked:
        """Return the best people for each row of `embeddings`, float32 (Q, D).

        Equally probable people are sorted by name.
        """
        rows = max(1, min(_MOST_ROWS, _CELLS // len(self._people)))
        starts = range(0, max(len(embeddings), 1), rows)
        parts = [self._rank_block(embeddings[start : start + rows]) for start in starts]
        people, odds, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        share = self.album.strangers_named(odds[:, 0], self.enrolled)
        return Ranked(people, odds, distances, share)

    def _rank_block(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return people, log odds and distances, (B, 2) each, of rows (B, D)."""
        cohort = self.album.cohort
        scores = cohort.verifier.logit_matrix(cohort.describe(embeddings), self._people)
        rows = np.arange(len(scores))
        columns = []
        for _ in range(min(2, len(self._people))):
            person = scores.argmax(axis=1)
            difference = embeddings - self._people[person, :-2]
            columns.append((person, scores[rows, person], np.linalg.norm(difference, axis=1)))
            scores[rows, person] = -np.inf
        people, odds, distances = (np.stack(column, 1) for column in zip(*columns, strict=True))
        return people, odds, distances


def templates_of(gallery: Gallery) -> np.ndarray:
    """Return the `person_templates` of the enrolled people, float32 (P, D)."""
    return person_templates(gallery.embeddings, gallery.person_rows)
