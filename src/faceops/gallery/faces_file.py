"""The faces of a gallery as columns, and the Parquet files that hold them."""

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from faceops.base.arrow import numbers, plain_array, take_rows, text_array

DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError),
    pa.ArrowException,
)
FORMAT_VERSION = 3
_NORM_TOLERANCE = 1e-2
ENROLLED = "enrolled"
NAMED = "named"
TAGGED = "tagged"
CONFIRMED = "confirmed"


@dataclass(frozen=True, eq=False)
class GalleryFace:
    person: str  # the name as it is shown
    photo_id: str  # sha256 of the photo's bytes, hex
    photo: str  # the photo's path below the enrolled folder, with /
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of the upright photo
    # detector_score, quality: 0 to 1
    detector_score: float
    quality: float
    embedding: np.ndarray  # float32 (D,), L2-normalised
    crop_id: str = ""  # of the aligned face, see `store_png`; "" in galleries of format 1
    # "enrolled" from a folder of people, or from an album, where `photo` lies then: "confirmed" by
    # a person, "tagged" by another program, "named" by earlier versions
    origin: str = ENROLLED


def has_length_1(embeddings: np.ndarray) -> np.ndarray:
    """Return which rows, bool (N,), have the length 1, as those of damaged embeddings rarely do."""
    with np.errstate(all="ignore"):  # damaged values overflow
        return np.abs(np.linalg.norm(embeddings, axis=1) - 1) <= _NORM_TOLERANCE


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
COLUMNS = pa.schema([column for column in SCHEMA if column.name != "embedding"])
UNSAVED = -1
ROW_GROUP = 16_384  # faces of a file that are written at once
_BLOCK = 4096  # faces that become objects at a time


class Embeddings:
    """M embeddings of `size` values in blocks, which are read when they are used.

    Args:
        blocks: each a float32 (N, size), or a function that reads it.
        block, row: int64 (M,), where each embedding is.
    """

    def __init__(
        self,
        blocks: Sequence[np.ndarray | Callable[[], np.ndarray]],
        block: np.ndarray,
        row: np.ndarray,
        size: int,
    ) -> None:
        self.size = size
        used = np.flatnonzero(np.bincount(block, minlength=len(blocks)))
        self._matrix: np.ndarray | None = None
        # One attribute: threads see the blocks before or after they were read.
        self._where = [blocks[at] for at in used.tolist()], np.searchsorted(used, block), row

    @classmethod
    def of(
        cls, block: np.ndarray | Callable[[], np.ndarray], count: int, size: int
    ) -> "Embeddings":
        """Return the `count` embeddings of one block."""
        found = cls([block], np.zeros(count, np.int64), np.arange(count), size)
        found._matrix = block if isinstance(block, np.ndarray) else None
        return found

    @classmethod
    def joined(cls, parts: Sequence["Embeddings"]) -> "Embeddings":
        """Return the embeddings of all parts, one at least."""
        places = [part._where for part in parts]
        starts = np.cumsum([0, *(len(blocks) for blocks, _, _ in places)])
        numbers = [start + block for start, (_, block, _) in zip(starts, places, strict=False)]
        rows = np.concatenate([row for _, _, row in places])
        blocks = [block for blocks, _, _ in places for block in blocks]
        return cls(blocks, np.concatenate(numbers), rows, parts[0].size)

    def __len__(self) -> int:
        return len(self._where[2])

    def take(self, rows: np.ndarray) -> "Embeddings":
        """Return the embeddings `rows`, int64."""
        if np.array_equal(rows, np.arange(len(self))):
            return self
        blocks, block, row = self._where
        return Embeddings(blocks, block[rows], row[rows], self.size)

    def matrix(self) -> np.ndarray:
        """Return all of them, float32 (M, size); they are kept as one block."""
        if self._matrix is not None:
            return self._matrix
        blocks, block, row = self._where
        matrix = np.empty((len(row), self.size), np.float32)
        order = np.argsort(block, kind="stable")
        ends = np.cumsum(np.bincount(block, minlength=len(blocks)))
        for one, rows in zip(blocks, np.split(order, ends[:-1]), strict=False):
            content = one if isinstance(one, np.ndarray) else one()
            matrix[rows] = content[row[rows]]
        self._where = [matrix], np.zeros(len(row), np.int64), np.arange(len(row))
        self._matrix = matrix
        return matrix


