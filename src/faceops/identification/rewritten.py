"""Photos whose file was written anew, such as with tags: decisions about their faces hold on.

A program that writes into a photo changes its bytes, and so its photo_id, but not what it shows.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faceops.base.errors import DamageError, FaceOpsError
from faceops.faces.detector import SAME_BOX, box_overlap
from faceops.gallery.decisions import Decisions, scaled_box
from faceops.gallery.journal import Action, Entry, Journal, new_batch
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.found_photo import FoundPhoto
from faceops.identification.state.photo_block import PhotoBlock

# Of the same face before and after. Two photos of one person have less: in LFW, by SFace, 1 of
# 1,000 such pairs reaches it.
MIN_COSINE = 0.9
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
        """Return whether a photo shows the decided faces of `earlier` at their places.

        If these have no embedding, such as drawn ones, all faces are compared.
        """
        size, rows = (*photos.sizes[photo].tolist(),), photos.rows_of(photo)
        if not all(size) or not all(earlier.size):
            return False
        boxes = earlier.faces["box"].tolist()
        is_embedded = earlier.embeddings.any(axis=1) if len(boxes) else np.zeros(0, bool)
        places = self._decisions.match(was, boxes)
        wanted = is_embedded & np.array([place is not None for place in places], bool)
        wanted = wanted if wanted.any() else is_embedded
        for row in np.flatnonzero(wanted).tolist():
            box = scaled_box(boxes[row], earlier.size, (size[0], size[1]))
            overlaps = [box_overlap(box, now) for now in photos.faces["box"][rows].tolist()]
            if max(overlaps, default=0.0) < SAME_BOX:
                return False
            same = photos.embeddings[rows][int(np.argmax(overlaps))]
            if float(same @ earlier.embeddings[row]) < MIN_COSINE:
                return False
        return bool(wanted.any())
