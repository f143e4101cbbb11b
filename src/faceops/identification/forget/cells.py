"""What a file holds: the cells of Parquet, SQLite, CSV, JSON and JSON lines, and all other text."""

import codecs
import contextlib
import csv
import html
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from faceops.base.files import json_texts
from faceops.identification.records.output_folder import is_report_page
from faceops.identification.report.report import people_on

ROWS = 1024  # of a table, read at once
MAX_JSON = 256_000_000  # bytes; FaceOps writes no larger ones
CHUNK = 1 << 22  # bytes of a file, or of blobs, searched at once
TEXT = "its text"  # the place of a name in a file without cells
_LONGEST_NAME = 1000  # characters that two pieces of a text share

Cell = tuple[str, str | memoryview]  # where in the file, and a text, or the bytes of some cells


def cells_of(path: Path, is_mentioned: Callable[[str], bool]) -> Iterator[Cell]:
    """Yield the cells of `path`, or the text of a file without cells.

    Equal texts of a column may come once, and texts of Parquet only from columns with a mention.
    Bytes come only from Parquet, where they are compressed, and SQLite, which splits them.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"PAR1") or path.suffix == ".parquet":
        yield from _parquet(path, is_mentioned)
    elif head.startswith(b"SQLite format 3") or path.suffix == ".sqlite":
        yield from _sqlite(path)
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.reader(file):
                yield from (("a cell", value) for value in row)
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield from (("a text", value) for value in json_texts(json.loads(line)))
    elif path.suffix == ".json":
        if path.stat().st_size > MAX_JSON:
            raise ValueError(f"it has more than {MAX_JSON / 1e6:g} megabytes")
        content = json.loads(path.read_text("utf-8"))
        yield from (("a text", value) for value in json_texts(content))
    else:
        if is_report_page(path):
            yield from (("a face", person) for person in people_on(path))
        yield from _pieces(path, json.detect_encoding(head))


def _pieces(path: Path, encoding: str) -> Iterator[Cell]:
    """Yield a text, HTML without references, in pieces that overlap; nothing of other files."""
    decoder, kept = codecs.getincrementaldecoder(encoding)(), ""
    with contextlib.suppress(UnicodeDecodeError), path.open("rb") as file:
        while chunk := file.read(CHUNK):
            kept += decoder.decode(chunk)
            yield TEXT, html.unescape(kept)
            kept = kept[-_LONGEST_NAME:]


def _parquet(path: Path, is_mentioned: Callable[[str], bool]) -> Iterator[Cell]:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for value in (file.schema_arrow.metadata or {}).values():
            with contextlib.suppress(ValueError):  # not JSON, or not text
                yield from (("its metadata", text) for text in json_texts(json.loads(value)))
        for batch in file.iter_batches(ROWS, columns=_decoded(file)):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if pa.types.is_dictionary(column.type):
                    column = column.dictionary_decode()
                if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                    if is_mentioned(_joined(column.drop_null())):
                        yield from ((name, text) for text in {*column.to_pylist()} - {None})
                    continue
                if pa.types.is_list(column.type):
                    column = column.flatten()
                values = column.buffers()[-1]  # of all rows, one after the other
                if values is not None and not pa.types.is_nested(column.type):
                    yield name, memoryview(values)


def _decoded(file: pq.ParquetFile) -> list[str]:
    """Return the columns whose bytes are not in the file as they are, and those of texts."""
    schema, metadata = file.schema_arrow, file.metadata
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(group.num_columns)]
    encoded = {
        chunk.path_in_schema.partition(".")[0]
        for chunk in chunks
        if chunk.compression != "UNCOMPRESSED" or {*chunk.encodings} - {"PLAIN", "RLE"}
    }
    return [
        field.name
        for field in schema
        if field.name in encoded
        or "." in field.name
        or not (pa.types.is_list(field.type) and pa.types.is_floating(field.type.value_type))
    ]


def _joined(texts: pa.Array) -> str:
    ends = pa.py_buffer(np.array([0, len(texts)], np.int32))
    rows = pa.Array.from_buffers(pa.list_(texts.type), 1, [None, ends], children=[texts])
    return str(pc.binary_join(rows, "\n")[0].as_py())


def _sqlite(path: Path) -> Iterator[Cell]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        tables = db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        for (table,) in tables:
            quoted = '"' + table.replace('"', '""') + '"'
            for (column,) in db.execute("SELECT name FROM pragma_table_info(?)", (table,)):
                of_column = '"' + column.replace('"', '""') + '"'
                select = f"{of_column} FROM {quoted} WHERE typeof({of_column})"
                for (text,) in db.execute(f"SELECT DISTINCT {select}='text'"):
                    yield table, text
                    if text.startswith("{"):  # an entry of the journal of decisions
                        with contextlib.suppress(ValueError):
                            yield from ((table, inner) for inner in json_texts(json.loads(text)))
                gathered = bytearray()
                for (blob,) in db.execute(f"SELECT {select}='blob'"):
                    if column == "path":
                        yield column, os.fsdecode(blob)
                        continue
                    gathered += blob
                    if len(gathered) >= CHUNK:
                        yield table, memoryview(bytes(gathered))
                        gathered.clear()
                yield table, memoryview(bytes(gathered))
