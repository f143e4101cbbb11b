"""Search the enrolled people by scores that are normalised in one album.

All faces are compared with all enrolled ones, by matrix products over blocks of faces: 100,000
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
    FEWEST_PEOPLE,
    GALLERY_SAMPLE,
    Album,
    AlbumThreshold,
    effective_people,
    measure_album,
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
        log_odds: float32 (Q, 2), normalised, of the person's best face.
        distances: float32 (Q, 2), Euclidean, of the same face.
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
        people = gallery.person_rows
        photos = np.bincount(people)
        self.photos: list[int] = photos.tolist()
        self.enrolled = effective_people(self.photos)
        # A column of scores for each face: the first face of each person, then the second of those
        # who have one and so on. With the people who have most first, these are prefixes, whose
        # maximum is several times as fast as one over faces sorted by person.
        self._by_photos = np.argsort(-photos, kind="stable")  # place among columns -> person
        place = np.argsort(self._by_photos)
        order = np.argsort(people, kind="stable")
        number = np.arange(len(order)) - np.repeat(np.cumsum(photos) - photos, photos)
        columns = np.lexsort((place[people[order]], number))
        self._faces = album.cohort.describe(gallery.embeddings[order[columns]])
        widths = np.bincount(number)
        self._starts = np.append(0, np.cumsum(widths))
        self._counts = photos[self._by_photos]

    @classmethod
    def of_run(
        cls, normalisation: Normalisation, gallery: Gallery, faces: np.ndarray, photos: np.ndarray
    ) -> "AlbumSearch":
        """Measure the album of `faces`, see `measure_album`."""
        album = measure_album(normalisation, faces, gallery.embeddings, photos)
        if len(faces) < FEWEST_PEOPLE:  # the people told apart are then those of the gallery
            people = min(album.people, len(faces))
            album = replace(album, people=people, resampled=album.resampled[:0])
        return cls(album, gallery)

    @classmethod
    def of_no_album(cls, normalisation: Normalisation, gallery: Gallery) -> "AlbumSearch":
        """Return a search for single photos, which say nothing about an album.

        The enrolled people are the cohort. The threshold is that of the calibration set with the
        most similar strangers; it was measured without any cohort of people, so this errs on the
        strict side.
        """
        nothing = np.zeros((0, gallery.embedding_size), np.float32)
        album = measure_album(normalisation, nothing, nothing)
        first = np.unique(gallery.person_rows, return_index=True)[1][:GALLERY_SAMPLE]
        return cls(replace(album, cohort=Cohort(normalisation, gallery.embeddings[first])), gallery)

    def threshold(self, thresholds: Thresholds, budget: float) -> AlbumThreshold:
        """Return the threshold for `budget`; UsageError as `Thresholds.require`."""
        return threshold_in(self.album, thresholds, budget, self.photos)

    def rank(self, embeddings: np.ndarray) -> Ranked:
        """Return the best people for each row of `embeddings`, float32 (Q, D).

        Equally probable people are sorted by distance, then by name.
        """
        rows = max(1, min(_MOST_ROWS, _CELLS // len(self._faces)))
        starts = range(0, max(len(embeddings), 1), rows)
        parts = [self._rank_block(embeddings[start : start + rows]) for start in starts]
        people, odds, distances = (np.concatenate(part) for part in zip(*parts, strict=True))
        share = self.album.strangers_named(odds[:, 0], self.enrolled)
        return Ranked(people, odds, distances, share)

    def _rank_block(self, embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return people, log odds and distances, (B, 2) each, of rows (B, D)."""
        cohort = self.album.cohort
        scores = cohort.verifier.logit_matrix(cohort.describe(embeddings), self._faces)
        best = scores[:, : len(self._counts)].copy()  # of each person
        for start, stop in zip(self._starts[1:], self._starts[2:], strict=False):
            part = best[:, : stop - start]
            np.maximum(part, scores[:, start:stop], out=part)
        rows = np.arange(len(best))
        first = best.argmax(axis=1)
        places, odds = first[:, None], best[rows, first][:, None]
        if len(self._counts) > 1:
            best[rows, first] = -np.inf
            second = best.argmax(axis=1)
            value = best[rows, second]
            places = np.stack([first, second], axis=1)
            odds = np.stack([odds[:, 0], value], axis=1)
            tied = (best >= value[:, None]).sum(axis=1) > 1
            for row in np.flatnonzero(tied | (odds[:, 0] == value)):
                equal = np.append(first[row], np.flatnonzero(best[row] >= value[row]))
                reached = np.append(odds[row, 0], best[row, equal[1:]])
                lines = np.full(len(equal), row)
                distances = self._distances(embeddings, scores, lines, equal)
                order = np.lexsort((self._by_photos[equal], distances, -reached))[:2]
                places[row], odds[row] = equal[order], reached[order]
        distances = np.stack(
            [self._distances(embeddings, scores, rows, column) for column in places.T], axis=1
        )
        return self._by_photos[places], odds, distances

    def _distances(
        self, embeddings: np.ndarray, scores: np.ndarray, rows: np.ndarray, places: np.ndarray
    ) -> np.ndarray:
        """Return the distances (N,) of `rows` of `embeddings` to the best faces of `places`."""
        counts = self._counts[places]
        ends = np.cumsum(counts)
        pair = np.repeat(np.arange(len(places)), counts)
        number = np.arange(len(pair)) - np.repeat(ends - counts, counts)
        columns = self._starts[number] + places[pair]
        # The last of a pair's columns in this order is that of the highest score.
        order = np.lexsort((scores[rows[pair], columns], pair))
        columns = columns[order][ends - 1]
        difference = embeddings[rows] - self._faces[columns, :-2]
        result: np.ndarray = np.linalg.norm(difference, axis=1)
        return result
