"""The texts and the bytes in the files that a run writes, cell by cell, in bounded memory."""

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 1024  # that are read from a table together
MAX_JSON = 256_000_000  # bytes; a larger JSON file is none of ours
BLOBS = 1 << 22  # bytes of blobs that are handed over together


class Cell(NamedTuple):
    """A text, or bytes (of one cell or of several), and what they are in the file."""

    what: str
    value: str | memoryview


def cells(path: Path) -> Iterator[Cell]:
    """Yield what is in `path`, by its suffix; nothing of files that hold no cells.

    Equal texts of a column may come once. Bytes come where the file itself does not show them as
    they are: compressed in Parquet, cut into pages in SQLite.

    Raises:
        OSError, ValueError, csv.Error, sqlite3.Error, pa.ArrowException: it cannot be read so.
    """
    if path.suffix == ".parquet":
        yield from _parquet(path)
    elif path.suffix == ".sqlite":
        yield from _sqlite(path)
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield from (Cell("a cell", value) for value in row)
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield from (Cell("a text", value) for value in _texts(json.loads(line)))
    elif path.suffix == ".json":
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON / 1e6:g} megabytes")
        content = json.loads(path.read_text("utf-8"))
        yield from (Cell("a text", value) for value in _texts(content))


def _parquet(path: Path) -> Iterator[Cell]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for batch in file.iter_batches(batch_size=ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                kind = column.type
                if pa.types.is_dictionary(kind):
                    column = column.dictionary_decode()
                    kind = column.type
                if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                    yield from (Cell(name, text) for text in {*column.to_pylist()} - {None})
                elif pa.types.is_list(kind):
                    yield from _buffers(name, column.flatten())
                elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                    yield from _buffers(name, column)


def _buffers(name: str, column: pa.Array) -> Iterator[Cell]:
    """Yield the values of a column as they lie in memory, one after the other."""
    values = column.buffers()[-1]
    if values is not None and not pa.types.is_nested(column.type):
        yield Cell(name, memoryview(values))


def _sqlite(path: Path) -> Iterator[Cell]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        tables = db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        for (table,) in tables:
            quoted = '"' + table.replace('"', '""') + '"'
            for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)):
                of_column = '"' + column.replace('"', '""') + '"'
                select = f"{of_column} FROM {quoted} WHERE typeof({of_column})"
                for (text,) in db.execute(f"SELECT DISTINCT {select}='text'"):
                    yield Cell(table, text)
                gathered = bytearray()
                for (blob,) in db.execute(f"SELECT {select}='blob'"):
                    gathered += blob
                    if len(gathered) >= BLOBS:
                        yield Cell(table, memoryview(bytes(gathered)))
                        gathered.clear()
                yield Cell(table, memoryview(bytes(gathered)))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
