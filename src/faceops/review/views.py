"""What the review page shows: lists of faces, people and decisions, photos, doubtful faces."""

import io
import itertools
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.files import paths_shown_as
from faceops.base.nearest import nearest_of_others
from faceops.dataset.names import person_key
from faceops.gallery import history as histories
from faceops.gallery.faces_file import GalleryFace
from faceops.gallery.similarity import MAX_COMPARED, Lookalikes, comparison, find_lookalikes
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery
from faceops.identification.state.photo_block import THUMBNAIL_SIZE
from faceops.identification.unknown.unknown_people import unknown_number
from faceops.photos.open_photo import Photo, open_photo
from faceops.photos.pixels import image_of, part_of
from faceops.release.bundle import Bundle
from faceops.review import lists
from faceops.review.decided import DecidedAlbum
from faceops.review.faces import (
    FaceKey,
    ReviewedFace,
    Why,
    places_of,
    refused_people,
    reviewed_faces,
    why,
)
from faceops.review.live import LiveAlbum
from faceops.review.results import Results, capture_time

_NOT_ENROLLED = "this face is not in the gallery any more; load the page again."
COUNT = 60  # faces of a response by default
MAX_SIDE = 4096  # pixels of a photo's picture
AROUND = 1.6  # side of a picture cut from a photo, in longer sides of the face's box
WEAK_QUALITY = 0.35  # an enrolled face below it is weak; enrolment asks for 0.2


@dataclass(frozen=True)
class ReviewedPhoto:
    """A photo with its faces; `size` is its upright width and height, pixels."""

    photo_id: str
    path: str
    size: tuple[int, int]
    faces: list[ReviewedFace]


@dataclass(frozen=True)
class DoubtfulFace:
    crop_id: str
    person: str
    shown: str
    photo: str
    quality: float
    # "weak" (poor quality), "mixed" (more like another person) or "doubtful" (unlike the person's
    # other faces)
    what: str
    sentence: str  # what is wrong with it


