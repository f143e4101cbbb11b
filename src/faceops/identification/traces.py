"""Search folders for what must not be in them: a person's name, embeddings and pictures."""

import base64
import csv
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_TABLES = (".parquet",)
_DATABASES = (".sqlite",)
PROBE = 48  # bytes from the middle of a secret that are looked for, whole groups of base64


@dataclass
class Searched:
    """How much was searched, for how many secrets, and the places where something was found."""

    files: int = 0
    megabytes: float = 0.0
    secrets: int = 0
    found: list[str] = field(default_factory=list)


def search_traces(
    folders: Iterable[Path], is_person: Callable[[str], bool], secrets: Sequence[bytes]
) -> Searched:
    """Search every file below `folders` for the person's name and for any of `secrets`.

    Names are looked for in every cell of Parquet, SQLite, CSV, JSON and JSON lines, by the same
    rule by which they were removed. Secrets (embeddings, crops, thumbnails) are looked for in the
    bytes of every file, plain and in base64, and in the cells of Parquet, which are compressed, and
    of SQLite, which cuts a large one into pages.
    """
    probes = list(dict.fromkeys(_probe(secret) for secret in secrets if len(secret) >= PROBE))
    spelled = [*probes, *(base64.b64encode(probe) for probe in probes)]
    done = Searched(secrets=len(probes))
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
            content = path.read_bytes()
            done.files += 1
            done.megabytes += len(content) / 1e6
            if any(probe in content for probe in spelled):
                done.found.append(f"{path}: an embedding or picture")
            for kind, value in _cells(path, content):
                if isinstance(value, str):
                    if is_person(value) or is_person(value.removeprefix("'")):
                        done.found.append(f"{path}: the name, in {kind}")
                elif any(probe in value for probe in probes):
                    done.found.append(f"{path}: an embedding or picture, in {kind}")
    done.found = sorted(set(done.found))
    done.megabytes = round(done.megabytes, 1)
    return done


def _probe(secret: bytes) -> bytes:
    start = (len(secret) - PROBE) // 2
    start -= start % 3  # where a group of base64 begins, so that it is found in that too
    return secret[start : start + PROBE]


def _cells(path: Path, content: bytes) -> Iterator[tuple[str, str | bytes]]:
    """Yield column and value of every text or binary cell of a file."""
    if path.suffix in _TABLES:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    yield from ((name, value) for value in _values(column))
    elif path.suffix in _DATABASES:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'"):
                for row in db.execute(f'SELECT * FROM "{table}"'):
                    yield from ((table, value) for value in row if isinstance(value, str | bytes))
    elif path.suffix == ".csv":
        for row in csv.reader(content.decode("utf-8").splitlines()):
            yield from (("a cell", value) for value in row)
    elif path.suffix in (".json", ".jsonl"):
        for line in [content] if path.suffix == ".json" else content.splitlines():
            yield from (("a text", value) for value in _texts(json.loads(line)))


def _values(column: pa.Array) -> Iterator[str | bytes]:
    if pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        yield from (value for value in column.to_pylist() if value is not None)
    elif pa.types.is_list(column.type) and pa.types.is_float32(column.type.value_type):
        for value in column.to_pylist():
            yield np.asarray(value, np.float32).tobytes()


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (str(key), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
