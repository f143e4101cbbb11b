"""The gallery: a plain folder of enrolled faces, bound to one release contract.

faces.parquet holds a row for each face with its embedding, crops/ the aligned crops, by which a
later release can embed the same faces again, and gallery.json states format version, contract and
aliases. Every file is replaced atomically. The Parquet file is written first and repeats contract
and aliases in its metadata; those count, so a writer that is killed between the two files leaves
a consistent gallery, and the next writer corrects gallery.json.

Galleries of format 1 have the crops in faces.parquet. They can be read; the first command that
changes one rewrites it in format 2.
"""

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import write_file, write_json
from faceops.base.locks import folder_lock
from faceops.gallery.crops import (
    CROPS_FOLDER,
    format_1_crops,
    remove_unused_crops,
    store_crop,
    store_png,
)
from faceops.gallery.folder import FACES_FILE, GALLERY_FILE, gallery_stamp

if TYPE_CHECKING:
    from faceops.faces.find_faces import Face  # loads ONNX Runtime

FORMAT_VERSION = 2
_STATEMENT = b"faceops.contract"  # key in the metadata of the Parquet file
ENROLLED = "enrolled"
NAMED = "named"


@dataclass(frozen=True, eq=False)
class GalleryFace:
    """One enrolled face.

    Attributes:
        person: the name as it is shown.
        photo_id: sha256 of the photo's bytes, hex.
        photo: the photo's path below the enrolled folder, with /.
        box: x, y, width, height in pixels of the upright photo.
        detector_score, quality: 0 to 1.
        embedding: float32 (D,), L2-normalised.
        crop_id: of the aligned face, see `faceops.gallery.crops`; "" in galleries of format 1.
        origin: "enrolled" from a folder of people, or "named" in an album, where `photo` lies then.
    """

    person: str
    photo_id: str
    photo: str
    box: tuple[float, float, float, float]
    detector_score: float
    quality: float
    embedding: np.ndarray
    crop_id: str = ""
    origin: str = ENROLLED


def face_order(face: GalleryFace) -> tuple[object, ...]:
    """Return the key by which a gallery sorts its faces, different for different faces."""
    return face.person, face.photo, face.photo_id, face.box


SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("photo_id", pa.string()),
        ("photo", pa.string()),
        ("box", pa.list_(pa.float64(), 4)),
        ("detector_score", pa.float64()),
        ("quality", pa.float64()),
        ("embedding", pa.list_(pa.float32())),
        ("crop_id", pa.string()),
        ("origin", pa.string()),
    ]
)


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
        gallery = replace(_read_faces(folder, _read_statement(folder)), stamp=stamp)
        if contract_id is not None:
            gallery.require(contract_id)
        return gallery

    def require(self, contract_id: str) -> None:
        """Raise a FaceOpsError for a release of another contract."""
        if self.contract_id != contract_id:
            raise FaceOpsError(
                f"the gallery {self.folder} was enrolled under contract {self.contract_id[:12]}, "
                f"this release has {contract_id[:12]}, and their embeddings cannot be compared: "
                f"`faceops people reembed --gallery {self.folder}` with the same --bundle or "
                "--model embeds its faces again, without photos."
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

    def save(self) -> None:
        """Write the files, each replaced atomically; then delete the crops of removed faces.

        Raises:
            FaceOpsError: the folder cannot be written.
            ValueError: the gallery is of format 1; see `locked_gallery`.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"{self.folder} is of format {self.format_version}, migrate it first")
        columns = {name: [getattr(face, name) for face in self.faces] for name in SCHEMA.names}
        metadata = {_STATEMENT: json.dumps(self.statement(), sort_keys=True).encode()}
        table = pa.table(columns, schema=SCHEMA.with_metadata(metadata))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        write_file(self.folder / FACES_FILE, buffer.getvalue())
        write_json(self.folder / GALLERY_FILE, self.statement())
        remove_unused_crops(self.folder, {face.crop_id for face in self.faces})


@contextmanager
def locked_gallery(folder: Path, contract_id: str | None = None) -> Iterator[Gallery]:
    """Lock the gallery in `folder`, and yield it to be changed and saved.

    One of format 1 is rewritten in the present format first, with one sentence on stderr.

    Raises:
        UsageError, FaceOpsError: as `Gallery.open`; the gallery is in use or cannot be written.
    """
    _read_statement(folder)  # before the lock, which would create the folder
    with folder_lock(folder):
        yield _open_for_update(folder, contract_id)


def open_or_create(
    folder: Path, contract_id: str, embedding_size: int, crops_id: str = ""
) -> Gallery:
    """Open the gallery in `folder` to be changed, or create an empty one; the caller locks it.

    A gallery that does not state how its crops were made gets `crops_id`.

    Raises:
        FaceOpsError: as `locked_gallery`; or the folder holds something else than a gallery.
    """
    if (folder / GALLERY_FILE).exists():
        gallery = _open_for_update(folder, contract_id)
        return gallery if gallery.crops_id else replace(gallery, crops_id=crops_id, stamp="")
    for name in (FACES_FILE, CROPS_FOLDER):
        if (folder / name).exists():
            raise FaceOpsError(f"{folder} has {name} but no {GALLERY_FILE}; name an empty folder.")
    gallery = Gallery(folder, contract_id, embedding_size, crops_id=crops_id)
    gallery.save()
    return gallery


def _open_for_update(folder: Path, contract_id: str | None) -> Gallery:
    gallery = Gallery.open(folder, contract_id)
    if gallery.format_version == FORMAT_VERSION:
        if _read_statement(folder) != gallery.statement():
            write_json(folder / GALLERY_FILE, gallery.statement())  # a writer was killed before it
            gallery = Gallery.open(folder, contract_id)
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


def _read_statement(folder: Path) -> dict[str, Any]:
    path = folder / GALLERY_FILE
    try:
        statement = _complete(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is not a gallery (it has no {GALLERY_FILE}); enrol people first: "
            f"faceops enrol PEOPLE_DIR --gallery {folder}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    if statement["schema_version"] not in (1, FORMAT_VERSION):
        raise FaceOpsError(
            f"{path} has schema version {statement['schema_version']}, this faceops reads "
            f"{FORMAT_VERSION}; use the faceops that wrote it, or enrol into a new folder."
        )
    return statement


def _complete(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement, as `Gallery.statement`, with defaults for what older galleries lack."""
    return {
        "aliases": {str(key): str(name) for key, name in dict(content.get("aliases", {})).items()},
        "contract_id": str(content["contract_id"]),
        "crops_id": str(content.get("crops_id", "")),
        "embedding_size": int(content["embedding_size"]),
        "schema_version": content.get("schema_version", 1),
    }


def _damaged(path: Path, error: Exception) -> FaceOpsError:
    return FaceOpsError(
        f"{path} is damaged ({str(error).partition(chr(10))[0]}); restore it from a copy, or "
        "enrol into a new folder."
    )


def _read_faces(folder: Path, statement: dict[str, Any]) -> Gallery:
    """Return the gallery; what faces.parquet states itself comes before `statement`."""
    path = folder / FACES_FILE
    try:
        with pq.ParquetFile(path) as file:  # read_table would load pandas
            written = file.schema_arrow
            table = file.read(columns=[name for name in SCHEMA.names if name in written.names])
        stated = (written.metadata or {}).get(_STATEMENT)
        if stated is not None:
            statement = {**statement, **_complete({**statement, **json.loads(stated)})}
        size = statement["embedding_size"]
        # Arrow's to_numpy loads pandas; nulls are refused.
        embeddings = np.from_dlpack(table["embedding"].combine_chunks().flatten())
        rows = table.drop_columns("embedding").to_pylist()
        if len(embeddings) != len(rows) * size:
            raise ValueError(f"its embeddings do not have {size} values")
        embeddings = embeddings.astype(np.float32).reshape(-1, size)
        faces = tuple(
            GalleryFace(**{**row, "box": tuple(row["box"])}, embedding=embedding)
            for row, embedding in zip(rows, embeddings, strict=True)
        )
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise _damaged(path, error) from None
    return Gallery(
        folder,
        statement["contract_id"],
        size,
        faces,
        statement["aliases"],
        statement["crops_id"],
        format_version=FORMAT_VERSION if "crop_id" in written.names else 1,
    )