class AlbumViews(LiveAlbum):
    """A `LiveAlbum` as the page shows it; `by` decides, "" if not stated.

    Faces are given by their `FaceKey`, people by their name in the gallery, in any spelling. Every
    method raises a UsageError for what does not exist, with a sentence for the page.
    """

    def __init__(self, out: Path, gallery: GalleryPlace, bundle: Bundle, by: str = "") -> None:
        self.by = by
        self._times: dict[str, datetime | None] = {}  # capture times of photos, by photo_id
        super().__init__(out, gallery, bundle)

    @property
    def people(self) -> list[str]:
        """The names of people with an enrolled face or a valid decision, for completion."""
        album = self.decided
        with self.lock:
            known = {*album.gallery.people, *self.decisions.decided_people()}
        return sorted((name for name in album.people if name in known), key=str.casefold)

    def piles(self) -> list[lists.Pile]:
        """Return the people with faces to confirm, see `lists.piles`."""
        return lists.piles(self.decided)

    def pile(self, person: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces that may show `person`, as `with_hints` orders them."""
        album, results = self.decided, self.results

        def taken(photo: int) -> datetime | None:
            photo_id = album.photos.photo_ids[photo] or ""
            if photo_id not in self._times:  # a file is opened once
                self._times[photo_id] = capture_time(results.run, album.texts[photo])
            return self._times[photo_id]

        rows = lists.pile_rows(album, self._name_of(album, person))
        rows, notes = lists.with_hints(album, rows, taken)
        rows = rows[start : start + count]
        faces = self._reviewed(album, rows)
        return [
            replace(face, note=notes.get(row, ""))
            for row, face in zip(rows.tolist(), faces, strict=True)
        ]

    def people_cards(self) -> list[lists.PersonCard]:
        """Return the enrolled and named people by name."""
        with self.lock:
            return lists.people_cards(self.decided, self.decisions)

    def person(self, name: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces that are named `name`, the least sure first."""
        album = self.decided
        rows = lists.person_rows(album, self._name_of(album, name))
        return self._reviewed(album, rows[start : start + count])

    def groups(self) -> list[lists.Group]:
        """Return the unknown people, the one with most faces first."""
        with self.lock:
            return lists.groups(self.decided, self.bundle, self.decisions)

    def group(self, name: str, start: int = 0, count: int = COUNT) -> list[ReviewedFace]:
        """Return the faces of an unknown person such as unknown-007, the best first."""
        album = self.decided
        rows = lists.group_rows(album, unknown_number(name))
        return self._reviewed(album, rows[start : start + count])

    def face(self, key: FaceKey) -> ReviewedFace:
        """Return a face; UsageError if there is none."""
        album = self.decided
        return self._reviewed(album, np.array([album.row(key)]))[0]

    def photo(self, photo_id: str) -> ReviewedPhoto:
        """Return a photo with its faces; UsageError if there is none."""
        album = self.decided
        place = album.photo_at(photo_id)
        rows = np.arange(*album.photos.starts[place : place + 2])
        rows = rows[album.is_shown[rows]]
        width, height = album.photos.sizes[place].tolist()
        faces = self._reviewed(album, rows)
        return ReviewedPhoto(photo_id, album.texts[place], (width, height), faces)

    def why(self, key: FaceKey) -> Why:
        album = self.decided
        row = album.row(key)
        with self.lock:
            (place,) = places_of(album, self.decisions, [row])
            entry = self.decisions.entries.get(place.entry) if place and place.person else None
        decided_by = "" if entry is None else entry.by or "somebody"
        candidates = self._reviewed(album, np.array([row]))[0].candidates
        return why(album, self.bundle, row, candidates, decided_by)

    def history(self, start: int = 0, count: int = COUNT) -> list[histories.Made]:
        """Return what was decided, the latest first."""
        with self.lock:
            return histories.history(self.decisions, start, count)

    def doctor(self) -> tuple[list[DoubtfulFace], list[Lookalikes]]:
        """Return the doubtful enrolled faces, the worst first, and people who look alike."""
        album, bundle = self.decided, self.bundle
        shown = dict(zip(album.people, album.shown, strict=True))
        lookalikes = find_lookalikes(album.gallery, bundle.release.thresholds, bundle.verify)
        return examine(album.gallery, bundle, shown), lookalikes

    def search(
        self, text: str, most: int = 20
    ) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Return people and photos whose name or path has `text`, in any case.

        People as (name in the gallery, name to show), photos as (photo_id, path).
        """
        album, wanted = self.decided, text.casefold().strip()
        if not wanted:
            return [], []
        people = [
            pair
            for pair in zip(album.people, album.shown, strict=True)
            if any(wanted in name.casefold() for name in pair)
        ]
        people.sort(key=lambda pair: (not pair[1].casefold().startswith(wanted), pair[1]))
        photos = (
            (photo_id, album.texts[place])
            for photo_id, place in album.photo_places.items()
            if wanted in album.texts[place].casefold()
        )
        return people[:most], list(itertools.islice(photos, most))

    def face_picture(self, key: FaceKey, size: int = 96) -> bytes:
        """Return a square picture of a face: WebP or JPEG.

        Up to 96 pixels it is the one in the state, else it is cut from the photo.

        Raises FaceOpsError: it has none, and its photo cannot be opened.
        """
        album, results = self.decided, self.results
        row = album.row(key)
        photo = int(album.photo[row])
        face = album.photos.photo_ids[photo] or "", row - int(album.photos.starts[photo])
        is_found = album.photos.faces["detector_score"][row] > 0
        stored = results.store.thumbnails([face]) if is_found and size <= THUMBNAIL_SIZE else {}
        if face in stored:
            return stored[face]
        x, y, width, height = album.photos.faces["box"][row].tolist()
        side = AROUND * max(width, height)
        opened = _open(results, album, photo, round(size * max(album.photos.sizes[photo]) / side))
        scale_x, scale_y = opened.scale
        left, top = x + (width - side) / 2, y + (height - side) / 2
        edges = (left / scale_x, top / scale_y, (left + side) / scale_x, (top + side) / scale_y)
        return _encoded(part_of(opened.pixels, tuple(map(round, edges))), size, "WEBP")

    def photo_picture(self, photo_id: str, side: int = 1280) -> bytes:
        """Return a photo, upright, scaled to a longest side of `side` pixels, as JPEG.

        Raises FaceOpsError: it cannot be opened, or was changed since.
        """
        album, results = self.decided, self.results
        side = min(max(side, 16), MAX_SIDE)
        opened = _open(results, album, album.photo_at(photo_id), side)
        return _encoded(image_of(opened.pixels), side, "JPEG")

    def enrolled_picture(self, crop_id: str) -> bytes:
        """Return the aligned crop of an enrolled face, as PNG."""
        with suppress(OSError):
            return self.decided.gallery.storage.png(self._enrolled(crop_id).crop_id)
        raise UsageError(_NOT_ENROLLED)

    def _enrolled(self, crop_id: str) -> GalleryFace:
        faces = self.decided.gallery.faces
        for face in faces.take(faces.where("crop_id", [crop_id])):
            return face
        raise UsageError(_NOT_ENROLLED)

    def _reviewed(self, album: DecidedAlbum, rows: np.ndarray) -> list[ReviewedFace]:
        with self.lock:  # decisions change
            refused = refused_people(album, self.decisions, rows)
        return reviewed_faces(album, self.bundle, rows, refused)

    def _name_of(self, album: DecidedAlbum, person: str) -> str:
        if person in album.places:
            return person
        key = person_key(person)
        current = album.gallery.aliases.get(key, person)
        return next((one for one in album.people if person_key(one) == person_key(current)), person)


def _open(results: Results, album: DecidedAlbum, photo: int, least_side: int) -> Photo:
    """Open a photo whose bytes are those of the run; `least_side` pixels are enough."""
    photo_id, root = album.photos.photo_ids[photo] or "", results.run.root
    error: FaceOpsError | None = None
    for place in results.photos_of.get(photo_id, ()):
        for path in paths_shown_as(root, album.texts[place]):
            try:
                opened = open_photo(path, results.run.summary.limits, least_side=least_side)
            except FaceOpsError as failed:
                error = failed
                continue
            if opened.photo_id == photo_id:
                return opened
    raise error or FaceOpsError(
        f"{printable(album.texts[photo])} is gone or was changed; run faceops identify again."
    )


def _encoded(image: Image.Image, side: int, kind: str) -> bytes:
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind, quality=85)
    return buffer.getvalue()


def examine(gallery: Gallery, bundle: Bundle, shown: dict[str, str]) -> list[DoubtfulFace]:
    """Return the doubtful faces, the worst first; `shown`: the name to show by that in gallery."""
    kinds = {"mixed": _mixed(gallery, shown), "doubtful": _unlike(gallery, bundle)}
    kinds["weak"] = sorted(
        (face.quality, row, "poor quality: small, blurred, dark or turned away")
        for row, face in enumerate(gallery.faces)
        if face.quality < WEAK_QUALITY
    )
    doubtful: dict[str, DoubtfulFace] = {}
    for what, found in kinds.items():
        for _, row, sentence in found:
            face = gallery.faces[row]
            name, quality = shown.get(face.person, face.person), round(face.quality, 4)
            doubtful.setdefault(
                face.crop_id,
                DoubtfulFace(face.crop_id, face.person, name, face.photo, quality, what, sentence),
            )
    return list(doubtful.values())


_Found = tuple[float, int, str]  # how good a face is, its row in the gallery, and what is wrong


def _mixed(gallery: Gallery, shown: dict[str, str]) -> list[_Found]:
    """Return the faces that are more like another person, the worst first."""
    rows, vectors = gallery.person_rows, gallery.embeddings
    near, cosines = (a[:, 0] for a in nearest_of_others(vectors, rows, vectors, rows, 1))
    order, others = np.argsort(rows, kind="stable"), np.bincount(rows)[rows] - 1
    starts = np.flatnonzero(np.diff(rows[order], prepend=-1))
    sums = np.add.reduceat(vectors[order], starts, axis=0, dtype=np.float64).astype(np.float32)
    own = np.einsum("nd,nd->n", sums[rows], vectors) - np.einsum("nd,nd->n", vectors, vectors)
    mean = own / np.maximum(others, 1)
    found = []
    for row in np.flatnonzero((others > 0) & (near >= 0) & (cosines > mean)).tolist():
        other = shown.get(gallery.persons[near[row]], gallery.persons[near[row]])
        sentence = f"more like {other} (cosine {cosines[row]:.2f}) than like the person's own "
        sentence += f"other faces ({mean[row]:.2f} on average)"
        found.append((float(mean[row] - cosines[row]), row, sentence))
    return sorted(found)


def _unlike(gallery: Gallery, bundle: Bundle) -> list[_Found]:
    """Return the faces that enrolment would refuse given the person's others, the worst first."""
    compare = comparison(bundle.release.thresholds, bundle.verify)
    order = np.argsort(gallery.person_rows, kind="stable")
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(gallery.person_rows[order])) + 1):
        if not 1 < len(rows) <= MAX_COMPARED:
            continue
        described = compare.describe(gallery.embeddings[rows])
        scores = compare.scores(described, described)
        np.fill_diagonal(scores, -np.inf)
        best = scores.max(axis=1)
        for at in np.flatnonzero(best < compare.dissimilar).tolist():
            sentence = "unlike all other enrolled faces of the person"
            found.append((float(best[at]), int(rows[at]), sentence))
    return sorted(found)