@dataclass(frozen=True, eq=False)
class FaceTable:
    """M faces as columns, sorted by `face_order`; iterates over `GalleryFace`. Immutable."""

    columns: pa.Table  # all of `SCHEMA` but the embeddings
    vectors: Embeddings  # the embeddings, which may not be read yet
    # int64 (M,), where the storage holds the face as it is here: the segment of a folder, the row
    # of a database; `UNSAVED` if it does not
    stored: np.ndarray

    @classmethod
    def of(cls, faces: Iterable[GalleryFace], size: int) -> "FaceTable":
        """Return the columns of faces with embeddings of `size` values."""
        if isinstance(faces, FaceTable):
            return faces
        faces = sorted(faces, key=face_order)
        columns = [
            _column([getattr(face, column.name) for face in faces], column.type)
            for column in COLUMNS
        ]
        embeddings = np.zeros((len(faces), size), np.float32)
        for row, face in enumerate(faces):
            embeddings[row] = face.embedding
        unsaved = np.full(len(faces), UNSAVED, np.int64)
        vectors = Embeddings.of(embeddings, len(faces), size)
        return cls(pa.Table.from_arrays(columns, schema=COLUMNS), vectors, unsaved)

    @classmethod
    def joined(cls, tables: Sequence["FaceTable"], size: int) -> "FaceTable":
        tables = tables or [cls.of((), size)]
        columns = pa.concat_tables([table.columns for table in tables]).combine_chunks()
        vectors = Embeddings.joined([table.vectors for table in tables])
        return cls(columns, vectors, np.concatenate([one.stored for one in tables]))._sorted()

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def embeddings(self) -> np.ndarray:
        """float32 (M, D), read at first use. Raises: DamageError."""
        return self.vectors.matrix()

    def __getitem__(self, place: int) -> GalleryFace:
        return next(iter(self.take(np.arange(len(self))[[place]])))

    def __iter__(self) -> Iterator[GalleryFace]:
        for start in range(0, len(self), _BLOCK):
            rows = self.columns.slice(start, _BLOCK).to_pylist()
            for row, embedding in zip(rows, self.embeddings[start : start + _BLOCK], strict=True):
                yield GalleryFace(**{**row, "box": tuple(row["box"])}, embedding=embedding)

    def texts(self, name: str) -> list[str]:
        return self.columns[name].to_pylist()

    @cached_property
    def people(self) -> list[str]:
        """The people, sorted."""
        return sorted(self.columns["person"].unique().to_pylist())

    @cached_property
    def person_rows(self) -> np.ndarray:
        """int64 (M,), the place in `people` of each face's person."""
        names = self.columns["person"]
        return numbers(pc.index_in(names, text_array(self.people))).astype(np.int64)

    def where(self, name: str, values: Iterable[str]) -> np.ndarray:
        """Return which faces, bool (M,), have one of `values` in a column of texts."""
        return numbers(pc.is_in(self.columns[name], text_array(list(values)))).astype(bool)

    def take(self, rows: np.ndarray) -> "FaceTable":
        """Return the faces `rows`, int64 or bool, in this order."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        return FaceTable(take_rows(self.columns, rows), self.vectors.take(rows), self.stored[rows])

    def with_faces(self, added: "FaceTable") -> "FaceTable":
        return FaceTable.joined([self, added], self.vectors.size)

    def with_persons(self, rows: np.ndarray, persons: Sequence[str]) -> "FaceTable":
        """Return the faces, of which `rows`, int64, are now of `persons`; equal faces once."""
        if not len(rows):
            return self
        changed = self.take(rows)._changed("person", text_array(persons))
        stays = ~np.isin(np.arange(len(self)), rows)
        return self.take(stays).with_faces(changed)._without_repeats(set(persons))

    def with_crop_ids(self, crop_ids: Sequence[str]) -> "FaceTable":
        """Return the faces with these ids of their crops."""
        return self._changed("crop_id", text_array(crop_ids))

    def with_embeddings(self, embeddings: np.ndarray, quality: np.ndarray) -> "FaceTable":
        """Return the faces with other embeddings, float32 (M, D), and quality, float64 (M,)."""
        vectors = Embeddings.of(embeddings, *embeddings.shape)
        return replace(self._changed("quality", pa.array(quality)), vectors=vectors)

    def _changed(self, name: str, column: pa.Array) -> "FaceTable":
        at = COLUMNS.get_field_index(name)
        return replace(
            self, columns=self.columns.set_column(at, COLUMNS.field(at), column)
        ).unsaved()

    def unsaved(self) -> "FaceTable":
        """Return the faces as ones that no storage holds."""
        return replace(self, stored=np.full(len(self), UNSAVED, np.int64))

    def _without_repeats(self, persons: set[str]) -> "FaceTable":
        """Return the faces, those of `persons` with equal person, photo and box once: the first."""
        rows = np.flatnonzero(self.where("person", persons))
        seen: set[tuple[object, ...]] = set()
        stays = np.ones(len(self), bool)
        for row, face in zip(rows.tolist(), self.take(rows), strict=True):
            place = face.person, face.photo_id, face.box
            stays[row] = place not in seen
            seen.add(place)
        return self if stays.all() else self.take(stays)

    def _sorted(self) -> "FaceTable":
        corners = numbers(self.columns["box"].combine_chunks().flatten()).reshape(-1, 4)
        table = self.columns.select(["person", "photo", "photo_id"])
        for at in range(4):
            table = table.append_column(f"box{at}", plain_array(corners[:, at], pa.float64()))
        sort_keys = [(name, "ascending") for name in table.schema.names]
        rows = numbers(pc.sort_indices(table, sort_keys=sort_keys)).astype(np.int64)
        return self if (np.diff(rows) > 0).all() else self.take(rows)


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        return text_array(values)
    shape = (len(values), kind.list_size) if pa.types.is_fixed_size_list(kind) else len(values)
    return plain_array(np.array(values, np.float64).reshape(shape), kind)


# Keys in the metadata of a file that holds a whole gallery; pages have checksums of their own.
_STATEMENT = b"faceops.contract"
_STATEMENT_SHA256 = b"faceops.contract_sha256"


def complete_statement(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a statement, as `Gallery.statement`, with defaults for what older galleries lack."""
    return {
        "aliases": {str(key): str(name) for key, name in dict(content.get("aliases", {})).items()},
        "contract_id": str(content["contract_id"]),
        "crops_id": str(content.get("crops_id", "")),
        "embedding_size": int(content["embedding_size"]),
        "schema_version": content.get("schema_version", 1),
    }


