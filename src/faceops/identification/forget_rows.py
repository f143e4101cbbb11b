"""Take a person out of the records of finished runs: CSV, JSON lines and Parquet alike."""

import csv
import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.files import atomic_path
from faceops.base.reasons import Reason
from faceops.base.tables import csv_text
from faceops.identification.outcome import Outcome
from faceops.identification.records import SCHEMA


class _Unchanged(Exception):
    """The person is not in the file, which stays as it is."""


IsPerson = Callable[[str], bool]
_OF_A_PERSON = ("person", "probability", "distance", "runner_up", "runner_up_probability")
_OF_A_RUNNER_UP = ("runner_up", "runner_up_probability")


class NamedFace(NamedTuple):
    """A face that a run gave the person's name; the box is in pixels of the upright photo."""

    photo_id: str
    photo_path: str
    box: tuple[float, float, float, float]


def named_faces(folder: Path, is_person: IsPerson) -> list[NamedFace]:
    """Return the faces that the run in `folder` named so, by its Parquet file."""
    path = folder / "faces.parquet"
    if not path.is_file():
        return []
    found = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                if row["person"] is not None and is_person(row["person"]):
                    box = (row["x"], row["y"], row["width"], row["height"])
                    found.append(NamedFace(row["photo_id"], row["photo_path"], box))
    return found


def shows(folder: Path, photo_ids: Collection[str]) -> bool:
    """Return whether the run in `folder` has rows of one of these photos."""
    path = folder / "faces.parquet"
    if not path.is_file():
        return False
    with pq.ParquetFile(path) as file:
        return any(
            value in photo_ids
            for batch in file.iter_batches(columns=["photo_id"])
            for value in batch.column(0).to_pylist()
        )


def forget_rows(folder: Path, is_person: IsPerson) -> int:
    """Blank the person in the run's three record files; return in how many rows they stood.

    A row that named them becomes `rejected`, `forgotten`; a row that had them as its runner-up
    loses that. Each file is replaced at once.
    """
    changed = 0
    for name, rewrite in (
        ("faces.parquet", _parquet),
        ("faces.jsonl", _jsonl),
        ("faces.csv", _csv),
    ):
        path = folder / name
        if path.is_file():
            with suppress(_Unchanged), atomic_path(path) as temporary:
                found = rewrite(path, temporary, is_person)
                if not found:
                    raise _Unchanged
                changed = max(changed, found)
    return changed


def _blank(row: dict[str, Any], is_person: IsPerson, nothing: object) -> bool:
    """Take the person out of a row of any of the formats; return whether they were in it."""
    if row["person"] and is_person(row["person"]):
        row.update(dict.fromkeys(_OF_A_PERSON, nothing))
        row.update(decision=str(Outcome.REJECTED), reason=str(Reason.FORGOTTEN))
        return True
    if row["runner_up"] and is_person(row["runner_up"]):
        row.update(dict.fromkeys(_OF_A_RUNNER_UP, nothing))
        return True
    return False


def _parquet(path: Path, temporary: Path, is_person: IsPerson) -> int:
    changed = 0
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer,
    ):
        for batch in file.iter_batches():
            rows = batch.to_pylist()
            changed += sum(_blank(row, is_person, None) for row in rows)
            columns = {name: [row[name] for row in rows] for name in SCHEMA.names}
            writer.write_table(pa.table(columns, schema=SCHEMA))
    return changed


def _jsonl(path: Path, temporary: Path, is_person: IsPerson) -> int:
    changed = 0
    with (
        path.open(encoding="utf-8") as file,
        temporary.open("w", encoding="utf-8", newline="\n") as out,
    ):
        for line in file:
            row = json.loads(line)
            if _blank(row, is_person, None):
                changed += 1
                line = json.dumps(row, ensure_ascii=False) + "\n"
            out.write(line)
    return changed


def _csv(path: Path, temporary: Path, is_person: IsPerson) -> int:
    changed = 0
    # In a CSV an apostrophe may stand before a name, against formulas.
    meant = lambda name: is_person(name) or is_person(csv_text(name))  # noqa: E731
    with (
        path.open(encoding="utf-8", newline="") as file,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        reader = csv.DictReader(file)
        writer = csv.DictWriter(out, reader.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        for row in reader:
            changed += _blank(row, meant, "")
            writer.writerow(row)
    return changed
