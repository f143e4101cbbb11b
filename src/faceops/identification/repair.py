"""Check an output folder for damage, and repair its state.

What runs found is found again from the photos, so a damaged state loses time. Two things cannot be
found again: the places of forgotten faces, and the numbers of unknown people. They are read from
what is left of the state; the records are a second source of the places, since a forgotten face
keeps its row.
"""

import contextlib
import itertools
import os
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError, shortage
from faceops.base.files import atomic_path, folder_lock
from faceops.base.reasons import Reason
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.gallery.check import NOTHING, Finding, Repair, backup_folder
from faceops.identification.records import output_folder
from faceops.identification.records.records import read_columns
from faceops.identification.records.records import schema as record_schema
from faceops.identification.state import photo_block, schema
from faceops.identification.unknown.unknown_people import create_tables

_PLACES = "forgotten_places"
_NUMBERS = ("unknown_faces", "unknown_given")
_REPAIRED = "repaired"  # the mark of places whose mark was lost
_PLACE_COLUMNS = ("photo_id", "reason", "x", "y", "width", "height")


def check_output(out: Path) -> list[Finding]:
    """Return what is wrong in the state and records of the output folder; nothing is changed.

    Raises:
        UsageError: `out` is not a folder.
        FaceOpsError: the state cannot be read, or is of a later version.
    """
    if not out.is_dir():
        raise UsageError(f"{out} is not a folder; name the results of identify.")
    state = out / output_folder.STATE_FILE
    problem = _problem(state) if state.is_file() else ""
    found = []
    if problem:
        kept = (
            f"results and photos; `faceops gallery repair --out {out}` keeps the places of "
            "forgotten faces and the numbers of unknown people as far as they can be read"
        )
        lost = "time: the photos are opened again"
        found.append(Finding(f"{state} is damaged ({problem})", lost, kept))
    for records in _damaged_records(out):
        kept = "its rows, which faces.csv and faces.jsonl have too"
        found.append(Finding(f"{records} is damaged", NOTHING, kept))
    return found


def repair_output(out: Path) -> Repair:
    """Restore damaged records, and replace a damaged state by a new one.

    The new state has the places of forgotten faces and the numbers of unknown people, as far as
    they can be read. A repair that was killed is begun again by the next one.

    Raises:
        UsageError: `out` is not a folder.
        FaceOpsError: it is in use or cannot be written.
    """
    before, lost = check_output(out), []
    if not before:
        return Repair(before, before)
    state, backup = out / output_folder.STATE_FILE, backup_folder(out)
    try:
        with folder_lock(out), schema.state_errors(state):
            backup.mkdir()
            for records in _damaged_records(out):  # first: the places are read from them too
                shutil.copyfile(records, backup / f"{records.parent.name}-{records.name}")
                _restore_records(records)
            if state.is_file() and _problem(state):
                with atomic_path(state, sync=True) as temporary:
                    lost = _salvage(state, temporary, out)
                    _keep_state(state, backup)
    except OSError as error:
        raise FaceOpsError(f"{out} cannot be repaired ({error.strerror}).") from None
    return Repair(before, [*check_output(out), *lost], backup)


def _problem(state: Path) -> str:
    with schema.state_errors(state):
        try:
            with contextlib.closing(_open(state)) as db:
                (version,) = db.execute("PRAGMA user_version").fetchone()
                if version > schema.SCHEMA_VERSION:
                    raise FaceOpsError(f"{state} is of a later version of faceops; use that one.")
                if not version and output_folder.finished_runs(state.parent):
                    return "it is empty"
                return _table_problem(db, "1")
        except sqlite3.OperationalError:  # locked, no permission, a full disk and the like
            raise
        except sqlite3.DatabaseError as error:
            return str(error)


def _table_problem(db: sqlite3.Connection, table: str) -> str:
    problem = str(db.execute(f"PRAGMA integrity_check({table})").fetchone()[0])
    return "" if problem == "ok" else problem.replace("\n", " ")