def parse_columns(
    path: Path, statement: Mapping[str, Any], count: int | None = None
) -> tuple[dict[str, Any], pa.Table]:
    """Return statement and columns of a Parquet file of faces, without the embeddings.

    Args:
        statement: what the file states itself comes before this, which may be empty then.
        count: of faces that it must have, if that is known.

    Raises: one of `DAMAGED`.
    """
    # read_table would load pandas
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        written = file.schema_arrow
        present = [name for name in SCHEMA.names if name in written.names]
        table = file.read(columns=[name for name in present if name != "embedding"])
    expected = pa.schema([SCHEMA.field(name) for name in present])
    found = pa.schema([field for field in written if field.name in present])
    if not found.equals(expected) or not {"crop", "crop_id"} & {*written.names}:
        raise ValueError("its columns are not those of a gallery")
    metadata = written.metadata or {}
    stated = metadata.get(_STATEMENT, b"{}")
    if metadata.get(_STATEMENT_SHA256, _sha256(stated)) != _sha256(stated):
        raise ValueError("the checksum of its metadata differs")
    stated_content = {**statement, **json.loads(stated)}
    if "contract_id" not in stated_content:
        raise ValueError("it does not state its contract, nor does gallery.json")
    complete = complete_statement(stated_content)
    if any(table[name].null_count for name in table.column_names):
        raise ValueError("it has empty cells")
    if count is not None and len(table) != count:
        raise ValueError(f"it has {len(table)} faces, gallery.json says {count}")
    if "crop_id" not in present:
        complete["schema_version"] = 1
    for column in COLUMNS:  # that versions of then did not write
        if column.name not in present:
            value = ENROLLED if column.name == "origin" else ""
            table = table.append_column(column, text_array([value] * len(table)))
    return complete, table.select(COLUMNS.names).replace_schema_metadata(None).combine_chunks()


