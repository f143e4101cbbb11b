"""The gallery: a plain folder of enrolled faces, bound to one release contract.

faces.parquet holds a row for each face with its embedding, crops/ the aligned crops, by which a
later release can embed the same faces again, and gallery.json states format version, contract and
aliases. Every file is replaced atomically. The Parquet file is written first and repeats contract
and aliases in its metadata; those count, so a writer that is killed between the two files leaves
a consistent gallery, and the next writer corrects gallery.json. faces.copy.parquet, written last,
is the copy from which `repair` restores faces.parquet; only repair reads it.

Galleries of format 1 have the crops in faces.parquet. They can be read; the first command that
changes one rewrites it in format 2.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_file, write_json
from faceops.base.locks import folder_lock
from faceops.gallery.crops import (
    CROPS_FOLDER,
    format_1_crops,
    store_crop,
    store_png,
    unused_crops,
)
from faceops.gallery.faces_file import (
    ENROLLED,
    FORMAT_VERSION,
    GalleryFace,
    encode_faces,
    face_order,
    is_copied,
    read_faces,
    read_statement,
)
from faceops.gallery.folder import COPY_FILE, FACES_FILE, GALLERY_FILE, gallery_stamp
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
        stamp: see `gallery_stamp`; "" for a gallery that differs from its files.
        format_version: 1 can be read, but not saved.
    """

    folder: Path
    contract_id: str
    embedding_size: int
    faces: tuple[GalleryFace, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    crops_id: str = ""
    stamp: str = ""
    format_version: int = FORMAT_VERSION

    @classmethod
    def open(cls, folder: Path, contract_id: str | None = None) -> "Gallery":
        """Read the gallery in `folder`; with `contract_id`, only if it was enrolled under it.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged, of another format version, or of another contract.
        """
        stamp = gallery_stamp(folder)  # before reading: a save during the read counts as a change
        gallery = cls.read(folder / FACES_FILE, read_statement(folder))
        gallery = replace(gallery, stamp=stamp)
        if contract_id is not None:
            gallery.require(contract_id)
        return gallery

    def require(self, contract_id: str) -> None:
        """Raise a FaceOpsError for a release of another contract."""
        if self.contract_id != contract_id:
            raise FaceOpsError(
                f"the gallery {self.folder} was enrolled under contract {self.contract_id[:12]}, "
                f"this release has {contract_id[:12]}, and their embeddings cannot be compared: "
                f"`faceops people reembed --gallery {self.folder}` brings it under this release "
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
        """Return the gallery as its files are now: this one, unless they were replaced since.

        A gallery that was changed in memory is returned as it is. Raises as `open`.
        """
        if not self.stamp or gallery_stamp(self.folder) == self.stamp:
            return self
        return Gallery.open(self.folder, self.contract_id)

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
        crop_id = store_crop(self.folder, face.crop)
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
        """Return what gallery.json and the metadata of faces.parquet state."""
        return {
            "aliases": dict(self.aliases),
            "contract_id": self.contract_id,
            "crops_id": self.crops_id,
            "embedding_size": self.embedding_size,
            "schema_version": self.format_version,
        }

    @classmethod
    def read(cls, path: Path, statement: Mapping[str, Any]) -> "Gallery":
        """Read the faces in the file `path`, see `read_faces`."""
        stated, faces = read_faces(path, statement)
        return cls(
            path.parent,
            stated["contract_id"],
            stated["embedding_size"],
            faces,
            stated["aliases"],
            stated["crops_id"],
            format_version=stated["schema_version"],
        )

    def save(self) -> None:
        """Write the files, each replaced atomically; then delete the crops of removed faces.

        Raises:
            FaceOpsError: the folder cannot be written.
            ValueError: the gallery is of format 1; see `locked_gallery`.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"{self.folder} is of format {self.format_version}, migrate it first")
        content = encode_faces(self.faces, self.statement())
        write_file(self.folder / FACES_FILE, content)
        write_json(self.folder / GALLERY_FILE, self.statement())
        # Flushed to the disk: after a power failure, at least one of the two files is whole.
        write_file(self.folder / COPY_FILE, content, sync=True)
        for path in unused_crops(self.folder, {face.crop_id for face in self.faces}):
            path.unlink(missing_ok=True)
        remove_unfinished(self.folder)


@contextmanager
def locked_gallery(folder: Path, contract_id: str | None = None) -> Iterator[Gallery]:
    """Lock the gallery in `folder`, and yield it to be changed and saved.

    One of format 1 is rewritten in the present format first, with one sentence on stderr.

    Raises:
        UsageError, FaceOpsError: as `Gallery.open`; the gallery is in use or cannot be written.
    """
    read_statement(folder)  # before the lock, which would create the folder
    with folder_lock(folder):
        yield open_for_update(folder, contract_id)


def open_or_create(
    folder: Path, contract_id: str, embedding_size: int, crops_id: str = ""
) -> Gallery:
    """Open the gallery in `folder` to be changed, or create an empty one; the caller locks it.

    A gallery that does not state how its crops were made gets `crops_id`.

    Raises:
        FaceOpsError: as `locked_gallery`; or the folder holds something else than a gallery.
    """
    if (folder / GALLERY_FILE).exists():
        gallery = open_for_update(folder, contract_id)
        return gallery if gallery.crops_id else replace(gallery, crops_id=crops_id, stamp="")
    if any((folder / name).exists() for name in (FACES_FILE, COPY_FILE)):
        read_statement(folder)  # says how to repair it
    if (folder / CROPS_FOLDER).exists():
        raise FaceOpsError(
            f"{folder} has {CROPS_FOLDER} but no {GALLERY_FILE}; name an empty folder."
        )
    gallery = Gallery(folder, contract_id, embedding_size, crops_id=crops_id)
    gallery.save()
    return gallery


def open_for_update(folder: Path, contract_id: str | None = None) -> Gallery:
    """Open the gallery as `locked_gallery` does, inside its lock."""
    for left in folder.glob(".*.tmp"):  # of a killed process; it may hold a forgotten person
        if left.is_file():
            left.unlink(missing_ok=True)
    gallery = Gallery.open(folder, contract_id)
    if gallery.format_version == FORMAT_VERSION:
        # A writer may have been killed before it wrote the other files.
        if read_statement(folder) != gallery.statement():
            write_json(folder / GALLERY_FILE, gallery.statement())
            gallery = Gallery.open(folder, contract_id)
        if not is_copied(folder):
            write_file(folder / COPY_FILE, (folder / FACES_FILE).read_bytes(), sync=True)
        return gallery
    crop_ids = [store_png(folder, crop) for crop in format_1_crops(folder / FACES_FILE)]
    pairs = zip(gallery.faces, crop_ids, strict=True)
    faces = tuple(replace(face, crop_id=crop_id) for face, crop_id in pairs)
    replace(gallery, faces=faces, format_version=FORMAT_VERSION).save()
    print(
        f"{folder}: migrated to gallery format {FORMAT_VERSION}, which keeps crops in their own "
        "files; earlier versions of faceops cannot read it.",
        file=sys.stderr,
    )
    return Gallery.open(folder, contract_id)
