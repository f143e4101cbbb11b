"""A gallery's rows: reading and writing gallery.json, faces.parquet and its copy."""

import filecmp
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import DamageError, FaceOpsError, UsageError
from faceops.base.files import read_json_object
from faceops.base.shortage import shortage
from faceops.gallery.folder import COPY_FILE, FACES_FILE, GALLERY_FILE

_DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError),
    pa.ArrowException,
)
FORMAT_VERSION = 2
# Keys in the metadata of faces.parquet; pages have checksums of their own.
_STATEMENT = b"faceops.contract"
_STATEMENT_SHA256 = b"faceops.contract_sha256"
_NORM_TOLERANCE = 1e-2
ENROLLED = "enrolled"
NAMED = "named"
TAGGED = "tagged"
CONFIRMED = "confirmed"


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
        origin: "enrolled" from a folder of people, or from an album, where `photo` lies then:
            "confirmed" by a person, "tagged" by another program, "named" by earlier versions.
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

    @property
    def has_embedding(self) -> bool:
        """Whether the embedding has the length 1; a damaged one rarely has."""
        with np.errstate(all="ignore"):  # damaged values overflow
            return bool(abs(np.linalg.norm(self.embedding) - 1) <= _NORM_TOLERANCE)


def face_order(face: GalleryFace) -> tuple[object, ...]:
    """Return the key by which a gallery sorts its faces, different for different faces."""
    return face.person, face.photo, face.photo_id, face.box


def face_identity(face: GalleryFace) -> tuple[object, ...]:
    """Return the key that changes when the face is enrolled again, see `face_order`."""
    return *face_order(face), face.crop_id


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


def read_statement(folder: Path) -> dict[str, Any]:
    """Return what gallery.json states, see `Gallery.statement`; errors as `Gallery.open`."""
    path = folder / GALLERY_FILE
    try:
        statement = _complete(read_json_object(path))
    except _DAMAGED as error:
        is_absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        if is_absent and not any((folder / name).is_file() for name in (FACES_FILE, COPY_FILE)):
            raise UsageError(
                f"{folder} is not a gallery (it has no {GALLERY_FILE}); enrol people first: "
                f"faceops enrol PEOPLE_DIR --gallery {folder}"
            ) from None
        if lack := shortage(error):
            raise lack from None
        raise DamageError(
            f"{path} is damaged ({_first_line(error)}); the names and faces are in {FACES_FILE}: "
            f"run `faceops gallery repair --gallery {folder}`."
        ) from None
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


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def read_faces(
    path: Path, statement: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[GalleryFace, ...]]:
    """Return statement and faces of the file `path`, faces.parquet or its copy.

    What the file states itself comes before `statement`, which may be empty.

    Raises:
        DamageError: the file is damaged; it says what is lost.
    """
    try:
        return _parse_faces(path, statement)
    except _DAMAGED as error:
        if lack := shortage(error):
            raise lack from None
        what = f"{path} is damaged ({_first_line(error)})"
    if path.name != COPY_FILE and _is_whole(path.with_name(COPY_FILE), statement):
        raise DamageError(
            f"{what}; nothing is lost, its copy is whole: "
            f"run `faceops gallery repair --gallery {path.parent}`."
        )
    raise DamageError(
        f"{what}; it has no whole copy: names and embeddings are lost, crops and photos are not; "
        "import an archive of `faceops gallery export`, or enrol into a new folder."
    )


def _is_whole(path: Path, statement: Mapping[str, Any]) -> bool:
    try:
        _parse_faces(path, statement)
    except _DAMAGED:
        return False
    return True


def _parse_faces(
    path: Path, statement: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[GalleryFace, ...]]:
    # read_table would load pandas
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        written = file.schema_arrow
        present = [name for name in SCHEMA.names if name in written.names]
        table = file.read(columns=present)
    expected = pa.schema([SCHEMA.field(name) for name in present])
    if not table.schema.equals(expected) or not {"crop", "crop_id"} & {*written.names}:
        raise ValueError("its columns are not those of a gallery")
    metadata = written.metadata or {}
    stated = metadata.get(_STATEMENT, b"{}")
    if metadata.get(_STATEMENT_SHA256, _sha256(stated)) != _sha256(stated):
        raise ValueError("the checksum of its metadata differs")
    stated_content = {**statement, **json.loads(stated)}
    if "contract_id" not in stated_content:
        raise ValueError(f"it does not state its contract, nor does {GALLERY_FILE}")
    complete = _complete(stated_content)
    size = complete["embedding_size"]
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
    complete["schema_version"] = FORMAT_VERSION if "crop_id" in written.names else 1
    return complete, faces


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def encode_faces(faces: Sequence[GalleryFace], statement: Mapping[str, Any]) -> bytes:
    """Return the bytes of faces.parquet; its pages have checksums."""
    columns = {name: [getattr(face, name) for face in faces] for name in SCHEMA.names}
    stated = json.dumps(statement, sort_keys=True).encode()
    metadata = {_STATEMENT: stated, _STATEMENT_SHA256: _sha256(stated)}
    table = pa.table(columns, schema=SCHEMA.with_metadata(metadata))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def is_copied(folder: Path) -> bool:
    """Return whether faces.copy.parquet has the bytes of faces.parquet."""
    try:
        return filecmp.cmp(folder / FACES_FILE, folder / COPY_FILE, shallow=False)
    except OSError:
        return False
