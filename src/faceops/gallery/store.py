"""The gallery: enrolled faces, bound to one release contract; see `faceops.gallery.storage`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.gallery.crops import encode_crop
from faceops.gallery.faces_file import (
    ENROLLED,
    FORMAT_VERSION,
    GalleryFace,
    face_order,
)
from faceops.gallery.storage import GalleryPlace, GalleryStorage, storage_of
from faceops.gallery.unfinished import remove_unfinished

if TYPE_CHECKING:
    from faceops.faces.find_faces import Face  # loads ONNX Runtime


@dataclass(frozen=True, eq=False)
class Gallery:
    """The enrolled faces, sorted by person, photo and box; immutable: `save` writes a new state.

    Attributes:
        contract_id: see `faceops.release.contract.contract_id`.
        embedding_size: values of an embedding.
        crops_id: see `faceops.release.contract.crops_id`; "" in galleries that do not state it.
        aliases: the current name of a person by the key (`person_key`) of an earlier name.
        stamp: see `GalleryStorage.stamp`; "" for a gallery that differs from what is saved.
        format_version: 1 can be read, but not saved.
    """

    place: GalleryPlace
    contract_id: str
    embedding_size: int
    faces: tuple[GalleryFace, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    crops_id: str = ""
    stamp: str = ""
    format_version: int = FORMAT_VERSION

    @classmethod
    def open(cls, place: GalleryPlace, contract_id: str | None = None) -> "Gallery":
        """Read the gallery at `place`; with `contract_id`, only if it was enrolled under it.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged, of another format version, or of another contract.
        """
        storage = storage_of(place)
        stamp = storage.stamp()  # before reading: a save during the read counts as a change
        gallery = replace(cls.of(place, *storage.read()), stamp=stamp)
        if contract_id is not None:
            gallery.require(contract_id)
        return gallery

    @classmethod
    def of(
        cls, place: GalleryPlace, stated: Mapping[str, Any], faces: Iterable[GalleryFace]
    ) -> "Gallery":
        """Return the gallery of a statement and faces in their order."""
        return cls(
            place,
            stated["contract_id"],
            stated["embedding_size"],
            tuple(faces),
            stated["aliases"],
            stated["crops_id"],
            format_version=stated["schema_version"],
        )

    @property
    def storage(self) -> GalleryStorage:
        """Where it is kept."""
        return storage_of(self.place)

    def require(self, contract_id: str) -> None:
        """Raise a FaceOpsError for a release of another contract."""
        if self.contract_id != contract_id:
            raise FaceOpsError(
                f"the gallery {self.storage} was enrolled under contract {self.contract_id[:12]}, "
                f"this release has {contract_id[:12]}, and their embeddings cannot be compared: "
                f"`faceops people reembed --gallery {self.storage}` brings it under this release "
                "without photos (add the same --model, --bundle and --precision); or name its own "
                "release by these options."
            )

    @cached_property
    def persons(self) -> list[str]:
        """The person of each face."""
        return [face.person for face in self.faces]

    @cached_property
    def people(self) -> list[str]:
        """The enrolled people, sorted."""
        return sorted(set(self.persons))

    @cached_property
    def person_rows(self) -> np.ndarray:
        """int64 (M,), the place in `people` of each face's person."""
        places = {person: place for place, person in enumerate(self.people)}
        return np.array([places[person] for person in self.persons], np.int64)

    @cached_property
    def embeddings(self) -> np.ndarray:
        """float32 (M, D), a row for each face."""
        empty = np.zeros((0, self.embedding_size), np.float32)
        return np.stack([face.embedding for face in self.faces]) if self.faces else empty

    def as_saved(self) -> "Gallery":
        """Return the gallery as it is saved now: this one, unless it was changed since.

        A gallery that was changed in memory is returned as it is. Raises as `open`.
        """
        if not self.stamp or self.storage.stamp() == self.stamp:
            return self
        return Gallery.open(self.place, self.contract_id)

    def with_faces(self, added: Iterable[GalleryFace]) -> "Gallery":
        """Return this gallery with further faces, whose crops are stored already."""
        return replace(self, faces=tuple(sorted([*self.faces, *added], key=face_order)), stamp="")

    def renamed(self, names: Mapping[str, str]) -> "Gallery":
        """Return this gallery with each person under the name that `names` has for them.

        Of faces that become the same (photo and box) one stays.
        """
        faces = {
            (names[face.person], face.photo_id, face.box): replace(face, person=names[face.person])
            for face in reversed(self.faces)
        }
        return replace(self, faces=tuple(sorted(faces.values(), key=face_order)), stamp="")

    def store_face(
        self,
        person: str,
        source: tuple[str, str],
        face: "Face",
        embedding: np.ndarray,
        origin: str = ENROLLED,
    ) -> GalleryFace:
        """Store the crop of a face, and return the face to be added with `with_faces`.

        Args:
            source: the photo_id and path of its photo, see `GalleryFace`.
        """
        photo_id, photo = source
        box, score = face.detection.box, face.detection.score
        crop_id = self.storage.store_png(encode_crop(face.crop))
        quality = face.quality.overall
        return GalleryFace(person, photo_id, photo, box, score, quality, embedding, crop_id, origin)

    def with_aliases(self, aliases: Mapping[str, str]) -> "Gallery":
        """Return this gallery with these `aliases` instead of its current ones."""
        return replace(self, aliases=dict(aliases), stamp="")

    def without(self, is_removed: Callable[[GalleryFace], bool]) -> "Gallery":
        """Return this gallery without the faces for which `is_removed` is true."""
        kept = tuple(face for face in self.faces if not is_removed(face))
        return replace(self, faces=kept, stamp="")

    def statement(self) -> dict[str, Any]:
        """Return what the gallery states beside its faces."""
        return {
            "aliases": dict(self.aliases),
            "contract_id": self.contract_id,
            "crops_id": self.crops_id,
            "embedding_size": self.embedding_size,
            "schema_version": self.format_version,
        }

    def save(self) -> None:
        """Replace the saved gallery, and delete the crops of removed faces.

        Raises:
            FaceOpsError: it cannot be written.
            ValueError: the gallery is of format 1; see `locked_gallery`.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"{self.storage} is of format {self.format_version}, migrate it first")
        self.storage.write(self.statement(), self.faces)
        remove_unfinished(self.place)


@contextmanager
def locked_gallery(place: GalleryPlace, contract_id: str | None = None) -> Iterator[Gallery]:
    """Lock the gallery at `place`, and yield it to be changed and saved.

    One of an earlier format is migrated first, with one sentence on stderr.

    Raises:
        UsageError, FaceOpsError: as `Gallery.open`; the gallery is in use or cannot be written.
    """
    storage = storage_of(place)
    storage.statement()  # before the lock, which would create the folder
    with storage.lock():
        storage.prepare()
        yield Gallery.open(place, contract_id)


def open_or_create(
    place: GalleryPlace, contract_id: str, embedding_size: int, crops_id: str = ""
) -> Gallery:
    """Open the gallery at `place` to be changed, or create an empty one; the caller locks it.

    A gallery that does not state how its crops were made gets `crops_id`.

    Raises:
        FaceOpsError: as `locked_gallery`; or the place holds something else than a gallery.
    """
    storage = storage_of(place)
    if storage.exists():
        storage.prepare()
        gallery = Gallery.open(place, contract_id)
        return gallery if gallery.crops_id else replace(gallery, crops_id=crops_id, stamp="")
    gallery = Gallery(place, contract_id, embedding_size, crops_id=crops_id)
    gallery.save()
    return gallery
