"""The gallery: a plain folder of enrolled faces, bound to one release contract.

`gallery.json` states schema version, contract and aliases; `faces.parquet` holds a row for each
face, with its aligned crop, so that a later release can embed the same faces again. Both are
replaced as a whole, so a reader or an interrupted writer never leaves half a file. The Parquet
file goes first and says in its metadata under which contract its embeddings were made: that is
what counts, so a writer that ends between the two leaves a gallery of the new contract.
"""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.files import write_file, write_json

GALLERY_FILE = "gallery.json"
FACES_FILE = "faces.parquet"


def gallery_stamp(folder: Path) -> str:
    """Return size and modification time of the gallery's files; empty where one is missing."""
    try:
        found = [(folder / name).stat() for name in (GALLERY_FILE, FACES_FILE)]
    except OSError:
        return ""
    return " ".join(f"{status.st_size}:{status.st_mtime_ns}" for status in found)


SCHEMA_VERSION = 1
CROP_SIZE = 112  # pixels
_CONTRACT = b"faceops.contract"  # key in the metadata of the Parquet file
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
        crop: PNG of the aligned face, 112 x 112 RGB.
        origin: "enrolled" from a folder of people, or "named" in an album, where `photo` lies then.
    """

    person: str
    photo_id: str
    photo: str
    box: tuple[float, float, float, float]
    detector_score: float
    quality: float
    embedding: np.ndarray
    crop: bytes
    origin: str = ENROLLED


SCHEMA = pa.schema(
    [
        ("person", pa.string()),
        ("photo_id", pa.string()),
        ("photo", pa.string()),
        ("box", pa.list_(pa.float64(), 4)),
        ("detector_score", pa.float64()),
        ("quality", pa.float64()),
        ("embedding", pa.list_(pa.float32())),
        ("crop", pa.binary()),
        ("origin", pa.string()),
    ]
)


@dataclass(frozen=True)
class Contract:
    """How a gallery's faces were cut and embedded.

    Attributes:
        contract_id: see `faceops.release.contract.contract_id`.
        embedding_size: values of an embedding.
        crops_id: see `faceops.release.contract.crops_id`; "" in galleries of before it was noted.
    """

    contract_id: str
    embedding_size: int
    crops_id: str = ""


_Statement = tuple[Contract, dict[str, str]]  # contract, and aliases as `Gallery` has them


@dataclass(frozen=True, eq=False)
class Gallery:
    """The enrolled faces, sorted by person, photo and box; immutable: `save` writes a new state.

    `aliases`: the name of a person by the key (`person_key`) of a name that they had before.
    `stamp`: that of the files which it was read from, empty when it is no longer as they are.
    `crops_id`: how the crops were made, see `Contract`. `whole` is False when a writer was cut off
    before it replaced gallery.json: the next `save` mends that.
    """

    folder: Path
    contract_id: str
    embedding_size: int
    faces: tuple[GalleryFace, ...]
    has_crops: bool = True
    aliases: Mapping[str, str] = field(default_factory=dict)
    stamp: str = ""
    crops_id: str = ""
    whole: bool = True

    @classmethod
    def open(
        cls, folder: Path, contract_id: str | None = None, *, crops: bool = False
    ) -> "Gallery":
        """Read the gallery in `folder`; with `contract_id`, only if it was enrolled under it.

        Without `crops` (25 kB a face) it can be searched, but not saved.

        Raises:
            UsageError: there is no gallery.
            FaceOpsError: it is damaged, of another schema version, or of another contract.
        """
        stamp = gallery_stamp(folder)  # before reading: what is saved meanwhile is seen as a change
        said = _read_statement(folder)
        (contract, aliases), faces = _read_faces(folder / FACES_FILE, said, crops)
        gallery = cls(
            folder,
            contract.contract_id,
            contract.embedding_size,
            faces,
            crops,
            aliases,
            crops_id=contract.crops_id,
            whole=(contract, aliases) == said,
            stamp=stamp,
        )
        if contract_id is not None:
            gallery.require(contract_id)
        return gallery

    def require(self, contract_id: str) -> None:
        """Refuse a release of another contract.

        Raises:
            FaceOpsError: `contract_id` is not the gallery's.
        """
        if self.contract_id != contract_id:
            raise FaceOpsError(
                f"the gallery {self.folder} was enrolled under contract {self.contract_id[:12]}, "
                f"this release has {contract_id[:12]}, and their embeddings cannot be compared: "
                f"`faceops people reembed --gallery {self.folder}` with the same --bundle or "
                "--model embeds its faces anew, without photos."
            )

    @classmethod
    def create(
        cls, folder: Path, contract_id: str, embedding_size: int, crops_id: str = ""
    ) -> "Gallery":
        """Open the gallery in `folder`, or begin an empty one there.

        One that does not say how its crops were made takes the `crops_id` of its own release.

        Raises:
            FaceOpsError: as `open`; or the folder holds other things than a gallery.
        """
        if (folder / GALLERY_FILE).exists():
            gallery = cls.open(folder, contract_id, crops=True)
            if gallery.crops_id:
                return gallery
            return replace(gallery, crops_id=crops_id, stamp="")
        if (folder / FACES_FILE).exists():
            raise FaceOpsError(
                f"{folder} has {FACES_FILE} but no {GALLERY_FILE}; choose an empty folder."
            )
        gallery = cls(folder, contract_id, embedding_size, (), crops_id=crops_id)
        gallery.save()
        return gallery

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

        A gallery that is not as it was read stays as it is.

        Raises:
            UsageError, FaceOpsError: as `open`.
        """
        if not self.stamp or gallery_stamp(self.folder) == self.stamp:
            return self
        return Gallery.open(self.folder, self.contract_id, crops=self.has_crops)

    def with_faces(self, added: Iterable[GalleryFace]) -> "Gallery":
        """Return this gallery with further faces."""
        return replace(self, faces=_sorted([*self.faces, *added]), stamp="")

    def renamed(self, names: Mapping[str, str]) -> "Gallery":
        """Return this gallery with each person under the name that `names` has for them.

        Of faces that become the same (photo and box) one stays.
        """
        faces = {
            (names[face.person], face.photo_id, face.box): replace(face, person=names[face.person])
            for face in reversed(self.faces)
        }
        return replace(self, faces=_sorted(faces.values()), stamp="")

    def with_aliases(self, aliases: Mapping[str, str]) -> "Gallery":
        """Return this gallery with these `aliases` in place of its own."""
        return replace(self, aliases=dict(aliases), stamp="")

    def without(self, gone: Callable[[GalleryFace], bool]) -> "Gallery":
        """Return this gallery without the faces of which `gone` is true."""
        kept = tuple(face for face in self.faces if not gone(face))
        return replace(self, faces=kept, stamp="")

    def save(self) -> None:
        """Write both files, each replaced at once.

        Raises:
            FaceOpsError: the folder cannot be written.
            ValueError: the gallery was opened without its crops.
        """
        if not self.has_crops:
            raise ValueError(f"{self.folder} was opened without crops; saving would lose them")
        contract = asdict(Contract(self.contract_id, self.embedding_size, self.crops_id))
        statement = {
            "schema_version": SCHEMA_VERSION,
            **contract,
            "aliases": dict(self.aliases),
        }
        columns = {name: [_cell(face, name) for face in self.faces] for name in SCHEMA.names}
        # Here too, so that one replacement carries all that belongs together.
        stated = {**contract, "aliases": dict(self.aliases)}
        schema = SCHEMA.with_metadata({_CONTRACT: json.dumps(stated, sort_keys=True).encode()})
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd")
        write_file(self.folder / FACES_FILE, buffer.getvalue())
        write_json(self.folder / GALLERY_FILE, statement)


