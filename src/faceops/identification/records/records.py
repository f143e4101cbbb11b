"""Identification records: one row per face, or one for a photo that has none.

A column is one entry of `COLUMNS`; the schema, the Parquet, CSV and JSON lines files and the
documentation follow from it.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from faceops.base.parallel import require_memory_for_thread
from faceops.base.reasons import DecisionKind
from faceops.base.tables import csv_cell
from faceops.identification.engine.decide import Candidate, Decision
from faceops.identification.records.output_folder import RECORD_FILES
from faceops.identification.state.found_photo import FoundFace, FoundPhoto

Record = dict[str, Any]  # by column name, in the order of the columns


@dataclass(frozen=True)
class RunOrigin:
    """The values that all rows of a run share."""

    run_id: str
    release: str
    contract_id: str


@dataclass(frozen=True, eq=False)
class RowSource:
    """What a row is made from; a photo without faces has one row, with neither index nor face."""

    run: RunOrigin
    photo_path: str
    photo: FoundPhoto
    decision: Decision
    face_index: int | None = None
    face: FoundFace | None = None


@dataclass(frozen=True)
class Column:
    """One column of the records.

    Attributes:
        type: in Parquet.
        doc: one line for the documentation.
        value: a row's value; None if there is none.
        foreign: whether it holds text from outside (names of files and people), which CSV has to
            escape.
    """

    name: str
    type: pa.DataType
    doc: str
    value: Callable[[RowSource], Any]
    foreign: bool = False


def _of_face(value: Callable[[FoundFace], Any]) -> Callable[[RowSource], Any]:
    return lambda row: value(row.face) if row.face is not None else None


def _of_best(value: Callable[[Candidate], Any]) -> Callable[[RowSource], Any]:
    return lambda row: value(row.decision.best) if row.decision.best is not None else None


def _of_runner_up(value: Callable[[Candidate], Any]) -> Callable[[RowSource], Any]:
    return lambda row: value(row.decision.runner_up) if row.decision.runner_up else None


def _probability(candidate: Candidate) -> float:
    return _shortest(candidate.probability)


def _stranger_share(candidate: Candidate) -> float | None:
    return None if candidate.stranger_share is None else _shortest(candidate.stranger_share)


def _shortest(value: float) -> float:
    """Return the float that prints as the shortest text for `value` in float32.

    Near 1, where thresholds lie, all digits of a probability count.
    """
    return float(str(np.float32(value)))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


_TEXT, _FLOAT, _FLOAT32 = pa.string(), pa.float64(), pa.float32()
COLUMNS = (
    Column("run_id", _TEXT, "the run", lambda row: row.run.run_id),
    Column("photo_id", _TEXT, "sha256 of the photo's bytes", lambda row: row.photo.photo_id),
    Column("photo_path", _TEXT, "path below the folder", lambda row: row.photo_path, foreign=True),
    Column("face_index", pa.int32(), "0 and up in the photo", lambda row: row.face_index),
    Column("x", _FLOAT, "left, upright pixels", _of_face(lambda face: round(face.box[0], 2))),
    Column("y", _FLOAT, "top, upright pixels", _of_face(lambda face: round(face.box[1], 2))),
    Column("width", _FLOAT, "upright pixels", _of_face(lambda face: round(face.box[2], 2))),
    Column("height", _FLOAT, "upright pixels", _of_face(lambda face: round(face.box[3], 2))),
    Column("detector_score", _FLOAT, "0 to 1", _of_face(lambda it: round(it.detector_score, 4))),
    Column("quality", _FLOAT, "0 to 1", _of_face(lambda face: round(face.quality, 4))),
    Column("decision", _TEXT, "see `DecisionKind`", lambda row: str(row.decision.kind)),
    Column("person", _TEXT, "the name, if identified", lambda row: row.decision.person, True),
    Column("probability", _FLOAT32, "of the best candidate", _of_best(_probability)),
    Column("distance", _FLOAT, "Euclidean, 0 to 2", _of_best(lambda it: round(it.distance, 5))),
    Column("runner_up", _TEXT, "the next candidate", _of_runner_up(lambda it: it.person), True),
    Column("runner_up_probability", _FLOAT32, "of the next one", _of_runner_up(_probability)),
    Column("reason", _TEXT, "if not identified", lambda row: _text(row.decision.reason)),
    Column("release", _TEXT, "the model", lambda row: row.run.release, foreign=True),
    Column("contract_id", _TEXT, "of the release", lambda row: row.run.contract_id),
    Column("turned", pa.int32(), "clockwise, for upright faces", lambda row: row.photo.turned),
    Column(
        "stranger_share",
        _FLOAT32,
        "estimated share of the album's strangers that score as high",
        _of_best(_stranger_share),
    ),
)


def schema() -> pa.Schema:
    """Return the schema of the Parquet file."""
    return pa.schema([(column.name, column.type) for column in COLUMNS])


def records_of(
    run: RunOrigin, photo_path: str, photo: FoundPhoto, decisions: list[Decision]
) -> list[Record]:
    """Return the rows of one photo, with a decision for each face."""
    sources = [
        RowSource(run, photo_path, photo, decision, index, face)
        for index, (face, decision) in enumerate(zip(photo.faces, decisions, strict=True))
    ] or [RowSource(run, photo_path, photo, Decision(DecisionKind.REJECTED, photo.reason))]
    return [{column.name: column.value(source) for column in COLUMNS} for source in sources]


_ROWS_PER_GROUP = 10_000  # of the Parquet file
_ROWS_PER_WRITE = 500  # row by row, a third of the time goes into calls
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class RecordWriters:
    """Writes rows to the three record files of a run; see `open_writers`."""

    def __init__(self, csv_file: TextIO, jsonl: TextIO, parquet: pq.ParquetWriter) -> None:
        self._schema = parquet.schema
        self._csv = csv.DictWriter(csv_file, self._schema.names, lineterminator="\n")
        self._csv.writeheader()
        self._jsonl, self._parquet = jsonl, parquet
        self._foreign = [column.name for column in COLUMNS if column.foreign]
        self._rows: list[Record] = []  # not yet written
        self._lines: list[str] = []  # not yet in the Parquet file

    def write(self, records: Iterable[Record]) -> None:
        """Add rows; memory stays bounded."""
        self._rows += records
        if len(self._rows) >= _ROWS_PER_WRITE:
            self._write_rows()
        if len(self._lines) >= _ROWS_PER_GROUP:
            self._write_group()

    def flush(self) -> None:
        """Write all buffered rows."""
        self._write_rows()
        self._write_group()

    def _write_rows(self) -> None:
        lines = [_ENCODE(row) + "\n" for row in self._rows]
        self._jsonl.write("".join(lines))
        self._lines += lines
        for row in self._rows:
            self._csv.writerow({**row, **{name: csv_cell(row[name]) for name in self._foreign}})
        self._rows.clear()

    def _write_group(self) -> None:
        if not self._lines:
            return
        require_memory_for_thread()  # which Arrow starts to read
        # By way of JSON: pyarrow loads pandas, a second, to convert Python lists.
        table = pyarrow.json.read_json(
            pa.BufferReader("".join(self._lines).encode()),
            pyarrow.json.ReadOptions(use_threads=False),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=self._schema),
        )
        self._parquet.write_table(table)
        self._lines.clear()


@contextmanager
def open_writers(folder: Path) -> Iterator[RecordWriters]:
    """Open the three record files in `folder`, all with the same rows and columns.

    CSV: UTF-8, quoted where needed, empty for None; a text that a spreadsheet would run as a
    formula has an apostrophe before it. Parquet and JSON lines hold every text exactly.
    """
    csv_path, parquet_path, jsonl_path = (folder / name for name in RECORD_FILES)
    with (
        csv_path.open("w", encoding="utf-8", newline="") as csv_file,
        jsonl_path.open("w", encoding="utf-8", newline="\n") as jsonl,
        pq.ParquetWriter(parquet_path, schema(), compression="zstd") as parquet,
    ):
        writers = RecordWriters(csv_file, jsonl, parquet)
        yield writers
        writers.flush()


def read_columns(records: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Yield these columns of each row of a run's Parquet file, in bounded memory."""
    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=list(columns)):
            yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)


def photo_ids_in(records: Path) -> frozenset[bytes]:
    """Return the photos in a run's Parquet file, as raw sha256; none if it is not readable."""
    try:
        photo_ids = {photo_id for (photo_id,) in read_columns(records, "photo_id")}
        return frozenset(bytes.fromhex(photo_id) for photo_id in photo_ids - {None})
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return frozenset()
