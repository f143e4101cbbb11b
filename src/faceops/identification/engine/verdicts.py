"""What people decided about the faces of a run, as columns; it comes before any score.

A program that writes into a photo, such as tags, changes its bytes, and so its photo_id, but not
what it shows: decisions about its faces hold on, see `RewrittenPhotos`.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from faceops.base.errors import DamageError, FaceOpsError
from faceops.dataset.names import person_key
from faceops.faces.detector import SAME_BOX, best_overlap
from faceops.gallery.decisions import Decisions, scaled_box
from faceops.gallery.journal import Action, Entry, Journal, new_batch
from faceops.gallery.store import Gallery
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FACE, FoundPhoto, PhotoBlock

NOBODY = -1
UNNAMED = -2  # a person without a name: the face is one of a group of unknown faces
# A photo is the same if one face is, at its place: by embedding, and by the correlation of the
# pixels of its thumbnail. Measured on LFW's photos of 250 pixels: 109 of 110 that were saved in
# half the size pass, and 1 of 634 pairs of other photos of one person, where a cosine of 0.9 alone
# lets 3 pass.
MIN_COSINE, MIN_CORRELATION = 0.8, 0.92
COMPARED_SIDE = 24  # pixels: finer detail is lost in smaller copies
MAX_ASPECT = 0.01  # by which the ratio of width and height may differ: sides are rounded
BY = "faceops"  # who notes that two photos are the same


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What people decided about F faces."""

    # int32 (F,), the person whom the face shows, as a place in `DecidedFaces.people`; `UNNAMED` for
    # a person without a name, `NOBODY` if nobody said
    confirmed: np.ndarray
    ignored: np.ndarray  # bool (F,), nobody is to be asked about the face
    refused: np.ndarray  # int64 (2, R), faces, ascending, and people whom they do not show

    @classmethod
    def none(cls, faces: int) -> "Verdicts":
        """Return that nobody decided anything about so many faces."""
        nobody, no = np.full(faces, NOBODY, np.int32), np.zeros(faces, bool)
        return cls(nobody, no, np.zeros((2, 0), np.int64))


class DecidedFaces:
    """The decisions of a journal, for the people of a gallery.

    Attributes:
        decisions: may get further entries, but of no other people.
        gallery: whose people may be given.
        people: the sorted names of the gallery, then those of people who are only in the journal.
        shown: the names under which these people are shown; two may be the same.
    """

    def __init__(self, decisions: Decisions, gallery: Gallery) -> None:
        self.decisions, self.gallery = decisions, gallery
        self.people = list(gallery.people)
        self._places: dict[str, int] = {}
        for place, name in enumerate(gallery.people):
            # By an earlier name too, while the gallery lacks a change of the journal.
            person = decisions.current(decisions.person_named(name)) or decisions.person_id(name)
            if person not in self._places or decisions.name(person) == name:
                self._places[person] = place
        enrolled = {person_key(name): at for at, name in enumerate(self.people)}
        for person, name in decisions.people().items():
            current = gallery.aliases.get(person_key(name), name)
            at = self._places.get(person, enrolled.get(person_key(current)))
            if at is None:
                at = len(self.people)
                self.people.append(name)
            self._places[person] = at
        self.shown = [decisions.shown_name(name) for name in self.people]

    def name_of(self, person: str) -> str:
        """Return the name, one of `people`, of the person with this id; "" without one."""
        at = self._place_of(person)
        return "" if at == NOBODY else self.people[at]

    def verdicts(self, photos: PhotoBlock) -> Verdicts:
        """Return what was decided about the faces of `photos`; a forgotten face stays so."""
        found = Verdicts.none(len(photos.faces))
        refused: list[tuple[int, int]] = []
        for photo, rows in self._decided(photos):
            boxes = photos.faces["box"][rows].tolist()
            places = self.decisions.match(photos.photo_ids[photo] or "", boxes)
            for face, place in enumerate(places, rows.start):
                if place is None or photos.faces["forgotten"][face]:
                    continue
                person = self._place_of(place.person)
                found.confirmed[face] = UNNAMED if place.person and person == NOBODY else person
                found.ignored[face] = bool(place.ignored)
                people = sorted({self._place_of(person) for person in place.refused})
                refused += [(face, person) for person in people if person != NOBODY]
        pairs = np.array(refused, np.int64).reshape(-1, 2).T
        return replace(found, refused=pairs)

    def with_drawn(self, photos: PhotoBlock) -> PhotoBlock:
        """Return `photos` with a face for each box of a named person where no face was found.

        A person has drawn it, or confirmed it when it was found. It follows the faces that were
        found, without score, quality and embedding.
        """
        drawn: list[tuple[int, tuple[float, ...]]] = []
        for photo, rows in self._decided(photos):
            photo_id = photos.photo_ids[photo] or ""
            places = self.decisions.match(photo_id, photos.faces["box"][rows].tolist())
            matched = {id(place) for place in places if place is not None}
            drawn += [
                (photo, place.box)
                for place in self.decisions.places(photo_id)
                if id(place) not in matched and self._place_of(place.person) >= 0
            ]
        if not drawn:
            return photos
        of_photo = np.array([photo for photo, _ in drawn])
        at = photos.starts[of_photo + 1]
        faces = np.array([(box, 0, 0, False) for _, box in drawn], FACE)
        counts = np.diff(photos.starts) + np.bincount(of_photo, minlength=len(photos))
        reasons = [
            None if count else reason
            for count, reason in zip(counts.tolist(), photos.reasons, strict=True)
        ]
        return replace(
            photos,
            reasons=reasons,
            starts=np.cumsum([0, *counts.tolist()]),
            faces=np.insert(photos.faces, at, faces),
            embeddings=np.insert(photos.embeddings, at, np.float32(0), axis=0),
        )

    def _decided(self, photos: PhotoBlock) -> list[tuple[int, slice]]:
        """Return the photos about whose faces something was decided, with the rows of these."""
        known = self.decisions.photos()
        return [
            (photo, photos.rows_of(photo))
            for photo, photo_id in enumerate(photos.photo_ids)
            if photo_id in known
        ]

    def _place_of(self, person: str) -> int:
        return self._places.get(self.decisions.current(person), NOBODY) if person else NOBODY


