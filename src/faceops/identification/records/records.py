"""Identification records: one row per face, or one for a photo that has none.

A column is one entry of `COLUMNS`; the schema, the Parquet, CSV and JSON lines files and the
documentation follow from it.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from csv import DictReader, DictWriter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from faceops.base.arrow import number_array, text_array
from faceops.base.files import atomic_path, csv_cell
from faceops.base.reasons import CODES, KINDS, REASONS, REJECTED
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.records.output_folder import RECORD_FILES

Record = dict[str, Any]  # by column name, in the order of the columns


@dataclass(frozen=True)
class RunOrigin:
    """The values that all rows of a run share."""

    run_id: str
    release: str
    contract_id: str


class Text:
    """A column of text: of each row a place in `values`, -1 for none."""

    def __init__(self, values: Sequence[str | None], places: np.ndarray) -> None:
        used, self._rows = np.unique(places, return_inverse=True)
        self._values = [None if at < 0 else str(values[at]) for at in used.tolist()]
        self._content = "".join(value or "" for value in self._values)
        self.plain = self._array(self._values)

    def json(self) -> pa.Array:
        if None in self._values or _ESCAPED_IN_JSON(self._content):
            return self._array(["null" if one is None else _JSON(one) for one in self._values])
        return _joined(['"', self.plain, '"'])

    def csv(self, foreign: bool) -> pa.Array:
        """Return each text as a CSV cell; a foreign one cannot be run as a formula."""
        cells = [one or "" for one in self._values]
        if foreign:
            cells = [str(csv_cell(one)) for one in cells]
        if _QUOTED_IN_CSV(self._content):
            cells = [_quoted(one) if _QUOTED_IN_CSV(one) else one for one in cells]
        return self.plain if cells == self._values else self._array(cells)

    def _array(self, values: Sequence[str | None]) -> pa.Array:
        encoded = text_array(values)
        return encoded.take(number_array(self._rows, pa.int64()))


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a block of photos: of each face, or of a photo without any."""

    run: RunOrigin
    block: NamedBlock

    @cached_property
    def photo(self) -> np.ndarray:
        """int64 (R,), the photo of each row."""
        counts = np.diff(self.block.photos.starts)
        return np.repeat(np.arange(len(counts)), np.maximum(counts, 1))

    @cached_property
    def has_face(self) -> np.ndarray:
        """bool (R,), False for the row of a photo without faces; the others are its faces."""
        has: np.ndarray = np.diff(self.block.photos.starts)[self.photo] > 0
        return has

    def of_faces(self, values: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
        """Return values of the faces (F,) as those of the rows (R,)."""
        result = np.full(len(self.photo), otherwise, values.dtype)
        result[self.has_face] = values
        return result

    def face(self, name: str) -> np.ndarray:
        """Return a field of `FACE` of each row, rounded to 4 decimals."""
        return self.of_faces(np.round(self.block.photos.faces[name], 4))

    def box(self, side: int) -> np.ndarray:
        """Return x, y, width or height (0 to 3) of each row, in upright pixels."""
        return self.of_faces(np.round(self.block.photos.faces["box"][:, side], 2))

    def same(self, text: str) -> Text:
        """Return a text that all rows share."""
        return Text([text], np.zeros(len(self.photo), np.int64))

    def decided(self, name: str) -> np.ndarray:
        """Return a column of `FaceDecisions` of each row."""
        return self.of_faces(getattr(self.block.decisions, name))

    def photo_id(self) -> Text:
        has_id = self.block.photos.has_id[self.photo]
        return Text(self.block.photos.photo_ids, np.where(has_id, self.photo, -1))

    def photo_path(self) -> Text:
        return Text(self.block.photo_paths, self.photo)

    def face_index(self) -> np.ndarray:
        return self.of_faces(self.block.photos.face_index, -1)

    def decision(self) -> Text:
        return Text(KINDS, self.of_faces(self.block.decisions.kind, REJECTED))

    def person(self) -> Text:
        return self._name(self.block.decisions.person)

    def runner_up(self) -> Text:
        return self._name(self.block.decisions.runner_up)

    def _name(self, places: np.ndarray) -> Text:
        return Text(self.block.people, self.of_faces(places, -1))

    def distance(self) -> np.ndarray:
        return self.of_faces(np.round(self.block.decisions.distance.astype(float), 5))

    def reason(self) -> Text:
        """Return why a face is not named, or why a photo has none."""
        reasons = self.of_faces(self.block.decisions.reason, -1)
        empty = ~self.has_face
        photos = self.photo[empty].tolist()
        reasons[empty] = [CODES[self.block.photos.reasons[photo]] for photo in photos]
        return Text(REASONS, reasons)

    def turned(self) -> np.ndarray:
        return self.block.photos.turned[self.photo]


@dataclass(frozen=True)
class Column:
    """One column of the records."""

    name: str
    type: pa.DataType  # in Parquet
    doc: str  # one line for the documentation
    # Of each row: a `Text`, or numbers (R,), NaN (whole numbers: -1) where there is none
    value: Callable[[Rows], Text | np.ndarray]
    foreign: bool = False  # whether it has names of files and people, which CSV has to escape


_TEXT, _INT, _FLOAT, _FLOAT32 = pa.string(), pa.int32(), pa.float64(), pa.float32()
COLUMNS = (
    Column("run_id", _TEXT, "the run", lambda rows: rows.same(rows.run.run_id)),
    Column("photo_id", _TEXT, "sha256 of the photo's bytes", Rows.photo_id),
    Column("photo_path", _TEXT, "path below the folder", Rows.photo_path, foreign=True),
    Column("face_index", _INT, "0 and up in the photo", Rows.face_index),
    Column("x", _FLOAT, "left, upright pixels", lambda rows: rows.box(0)),
    Column("y", _FLOAT, "top, upright pixels", lambda rows: rows.box(1)),
    Column("width", _FLOAT, "upright pixels", lambda rows: rows.box(2)),
    Column("height", _FLOAT, "upright pixels", lambda rows: rows.box(3)),
    Column("detector_score", _FLOAT, "0 to 1", lambda rows: rows.face("detector_score")),
    Column("quality", _FLOAT, "0 to 1", lambda rows: rows.face("quality")),
    Column("decision", _TEXT, "see `DecisionKind`", Rows.decision),
    Column("person", _TEXT, "the name, if identified", Rows.person, foreign=True),
    Column("probability", _FLOAT32, "of the best candidate", lambda r: r.decided("probability")),
    Column("distance", _FLOAT, "Euclidean, 0 to 2", Rows.distance),
    Column("runner_up", _TEXT, "the next candidate", Rows.runner_up, foreign=True),
    Column(
        "runner_up_probability",
        _FLOAT32,
        "of the next one",
        lambda rows: rows.decided("runner_up_probability"),
    ),
    Column("reason", _TEXT, "if not identified", Rows.reason),
    Column("release", _TEXT, "the model", lambda rows: rows.same(rows.run.release), foreign=True),
    Column("contract_id", _TEXT, "of the release", lambda rows: rows.same(rows.run.contract_id)),
    Column("turned", _INT, "clockwise, for upright faces", Rows.turned),
    Column(
        "stranger_share",
        _FLOAT32,
        "estimated share of the album's strangers that score as high",
        lambda rows: rows.decided("stranger_share"),
    ),
)


def schema() -> pa.Schema:
    return pa.schema([(column.name, column.type) for column in COLUMNS])


def table_of(run: RunOrigin, block: NamedBlock) -> pa.Table:
    """Return the rows of a block of photos as the Parquet file has them."""
    rows = Rows(run, block)
    return _table([column.value(rows) for column in COLUMNS])


def records_of(run: RunOrigin, block: NamedBlock) -> list[Record]:
    """Return the rows of some photos as JSON lines have them."""
    values = [column.value(Rows(run, block)) for column in COLUMNS]
    return [json.loads(line) for line in _json_lines(values).to_pylist()]


@contextmanager
def record_files(folder: Path) -> Iterator[Callable[[RunOrigin, NamedBlock], None]]:
    """Open the three record files in `folder`; yield what writes the rows of a block of photos.

    All have the same rows and columns. CSV: UTF-8, quoted where needed, empty for None; a text that
    a spreadsheet would run as a formula has an apostrophe before it. Parquet and JSON lines hold
    every text exactly.
    """
    csv_path, parquet_path, jsonl_path = (folder / name for name in RECORD_FILES)
    with (
        csv_path.open("wb") as csv,
        jsonl_path.open("wb") as jsonl,
        pq.ParquetWriter(parquet_path, schema(), compression="zstd") as parquet,
    ):
        csv.write(",".join(column.name for column in COLUMNS).encode() + b"\n")

        def write(run: RunOrigin, block: NamedBlock) -> None:
            rows = Rows(run, block)
            values = [column.value(rows) for column in COLUMNS]
            parquet.write_table(_table(values))
            jsonl.write(_content(_json_lines(values)))
            csv.write(_content(_csv_lines(values)))

        yield write


def _table(values: Sequence[Text | np.ndarray]) -> pa.Table:
    columns = [
        one.plain if isinstance(one, Text) else number_array(one, column.type)
        for column, one in zip(COLUMNS, values, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema())


_JSON = json.JSONEncoder(ensure_ascii=False).encode
_ESCAPED_IN_JSON = re.compile(r'["\\\x00-\x1f]').search
_QUOTED_IN_CSV = re.compile(r'[,"\r\n]').search


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _json_lines(values: Sequence[Text | np.ndarray]) -> pa.Array:
    parts: list[pa.Array | str] = []
    for column, one in zip(COLUMNS, values, strict=True):
        parts += [f"{', ' if parts else '{'}{_JSON(column.name)}: "]
        parts += [one.json() if isinstance(one, Text) else _digits(one, column.type)]
    return _joined([*parts, "}\n"], "null")


def _csv_lines(values: Sequence[Text | np.ndarray]) -> pa.Array:
    parts: list[pa.Array | str] = []
    for column, one in zip(COLUMNS, values, strict=True):
        parts += [","] if parts else []
        parts += [one.csv(column.foreign) if isinstance(one, Text) else _digits(one, column.type)]
    return _joined([*parts, "\n"], "")


def _digits(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return the shortest digits that restore each number, null for none."""
    return pc.cast(number_array(values, kind), pa.string())


def _joined(parts: Sequence[pa.Array | str], null: str = "") -> pa.Array:
    arrays = [text_array([part])[0] if isinstance(part, str) else part for part in parts]
    options = pc.JoinOptions(null_handling="replace", null_replacement=null)
    return pc.call_function("binary_join_element_wise", [*arrays, text_array([""])[0]], options)


def _content(lines: pa.Array) -> memoryview:
    _, offsets, content = lines.buffers()
    ends = np.frombuffer(offsets, np.int32)[[lines.offset, lines.offset + len(lines)]].tolist()
    return memoryview(content or b"")[slice(*ends)]


def read_columns(records: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield these columns of each row of a run's Parquet file, in bounded memory."""
    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=list(columns)):
            yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def photo_ids_in(records: Path) -> frozenset[bytes]:
    """Return the photos in a run's Parquet file, as raw sha256; none if it is not readable."""
    try:
        with pq.ParquetFile(records) as file:
            batches = file.iter_batches(columns=["photo_id"])
            found = [one.dictionary_encode().dictionary for b in batches for one in b.columns]
        return frozenset(bytes.fromhex(one) for part in found for one in part.to_pylist())
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return frozenset()


def change_rows(folder: Path, change: Callable[[Record], bool]) -> int:
    """Change rows in the three record files of `folder`; return the number of rows changed.

    Each file that exists is replaced atomically, if a row changes.

    `change`: changes a row or not, and returns whether it did. The values of a row are texts in
    CSV, "" for none; it may set None in any file.
    """
    changed = 0
    rewrites = (_change_csv, _change_parquet, _change_json_lines)
    for name, rewrite in zip(RECORD_FILES, rewrites, strict=True):
        if (folder / name).is_file():
            with suppress(_Unchanged), atomic_path(folder / name) as temporary:
                rows = rewrite(folder / name, temporary, change)
                if not rows:
                    raise _Unchanged  # the file stays
                changed = max(changed, rows)
    return changed


class _Unchanged(Exception):
    pass


def _change_csv(path: Path, temporary: Path, change: Callable[[Record], bool]) -> int:
    changed = 0
    with (
        path.open(encoding="utf-8", newline="") as file,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        reader = DictReader(file)
        writer = DictWriter(out, reader.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        for row in reader:
            changed += change(row)
            writer.writerow(row)
    return changed


def _change_parquet(path: Path, temporary: Path, change: Callable[[Record], bool]) -> int:
    changed = 0
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(temporary, file.schema_arrow, compression="zstd") as writer,
    ):
        for batch in file.iter_batches():
            rows = batch.to_pylist()
            changed += sum(map(change, rows))
            writer.write_table(pa.Table.from_pylist(rows, schema=file.schema_arrow))
    return changed


def _change_json_lines(path: Path, temporary: Path, change: Callable[[Record], bool]) -> int:
    changed = 0
    with (
        path.open(encoding="utf-8") as file,
        temporary.open("w", encoding="utf-8", newline="\n") as out,
    ):
        for line in file:
            row = json.loads(line)
            if change(row):
                changed += 1
                line = json.dumps(row, ensure_ascii=False) + "\n"
            out.write(line)
    return changed
