"""Take a person out of the records of finished runs: CSV, JSON lines and Parquet alike."""

import contextlib
import csv
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path
from faceops.base.progress import track
from faceops.base.reasons import DecisionKind, Reason
from faceops.base.tables import csv_text
from faceops.faces.detector import SAME_BOX, box_overlap
from faceops.gallery.folder import has_content
from faceops.gallery.names import valid_unicode
from faceops.identification.sidecars.sidecars import MAX_BYTES, TEMPORARY, forget_person
from faceops.identification.sidecars.xmp import MWG, OURS, XmpDocument, is_ours, text_field, text_of
from faceops.identification.state.forgotten_places import add_place
from faceops.identification.state.presence import drop_missing
from faceops.identification.state.schema import connect, open_state, state_errors
from faceops.identification.unknown.groups import FaceKey, forget_numbers
from faceops.photos.walk import SIDECAR


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
        row.update(decision=str(DecisionKind.REJECTED), reason=str(Reason.FORGOTTEN))
        return True
    if row["runner_up"] and is_person(row["runner_up"]):
        row.update(dict.fromkeys(_OF_A_RUNNER_UP, nothing))
        return True
    return False


def _parquet(path: Path, temporary: Path, is_person: IsPerson) -> int:
    changed = 0
    with (
        pq.ParquetFile(path) as file,
        pq.ParquetWriter(temporary, file.schema_arrow, compression="zstd") as writer,
    ):
        for batch in file.iter_batches():
            rows = batch.to_pylist()
            changed += sum(_blank(row, is_person, None) for row in rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=file.schema_arrow))
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


class Forgotten(NamedTuple):
    """What was stored of a face that is forgotten now: embeddings, thumbnail and crop."""

    parts: tuple[bytes, ...]


def forget_faces(path: Path, faces: Iterable[NamedFace], mark: str) -> list[Forgotten]:
    """Remove embeddings and pictures of `faces` from the store `path`, by whatever method found.

    A stored face is meant when it overlaps the box by half or more. Where it was stays, so that
    no run finds it anew, under `mark` (see `forgotten_places`). What is kept of photos that are
    gone is dropped. The freed bytes are overwritten.

    Raises:
        FaceOpsError: as `FaceStore`.
    """
    if not path.is_file():
        return []
    gone: list[Forgotten] = []
    keys: list[FaceKey] = []
    with open_state(path) as db:
        for face in faces:
            rows = db.execute(
                "SELECT finder, face_index, thumbnail, crop, x, y, width, height "
                "FROM faces WHERE photo_id=? AND NOT forgotten",
                (face.photo_id,),
            ).fetchall()
            for finder, index, thumbnail, crop, *box in rows:
                x, y, width, height = box
                if box_overlap(face.box, (x, y, width, height)) >= SAME_BOX:
                    key = (face.photo_id, finder, index)
                    add_place(db, face.photo_id, (x, y, width, height), mark)
                    gone.append(Forgotten((*_removed(db, key), thumbnail, crop or b"")))
                    keys.append(FaceKey(face.photo_id, index))
        # Of photos that are gone nobody can tell any more whom an earlier run saw there.
        drop_missing(db)
    if gone:
        with state_errors(path), contextlib.closing(connect(path)) as db:
            db.execute("VACUUM")
    forget_numbers(path, keys)
    return gone


def _removed(db: sqlite3.Connection, key: tuple[str, str, int]) -> list[bytes]:
    """Blank the face in the store; return the embeddings that it had there."""
    where = "photo_id=? AND finder=? AND face_index=?"
    embeddings = db.execute(f"SELECT embedding FROM embeddings WHERE {where}", key).fetchall()
    db.execute(f"DELETE FROM embeddings WHERE {where}", key)
    db.execute(f"UPDATE faces SET forgotten=1, thumbnail=x'', crop=NULL WHERE {where}", key)
    return [embedding for (embedding,) in embeddings]


IsPersonName = Callable[[str], bool]


@dataclass
class ForgottenSidecars:
    """How many sidecars were looked into, and how many entries went.

    `found` are places where the person still is, or that could not be read to the end,
    `unreachable` folders that are not there or may not be listed.
    """

    files: int = 0
    entries: int = 0
    found: list[str] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)


def forget_sidecars(folders: Iterable[Path], is_person: IsPersonName) -> ForgottenSidecars:
    """Remove what we wrote of the person from every sidecar below `folders`, then read them again.

    By content, not by the photos' names: a sidecar that was moved with its photo is cleaned too.
    Names that others wrote stay. Half-written sidecars of killed runs are removed.
    """
    done = ForgottenSidecars()
    for path in track(_sidecars_below(folders, done.unreachable), "search sidecars"):
        shown = valid_unicode(str(path))
        try:
            if path.name.endswith(TEMPORARY):
                path.unlink()
                continue
            done.files += 1
            if not _is_marked(path):
                continue
            done.entries += forget_person(path, is_person)
            if path.exists() and any(map(is_person, _our_names(path))):
                done.found.append(f"{shown}: the name, in a sidecar")
        except FaceOpsError as error:
            done.found.append(str(error))
        except (OSError, ValueError) as error:
            done.found.append(f"{shown}: cannot be read ({error}); look into it, or remove it")
    return done


def _is_marked(path: Path) -> bool:
    if path.stat().st_size > MAX_BYTES:
        return False  # we neither read nor write such a one
    return OURS.encode() in path.read_bytes()


def _our_names(path: Path) -> list[str]:
    document = XmpDocument(path.read_bytes())
    regions = [text_field(region, MWG, "Name") for region in document.regions() if is_ours(region)]
    return [*regions, *(text_of(item) for item in document.people(OURS))]


def _sidecars_below(folders: Iterable[Path], unreachable: list[str]) -> Iterator[Path]:
    """Yield the sidecars below `folders`, each once; links to folders are followed once too."""
    entered: set[tuple[int, int]] = set()

    def not_listed(error: OSError) -> None:
        unreachable.append(f"{valid_unicode(str(error.filename))} ({error.strerror})")

    for folder in folders:
        if not has_content(folder):
            unreachable.append(valid_unicode(str(folder)))
            continue
        for place, below, names in os.walk(folder, onerror=not_listed, followlinks=True):
            try:
                status = Path(place).stat()
            except OSError as error:
                not_listed(error)
                continue
            if (status.st_dev, status.st_ino) in entered:
                below.clear()
                continue
            entered.add((status.st_dev, status.st_ino))
            below.sort()
            for name in sorted(names):
                if name.lower().endswith((SIDECAR, TEMPORARY)):
                    path = Path(place, name)
                    if path.is_file():
                        yield path
