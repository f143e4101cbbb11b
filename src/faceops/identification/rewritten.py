"""Photos whose file was written anew, such as with tags: decisions about their faces hold on.

A program that writes into a photo changes its bytes, and so its photo_id, but not what it shows.
"""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from faceops.base.errors import DamageError, FaceOpsError
from faceops.faces.detector import SAME_BOX, best_overlap
from faceops.gallery.decisions import Decisions, scaled_box
from faceops.gallery.journal import Action, Entry, Journal, new_batch
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import FoundPhoto, PhotoBlock

# A photo is the same if one face is, at its place: by embedding, and by the correlation of the
# pixels of its thumbnail. Measured on LFW's photos of 250 pixels: 109 of 110 that were saved in
# half the size pass, and 1 of 634 pairs of other photos of one person, where a cosine of 0.9 alone
# lets 3 pass.
MIN_COSINE, MIN_CORRELATION = 0.8, 0.92
COMPARED_SIDE = 24  # pixels: finer detail is lost in smaller copies
MAX_ASPECT = 0.01  # by which the ratio of width and height may differ: sides are rounded
BY = "faceops"  # who notes that two photos are the same


class RewrittenPhotos:
    """Notes in the journal which photos are the same as earlier ones with decisions.

    `decisions`, those of the journal, get these entries too.
    """

    def __init__(self, decisions: Decisions, store: FaceStore, journal: Journal) -> None:
        self._decisions, self._store, self._journal = decisions, store, journal
        self._batch = new_batch()

    def note(self, photos: PhotoBlock) -> None:
        """Look at photos of the run, whose faces are in the store.

        Raises:
            DamageError: the journal is damaged.
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
