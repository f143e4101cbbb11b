"""A gallery's faces while people are enrolled: who has which, kept up to date face by face."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from faceops.gallery.store import Gallery, GalleryFace

FaceKey = tuple[str, tuple[float, float, float, float]]  # photo_id and box


class EnrolledFaces:
    """The faces of `gallery`, to be changed; what a person costs does not grow with the others."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._by_person: dict[str, dict[FaceKey, GalleryFace]] = defaultdict(dict)
        self._holders: dict[FaceKey, GalleryFace] = {}
        for face in gallery.faces:
            self.add(face)

    def __iter__(self) -> Iterator[GalleryFace]:
        for faces in self._by_person.values():
            yield from faces.values()

    def of(self, person: str) -> list[GalleryFace]:
        """Return the person's faces."""
        return list(self._by_person[person].values()) if person in self._by_person else []

    def embeddings(self, faces: list[GalleryFace]) -> np.ndarray:
        """Return float32 (K, D), a row for each of `faces`."""
        rows = [face.embedding for face in faces]
        return np.array(rows, np.float32).reshape(-1, self._gallery.embedding_size)

    def holder(self, photo_id: str, box: tuple[float, float, float, float]) -> GalleryFace | None:
        """Return the enrolled face that is this face of this photo."""
        return self._holders.get((photo_id, box))

    def add(self, face: GalleryFace) -> None:
        """Enrol `face`."""
        key = face.photo_id, face.box
        self._by_person[face.person][key] = self._holders[key] = face

    def remove(self, face: GalleryFace) -> None:
        """Take `face` out."""
        key = face.photo_id, face.box
        del self._by_person[face.person][key]
        if self._holders.get(key) is face:
            del self._holders[key]

    def gallery(self) -> Gallery:
        """Return the gallery as it is now."""
        return replace(self._gallery, faces=()).with_faces(self)
