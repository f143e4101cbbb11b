"""The gallery: enrolled faces, bound to one release contract; see `faceops.gallery.storage`."""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import faceops
from faceops.base.errors import FaceOpsError, shortage
from faceops.base.files import write_file
from faceops.dataset.names import person_key
from faceops.faces.align import CROP_SIZE
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.faces_file import (
    ENROLLED,
    FORMAT_VERSION,
    FaceTable,
    GalleryFace,
    format_1_crops,
)
from faceops.gallery.storage import FACES_FILE, GalleryPlace, storage_of

if TYPE_CHECKING:
    from faceops.faces.find_faces import Face  # loads ONNX Runtime


@dataclass(frozen=True, eq=False)
class Gallery:
    """The enrolled faces, sorted by person, photo and box; immutable: `save` writes a new state."""

    place: GalleryPlace
    contract_id: str  # see `faceops.release.contract.contract_id`
    embedding_size: int  # values of an embedding
    # Given as a table, or as faces in any order
    faces: FaceTable = ()  # type: ignore[assignment]  # any faces become columns
    # The current name of a person by the key (`person_key`) of an earlier name
    aliases: Mapping[str, str] = field(default_factory=dict)
    # See `faceops.release.contract.crops_id`; "" in galleries that do not state it
    crops_id: str = ""
    stamp: str = ""  # see `GalleryStorage.stamp`; "" for a gallery that differs from what is saved
    format_version: int = FORMAT_VERSION  # an earlier one can be read, but not saved

    def __post_init__(self) -> None:
        object.__setattr__(self, "faces", FaceTable.of(self.faces, self.embedding_size))

    @classmethod
    def open(
        cls, place: GalleryPlace, contract_id: str | None = None, *, is_locked: bool = False
    ) -> "Gallery":
        """Read the gallery at `place`; with `contract_id`, only if it was enrolled under it.

        If the caller holds the lock, embeddings may be read when they are used: galleries that are
        made of this one can be used until one is saved, then what `save` returned.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged, of another format version, or of another contract.
        """
        storage = storage_of(place)
        stamp = storage.stamp()  # before reading: a save during the read counts as a change
        gallery = replace(cls.of(place, *storage.read(is_locked=is_locked)), stamp=stamp)
        if contract_id is not None:
            gallery.require(contract_id)
        return gallery

    @classmethod
    def of(cls, place: GalleryPlace, stated: Mapping[str, Any], faces: FaceTable) -> "Gallery":
        return cls(
            place,
            stated["contract_id"],
            stated["embedding_size"],
            faces,
            stated["aliases"],
            stated["crops_id"],
            format_version=stated["schema_version"],
        )

    @property
    def storage(self) -> GalleryStorage:
        return storage_of(self.place)

    def require(self, contract_id: str) -> None:
        """Raise a FaceOpsError for a release of another contract."""
        if self.contract_id != contract_id:
            raise FaceOpsError(
                f"the gallery {self.storage} was enrolled under contract {self.contract_id[:12]}, "
                f"this release has {contract_id[:12]}, and their embeddings cannot be compared: "
                f"`faceops people reembed --gallery {self.storage}` brings it under this release "
                "without photos if both cut faces in the same way (add the same --model, --bundle "
                "and --precision); or name its own release by these options."
            )

    @cached_property
    def persons(self) -> list[str]:
        return self.faces.texts("person")

    @property
    def people(self) -> list[str]:
        """The enrolled people, sorted."""
        return self.faces.people

    @cached_property
    def keys(self) -> dict[str, str]:
        """The key (`person_key`) of each person."""
        return {person: person_key(person) for person in self.people}

    @property
    def person_rows(self) -> np.ndarray:
        """int64 (M,), the place in `people` of each face's person."""
        return self.faces.person_rows

    @property
    def embeddings(self) -> np.ndarray:
        """float32 (M, D), a row for each face."""
        return self.faces.embeddings

    def count_of(self, person: str) -> int:
        return int(self.faces.where("person", [person]).sum())

    def as_saved(self) -> "Gallery":
        """Return the gallery as it is saved now: this one, unless it was changed since.

        A gallery that was changed in memory is returned as it is. Raises as `open`.
        """
        if not self.stamp or self.storage.stamp() == self.stamp:
            return self
        return Gallery.open(self.place, self.contract_id)

    def with_faces(self, added: Iterable[GalleryFace]) -> "Gallery":
        """Return this gallery with further faces, whose crops are stored already."""
        new = FaceTable.of(added, self.embedding_size)
        return replace(self, faces=self.faces.with_faces(new), stamp="")

    def renamed(self, names: Mapping[str, str]) -> "Gallery":
        """Return this gallery with the people in `names` under the names that it has for them.

        Of faces that become the same (photo and box) one stays.
        """
        changed = {old: new for old, new in names.items() if old != new}
        rows = np.flatnonzero(self.faces.where("person", changed))
        persons = [changed[name] for name in self.faces.take(rows).texts("person")]
        return replace(self, faces=self.faces.with_persons(rows, persons), stamp="")

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

    def without(self, removed: np.ndarray) -> "Gallery":
        """Return this gallery without the faces `removed`, bool (M,)."""
        return replace(self, faces=self.faces.take(~removed), stamp="")

    def statement(self) -> dict[str, Any]:
        """Return what the gallery states beside its faces."""
        return {
            "aliases": dict(self.aliases),
            "contract_id": self.contract_id,
            "crops_id": self.crops_id,
            "embedding_size": self.embedding_size,
            "schema_version": self.format_version,
        }

    def save(self) -> "Gallery":
        """Replace the saved gallery, and delete the crops of removed faces; return it as saved.

        Raises:
            FaceOpsError: it cannot be written.
            ValueError: the gallery is of an earlier format; see `locked_gallery`.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"{self.storage} is of format {self.format_version}, migrate it first")
        faces = self.storage.write(self.statement(), self.faces)
        remove_unfinished(self.place)
        return replace(self, faces=faces)


@contextmanager
def locked_gallery(place: GalleryPlace, contract_id: str | None = None) -> Iterator[Gallery]:
    """Lock the gallery at `place`, and yield it to be changed and saved.

    One of an earlier format is migrated first, with one sentence on stderr.

    Raises UsageError, FaceOpsError: as `Gallery.open`; the gallery is in use or cannot be written.
    """
    storage = storage_of(place)
    storage.statement()  # before the lock, which would create the folder
    with storage.lock():
        storage.prepare()
        yield Gallery.open(place, contract_id, is_locked=True)


def open_or_create(
    place: GalleryPlace, contract_id: str, embedding_size: int, crops_id: str = ""
) -> Gallery:
    """Open the gallery at `place` to be changed, or create an empty one; the caller locks it.

    A gallery that does not state how its crops were made gets `crops_id`.

    Raises FaceOpsError: as `locked_gallery`; or the place holds something else than a gallery.
    """
    storage = storage_of(place)
    if storage.exists():
        storage.prepare()
        gallery = Gallery.open(place, contract_id, is_locked=True)
        return gallery if gallery.crops_id else replace(gallery, crops_id=crops_id, stamp="")
    gallery = Gallery(place, contract_id, embedding_size, crops_id=crops_id)
    gallery.save()
    return gallery


UNFINISHED_FOLDER = ".unfinished"
_DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


class UnfinishedWork:
    """Arrays by name that an interrupted enrolment or re-embedding had computed; thread-safe.

    They lie in the gallery's folder, or on this machine for a gallery in a database, and are
    biometric data without names. Saving the gallery removes them.

    Args:
        method: all that determines the arrays of a name; those of another method are not found.
    """

    def __init__(self, gallery: GalleryPlace, method: str) -> None:
        key = hashlib.sha256(f"{faceops.__version__} {method}".encode()).hexdigest()[:16]
        self._folder = storage_of(gallery).scratch / UNFINISHED_FOLDER / key

    def load(self, name: str) -> dict[str, np.ndarray] | None:
        """Return what was kept as `name`; None if nothing was, or it is damaged."""
        try:
            with np.load(self._folder / f"{name}.npz", allow_pickle=False) as kept:
                return dict(kept)
        except _DAMAGED:
            return None

    def keep(self, name: str, **arrays: np.ndarray) -> None:
        """Keep `arrays`; if that fails, the next enrolment or re-embedding computes them again."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        with suppress(FaceOpsError):
            write_file(self._folder / f"{name}.npz", buffer.getvalue())