def png_of(crop: np.ndarray) -> bytes:
    """Return uint8 (H, W, 3) RGB as PNG, without loss."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return buffer.getvalue()


def crop_of(png: bytes) -> np.ndarray:
    """Return the crop uint8 (112, 112, 3) RGB that `png_of` wrote.

    Raises:
        ValueError: it is missing or damaged.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            crop = np.asarray(image)
    except Exception as error:  # noqa: BLE001  at broken files Pillow raises many kinds
        raise ValueError(f"no picture ({error})") from None
    if crop.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise ValueError(f"a picture of {crop.shape}")
    return crop


def _cell(face: GalleryFace, name: str) -> object:
    value = getattr(face, name)
    return list(value) if name == "box" else value


def _sorted(faces: Iterable[GalleryFace]) -> tuple[GalleryFace, ...]:
    return tuple(sorted(faces, key=lambda face: (face.person, face.photo, face.photo_id, face.box)))


def _read_statement(folder: Path) -> _Statement:
    path = folder / GALLERY_FILE
    try:
        content = json.loads(path.read_text("utf-8"))
        version = content["schema_version"]
        contract = _contract(content)
        aliases = _aliases(content)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{folder} is not a gallery (it has no {GALLERY_FILE}); enrol people first: "
            f"faceops enrol PEOPLE_DIR --gallery {folder}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{path} is damaged ({error}); restore it from a copy, or enrol into a new folder."
        ) from None
    if version != SCHEMA_VERSION:
        raise FaceOpsError(
            f"{path} has schema version {version}, this faceops reads {SCHEMA_VERSION}; use the "
            "faceops that wrote it, or enrol into a new folder."
        )
    return contract, aliases