class RewrittenPhotos:
    """Notes in the journal which photos are the same as earlier ones with decisions.

    `decisions`, those of the journal, get these entries too.
    """

    def __init__(self, decisions: Decisions, store: FaceStore, journal: Journal) -> None:
        self._decisions, self._store, self._journal = decisions, store, journal
        self._batch = new_batch()

    def note(self, photos: PhotoBlock) -> None:
        """Look at photos of the run, whose faces are in the store.

        Raises DamageError: the journal is damaged.
        """
        if not self._decisions:
            return
        decided = self._decisions.photos()
        before = {
            path: photo_id
            for path, photo_id in self._store.replaced(photos.paths).items()
            if photo_id in decided
        }
        known = self._store.known(sorted(set(before.values()))) if before else {}
        entries = []
        for photo, path in enumerate(photos.paths):
            earlier, photo_id = known.get(before.get(path, "")), photos.photo_ids[photo]
            if earlier is None or photo_id is None:
                continue
            was = before[path]
            is_noted = photo_id in self._decisions.same_content(was)
            if not is_noted and self._shows_the_same(was, earlier, photos, photo):
                width, height = photos.sizes[photo].tolist()
                same = Entry(Action.SAME, photo_id, size=(width, height), detail=was, by=BY)
                entries.append(replace(same, batch=self._batch))
        if entries:
            self._decisions.add(self._appended(entries))

    def _appended(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        try:
            return self._journal.append(entries)
        except DamageError:
            raise
        except FaceOpsError:  # a read-only gallery: they hold for this run
            latest = max(entry.time for entry in self._decisions.entries.values())
            return [replace(entry, time=latest) for entry in entries]

    def _shows_the_same(
        self, was: str, earlier: FoundPhoto, photos: PhotoBlock, photo: int
    ) -> bool:
        width, height = photos.sizes[photo].tolist()
        if not (width and height and all(earlier.size) and len(earlier.embeddings)):
            return False
        if abs(width / height * earlier.size[1] / earlier.size[0] - 1) > MAX_ASPECT:
            return False
        rows = photos.rows_of(photo)
        now, embeddings = photos.faces["box"][rows].tolist(), photos.embeddings[rows]
        for face, box in enumerate(earlier.faces["box"].tolist()):
            scaled = scaled_box(box, earlier.size, (width, height))
            same = best_overlap(scaled, now, SAME_BOX)
            if same is None or float(embeddings[same] @ earlier.embeddings[face]) < MIN_COSINE:
                continue
            pictures = self._store.thumbnails([(was, face), (photos.photo_ids[photo] or "", same)])
            if len(pictures) == 2 and _correlation(*pictures.values()) >= MIN_CORRELATION:
                return True
        return False


def _correlation(one: bytes, other: bytes) -> float:
    rows = []
    for picture in (one, other):
        with Image.open(io.BytesIO(picture)) as image:
            small = image.convert("L").resize((COMPARED_SIDE,) * 2, Image.Resampling.BOX)
        values = np.asarray(small, np.float64).ravel()
        values -= values.mean()
        rows.append(values / max(float(np.linalg.norm(values)), 1e-9))
    return float(rows[0] @ rows[1])