def remove_unfinished(gallery: GalleryPlace) -> None:
    """Remove all that was kept in `gallery`; of one in a database also a killed import."""
    storage = storage_of(gallery)
    scratch = storage.scratch
    shutil.rmtree(scratch / UNFINISHED_FOLDER if storage.folder else scratch, ignore_errors=True)


def encode_crop(crop: np.ndarray) -> bytes:
    """Return uint8 (112, 112, 3) RGB as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return buffer.getvalue()


def load_crop(png: Callable[[str], bytes], crop_id: str) -> np.ndarray:
    """Return a crop, uint8 (112, 112, 3) RGB; raise a ValueError if it is missing or damaged.

    `png` returns the bytes of a crop, see `GalleryStorage.png`.
    """
    try:
        content = png(crop_id)
        if hashlib.sha256(content).hexdigest() != crop_id:
            raise ValueError("its SHA-256 differs")
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if (image.mode, image.size) != ("RGB", (CROP_SIZE, CROP_SIZE)):  # before decoding it
                raise ValueError(f"an image of {image.width} x {image.height}, {image.mode}")
            return np.asarray(image)
    except FileNotFoundError:
        raise ValueError("missing") from None
    except Exception as error:  # noqa: BLE001  Pillow raises many kinds for a damaged file
        if lack := shortage(error):
            raise lack from None
        raise ValueError(f"damaged ({error})") from None


def portraits(place: GalleryPlace, people: Collection[str]) -> dict[str, bytes]:
    """Return the crop (PNG) of the best face of each of `people` who is enrolled at `place`."""
    storage = storage_of(place)
    if not people or not storage.contract_id():
        return {}
    gallery = Gallery.open(place)
    best: dict[str, tuple[int, GalleryFace]] = {}
    rows = np.flatnonzero(gallery.faces.where("person", people))
    for row, face in zip(rows.tolist(), gallery.faces.take(rows), strict=True):
        if face.person not in best or face.quality > best[face.person][1].quality:
            best[face.person] = row, face
    if gallery.format_version == 1 and storage.folder:
        wanted = {row: person for person, (row, _) in best.items()}
        crops = enumerate(format_1_crops(storage.folder / FACES_FILE))
        return {wanted[row]: crop for row, crop in crops if row in wanted and crop}
    found: dict[str, bytes] = {}
    for person, (_, face) in best.items():
        with suppress(FileNotFoundError):  # forgotten by another process since then
            found[person] = storage.png(face.crop_id)
    return found