def parse_embeddings(path: Path, count: int, size: int) -> np.ndarray:
    """Return the embeddings of a Parquet file of faces, float32 (count, size).

    Raises: one of `DAMAGED`.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
        values = [one.num_values for one in chunks if one.path_in_schema.startswith("embedding.")]
        if sum(values) != count * size:
            raise ValueError(f"its embeddings do not have {size} values")
        rows, end = np.empty((count, size), np.float32), 0
        for batch in file.iter_batches(_BLOCK, columns=["embedding"]):
            column, start, end = batch.column(0), end, end + len(batch)
            if column.null_count:
                raise ValueError("it has empty cells")
            rows[start:end] = numbers(column.flatten()).reshape(-1, size)
    return rows


def format_1_crops(faces: Path) -> Iterator[bytes]:
    """Yield the PNG of each row of a faces.parquet of format 1, which held the crops itself."""
    with pq.ParquetFile(faces) as file:
        for batch in file.iter_batches(256, columns=["crop"]):
            yield from (crop or b"" for crop in batch["crop"].to_pylist())


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def encode_faces(faces: FaceTable, statement: Mapping[str, Any] | None = None) -> bytes:
    """Return the bytes of a Parquet file of these faces; its pages have checksums.

    Args:
        statement: of a file that holds a whole gallery.
    """
    metadata = {}
    if statement is not None:
        stated = json.dumps(statement, sort_keys=True).encode()
        metadata = {_STATEMENT: stated, _STATEMENT_SHA256: _sha256(stated)}
    schema, buffer = SCHEMA.with_metadata(metadata), io.BytesIO()
    # Embeddings gain nothing by compression, and take most of its time.
    compression = dict.fromkeys(SCHEMA.names, "zstd") | {"embedding.list.element": "none"}
    del compression["embedding"]
    with pq.ParquetWriter(
        buffer,
        schema,
        compression=compression,
        use_dictionary=["person", "photo", "origin"],
        write_page_checksum=True,
    ) as writer:
        # In blocks: a list of all values would count them by 32 bits.
        for start in range(0, max(len(faces), 1), ROW_GROUP):
            rows = faces.embeddings[start : start + ROW_GROUP]
            columns = faces.columns.slice(start, len(rows))
            all_columns = columns.append_column("embedding", _lists(rows)).select(SCHEMA.names)
            writer.write_table(all_columns.cast(schema))
    return buffer.getvalue()


def _lists(rows: np.ndarray) -> pa.Array:
    """Return float32 (N, D) as the column of embeddings."""
    kind, size = SCHEMA.field("embedding").type, rows.shape[1]
    starts = pa.py_buffer(np.arange(len(rows) + 1, dtype=np.int32) * size)
    values = plain_array(rows.reshape(-1), pa.float32())
    return pa.Array.from_buffers(kind, len(rows), [None, starts], children=[values])
