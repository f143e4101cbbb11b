"""Write identification records as Parquet, CSV and JSON lines while they come in."""

import csv
import json
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from faceops.base.tables import csv_cell
from faceops.identification.records.records import SCHEMA, Record

ROWS_A_GROUP = 10_000  # of the Parquet file
_ROWS_AT_ONCE = 500  # row by row, a third of the time goes into calls
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode


class RecordWriters:
    """The three files of a run, in `folder`; a context manager.

    All hold the same rows and columns. CSV: UTF-8, quoted where needed, empty for None; a text
    that a spreadsheet would take for a formula (it begins with = + - @, tab or return) has an
    apostrophe before it. Parquet and JSON lines hold every text exactly.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[Record] = []  # not yet written
        self._lines: list[str] = []  # not yet in the Parquet file
        self._open = ExitStack()

    def __enter__(self) -> "RecordWriters":
        with ExitStack() as opening:
            csv_file = opening.enter_context(
                (self._folder / "faces.csv").open("w", encoding="utf-8", newline="")
            )
            self._jsonl = opening.enter_context(
                (self._folder / "faces.jsonl").open("w", encoding="utf-8", newline="\n")
            )
            self._parquet = opening.enter_context(
                pq.ParquetWriter(self._folder / "faces.parquet", SCHEMA, compression="zstd")
            )
            self._csv = csv.writer(csv_file, lineterminator="\n")
            self._csv.writerow(Record._fields)
            self._open = opening.pop_all()
        return self

    def write(self, records: Iterable[Record]) -> None:
        """Add rows; memory stays bounded."""
        self._rows += records
        if len(self._rows) >= _ROWS_AT_ONCE:
            self._write_rows()
        if len(self._lines) >= ROWS_A_GROUP:
            self._write_group()

    def flush(self) -> None:
        """Write what is held back."""
        self._write_rows()
        self._write_group()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            self._open.close()

    def _write_rows(self) -> None:
        self._csv.writerows(_csv_row(row) for row in self._rows)
        lines = [_ENCODE(row._asdict()) + "\n" for row in self._rows]
        self._jsonl.write("".join(lines))
        self._lines += lines
        self._rows.clear()

    def _write_group(self) -> None:
        if not self._lines:
            return
        # By way of JSON: pyarrow loads pandas, a second, to convert Python lists.
        table = pyarrow.json.read_json(
            pa.BufferReader("".join(self._lines).encode()),
            parse_options=pyarrow.json.ParseOptions(explicit_schema=SCHEMA),
        )
        self._parquet.write_table(table)
        self._lines.clear()


# The columns that hold what others have named; the rest are numbers and our own words.
_NAMES = [Record._fields.index(name) for name in ("photo_path", "person", "runner_up", "release")]


def _csv_row(row: Record) -> list[object]:
    cells: list[object] = list(row)
    for place in _NAMES:
        cells[place] = csv_cell(cells[place])
    return cells