def _aliases(content: Mapping[str, Any]) -> dict[str, str]:
    # Galleries of before people could be renamed have none.
    return {str(key): str(name) for key, name in dict(content.get("aliases", {})).items()}


def _contract(content: Mapping[str, Any]) -> Contract:
    return Contract(
        str(content["contract_id"]),
        int(content["embedding_size"]),
        str(content.get("crops_id", "")),
    )


def _read_faces(
    path: Path, said: _Statement, crops: bool
) -> tuple[_Statement, tuple[GalleryFace, ...]]:
    """Return the faces, and contract and aliases as the file itself states them, else `said`."""
    contract, aliases = said
    names = [name for name in SCHEMA.names if crops or name != "crop"]
    try:
        with pq.ParquetFile(path) as file:  # read_table would load pandas
            # Galleries of before unknown people could be named lack `origin`.
            names = [name for name in names if name != "origin" or name in file.schema_arrow.names]
            table = file.read(columns=names).select(names)
            stated = (file.schema_arrow.metadata or {}).get(_CONTRACT)
        if stated is not None:
            content = json.loads(stated)
            contract = _contract(content)
            aliases = _aliases(content) if "aliases" in content else aliases
        flat = _floats(table["embedding"].combine_chunks().flatten())
        rows = table.drop_columns("embedding").to_pylist()
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise FaceOpsError(
            f"{path} is damaged ({first}); restore it from a copy, or enrol into a new folder."
        ) from None
    size = contract.embedding_size
    if len(flat) != len(rows) * size:
        raise FaceOpsError(
            f"{path} does not hold embeddings of {size} values; "
            "restore it from a copy, or enrol into a new folder."
        )
    return (contract, aliases), tuple(
        GalleryFace(**{"crop": b"", **row, "box": tuple(row["box"])}, embedding=embedding)
        for row, embedding in zip(rows, flat.reshape(-1, size), strict=True)
    )


def _floats(values: pa.Array) -> np.ndarray:
    """Return a float32 array's values; its own `to_numpy` would load pandas."""
    if values.type != pa.float32() or values.null_count:
        raise pa.ArrowInvalid("embeddings are not whole float32 values")
    stored = values.buffers()[1]
    if stored is None:
        return np.zeros(0, np.float32)
    return np.frombuffer(stored, np.float32, len(values), values.offset * 4)