def _open(state: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{state.resolve().as_uri()}?mode=rw", timeout=schema.BUSY_S, uri=True)


def _salvage(state: Path, target: Path, out: Path) -> list[Finding]:
    with contextlib.closing(schema.connect(target)) as new, contextlib.closing(_open(state)) as old:
        with schema.transaction(new):
            schema.prepare_tables(new)
            create_tables(new)
            whole = {table: _copy_rows(old, new, table) for table in (_PLACES, *_NUMBERS)}
            lost = []
            if not whole[_PLACES]:
                _add_places(new, itertools.chain(_flagged_places(old), _recorded_places(out)))
                (count,) = new.execute(f"SELECT count(*) FROM {_PLACES}").fetchone()
                what = f"the places of forgotten faces in {state} could not all be read"
                missing = "those that no record has, and the marks of `people readmit`"
                lost.append(Finding(what, missing, f"{count} places"))
            if not all(whole[table] for table in _NUMBERS):
                new.execute("INSERT INTO unknown_given SELECT max(number) FROM unknown_faces")
                (count,) = new.execute("SELECT count(number) FROM unknown_faces").fetchone()
                what = f"the numbers of unknown people in {state} could not all be read"
                lost.append(Finding(what, "some numbers", f"those of {count} faces"))
        return lost


def _copy_rows(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> bool:
    """Copy the rows of a table, read from both ends up to the damage; return if these are all."""
    rows: dict[int, list[object]] = {}
    columns: list[str] = []
    is_whole = False
    with contextlib.suppress(sqlite3.DatabaseError):
        tables = {name for (name,) in old.execute("SELECT name FROM sqlite_master")}
        if table not in tables:
            # The numbers have tables when there are some; an empty state has lost all.
            return bool(tables) and table in _NUMBERS
        is_whole = not _table_problem(old, table)
    for order in ("ASC", "DESC"):
        try:
            found = old.execute(f"SELECT rowid, * FROM {table} ORDER BY rowid {order}")
            columns = [name for name, *_ in found.description[1:]]  # of earlier versions too
            for rowid, *row in found:
                rows.setdefault(rowid, row)
            break
        except sqlite3.DatabaseError:
            is_whole = False
    for row in rows.values():
        marks = ", ".join("?" * len(row))
        names = ", ".join(columns)
        new.execute(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", row)
    return is_whole


def _add_places(db: sqlite3.Connection, places: Iterator[tuple[str, Box]]) -> None:
    for photo_id, box in places:
        known = schema.places_in(db, [photo_id]).get(photo_id, [])
        if not any(box_overlap(box, one) >= SAME_BOX for one in known):
            schema.add_place(db, photo_id, box, _REPAIRED)


def _flagged_places(old: sqlite3.Connection) -> Iterator[tuple[str, Box]]:
    """Yield the forgotten faces among those that runs found, as far as they can be read."""
    with contextlib.suppress(sqlite3.DatabaseError):
        (version,) = old.execute("PRAGMA user_version").fetchone()
        flag = schema.FORGOTTEN_FACES.get(version)
        if flag:
            select = f"SELECT photo_id, x, y, width, height FROM faces WHERE {flag}"
            for photo_id, *box in old.execute(select):
                yield photo_id, tuple(box)
            return
        for photo_id, content in old.execute("SELECT photo_id, faces FROM photos"):
            faces = np.frombuffer(content, photo_block.FACE)
            for box in faces["box"][faces["forgotten"]].tolist():
                yield photo_id, tuple(box)


def _recorded_places(out: Path) -> Iterator[tuple[str, Box]]:
    """Yield the forgotten faces of the records; of a photo in several runs, the latest counts."""
    done: set[str] = set()
    for folder in (out, *reversed(output_folder.finished_runs(out))):
        places: dict[str, list[Box]] = defaultdict(list)
        with contextlib.suppress(OSError, ValueError, KeyError, pa.ArrowException):
            for photo_id, reason, *box in read_columns(
                folder / output_folder.FACES_FILE, *_PLACE_COLUMNS
            ):
                if photo_id and photo_id not in done:
                    places[photo_id] += [tuple(box)] if reason == Reason.FORGOTTEN else []
        done |= places.keys()
        yield from ((photo_id, box) for photo_id, boxes in places.items() for box in boxes)


def _keep_state(state: Path, backup: Path) -> None:
    try:
        os.link(state, backup / state.name)  # it may be gigabytes
    except OSError:
        shutil.copyfile(state, backup / state.name)
    journal = f"{state.name}-journal"
    with contextlib.suppress(FileNotFoundError):
        state.with_name(journal).rename(backup / journal)


def _damaged_records(out: Path) -> Iterator[Path]:
    for folder in (out, *output_folder.finished_runs(out)):
        records = folder / output_folder.FACES_FILE
        if records.is_file():
            try:
                with pq.ParquetFile(records) as file:
                    for _ in file.iter_batches():
                        pass
            except (OSError, ValueError, pa.ArrowException) as error:
                if lack := shortage(error):
                    raise lack from None
                yield records


def _restore_records(records: Path) -> None:
    """Write faces.parquet again from the same rows in faces.jsonl, if these can be read."""
    with contextlib.suppress(FileNotFoundError, ValueError, pa.ArrowException):
        options = pyarrow.json.ParseOptions(explicit_schema=record_schema())
        table = pyarrow.json.read_json(records.with_suffix(".jsonl"), parse_options=options)
        with atomic_path(records) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        output_folder.rewrite_manifest(records.parent)
