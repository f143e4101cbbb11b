"""Remove a person from one output folder: records, state, summaries, reports, drawn photos."""

import contextlib
import csv
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import atomic_path, csv_text, read_json_object, write_file
from faceops.base.reasons import DecisionKind, Reason
from faceops.base.stores import is_url, split
from faceops.faces.detector import Box, best_overlap
from faceops.gallery.decisions import SAME_PLACE
from faceops.gallery.names import paths_shown_as
from faceops.identification.records import output_folder
from faceops.identification.records.drawings import drawn_path
from faceops.identification.records.records import read_columns
from faceops.identification.report.pages import people_on
from faceops.identification.state.photo_block import FACE
from faceops.identification.state.presence import drop_missing
from faceops.identification.state.schema import add_place, connect, open_state, state_errors
from faceops.identification.state.shards import remove_shards
from faceops.identification.unknown.numbers import FaceKey, forget_numbers

IsPerson = Callable[[str], bool]
_RUNNER_UP_COLUMNS = ("runner_up", "runner_up_probability")
_PERSON_COLUMNS = ("person", "probability", "distance", *_RUNNER_UP_COLUMNS, "stranger_share")


class NamedFace(NamedTuple):
    """A face that has the person's name; the box is in pixels of the upright photo."""

    photo_id: str
    photo_path: str
    box: Box


@dataclass
class ForgottenOutput:
    """What was removed from one output folder.

    Attributes:
        secrets: the removed embeddings and pictures, which must not be found anywhere.
        photo_folders: folders of photos in which its runs wrote sidecars.
    """

    folder: Path
    rows: int = 0
    cached_faces: int = 0
    reports: int = 0
    pictures: int = 0
    secrets: list[bytes] = field(default_factory=list)
    photo_folders: list[Path] = field(default_factory=list)

    @property
    def touched(self) -> bool:
        """Whether anything was removed."""
        return any((self.rows, self.cached_faces, self.reports, self.pictures))


def named_in_output(out: Path, is_person: IsPerson) -> set[NamedFace]:
    """Return the faces that have the person's name in any run; the caller holds the folder's lock.

    Raises:
        FaceOpsError: the records are damaged.
    """
    with _clean_errors(out):
        return {face for folder in _run_folders(out) for face in _named_faces(folder, is_person)}


def forget_in_state(out: Path, faces: Collection[NamedFace], mark: str) -> ForgottenOutput:
    """Remove `faces` from the state of `out`; the caller holds its lock.

    The state keeps the place of each face, without embedding or picture, so that the next run does
    not embed it again. What workers of an unfinished run left in a shared place is removed.

    Args:
        faces: the person's in the gallery and in every output, as a photo may be in several albums.
        mark: names this forgetting, see `readmit`.

    Raises:
        FaceOpsError: `out` is damaged or cannot be written; what was removed stays removed.
    """
    done = ForgottenOutput(out)
    with _clean_errors(out):
        output_folder.remove_unfinished(out)
        remove_shards(out)
        _forget_state(out / output_folder.STATE_FILE, faces, mark, done)
    return done


def forget_in_files(
    done: ForgottenOutput, is_person: IsPerson, faces: Collection[NamedFace]
) -> None:
    """Remove the person from records, summaries, reports and drawn photos; `done` counts it.

    Reports that show the person are removed as a whole, since their pictures cannot be
    distinguished; the next run writes a new one. Called again, it finds nothing. Arguments and
    errors as `forget_in_state`.
    """
    out = done.folder
    named = named_in_output(out, is_person)
    photo_ids = {face.photo_id for face in faces}
    with _clean_errors(out):
        folders = _run_folders(out)
        done.photo_folders = _folders_with_sidecars(folders)
        for folder in folders:
            # The paths of other faces are relative to other folders.
            done.pictures += _remove_drawings(folder, {face.photo_path for face in named})
            rows = _forget_rows(folder, is_person)
            done.rows += rows
            counted = _forget_summary(folder, is_person)
            page = folder / output_folder.REPORT_FILE
            # A report also shows the guesses for a face, which are in no row. It is not known who
            # is on pages whose first one is missing.
            shown = not page.is_file() or any(map(is_person, people_on(page)))
            if counted or rows or shown or _has_photos(folder, photo_ids):
                done.reports += output_folder.remove_report(folder)
            output_folder.rewrite_manifest(folder)


def _run_folders(out: Path) -> list[Path]:
    return [out, *(path for path in sorted((out / output_folder.RUNS).glob("*")) if path.is_dir())]


@contextlib.contextmanager
def _clean_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FaceOpsError(
            f"{out} cannot be cleaned ({error}); repair that and forget the person again, "
            "what is removed stays removed."
        ) from None


def _rows(folder: Path, *columns: str) -> Iterator[tuple[Any, ...]]:
    records = folder / output_folder.FACES_FILE
    return read_columns(records, *columns) if records.is_file() else iter(())


def _named_faces(folder: Path, is_person: IsPerson) -> Iterator[NamedFace]:
    columns = ("photo_id", "photo_path", "person", "x", "y", "width", "height")
    for photo_id, path, person, x, y, width, height in _rows(folder, *columns):
        if person is not None and is_person(person):
            yield NamedFace(photo_id, path, (x, y, width, height))


def _has_photos(folder: Path, photo_ids: Collection[str]) -> bool:
    return any(photo_id in photo_ids for (photo_id,) in _rows(folder, "photo_id"))


class _Unchanged(Exception):
    pass


def _forget_rows(folder: Path, is_person: IsPerson) -> int:
    """Remove the person from the run's three record files; return the number of rows changed.

    Rows that named the person become `rejected`, `forgotten`. Each file is replaced atomically.
    """
    changed = 0
    for name, rewrite in (
        (output_folder.FACES_FILE, _parquet),
        ("faces.jsonl", _jsonl),
        ("faces.csv", _csv),
    ):
        path = folder / name
        if path.is_file():
            with contextlib.suppress(_Unchanged), atomic_path(path) as temporary:
                rows = rewrite(path, temporary, is_person)
                if not rows:
                    raise _Unchanged
                changed = max(changed, rows)
    return changed


def _blank(row: dict[str, Any], is_person: IsPerson, empty: object) -> bool:
    if row["person"] and is_person(row["person"]):
        row.update({name: empty for name in _PERSON_COLUMNS if name in row})
        row.update(decision=str(DecisionKind.REJECTED), reason=str(Reason.FORGOTTEN))
        return True
    if row["runner_up"] and is_person(row["runner_up"]):
        row.update(dict.fromkeys(_RUNNER_UP_COLUMNS, empty))
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
    with (
        path.open(encoding="utf-8", newline="") as file,
        temporary.open("w", encoding="utf-8", newline="") as out,
    ):
        reader = csv.DictReader(file)
        writer = csv.DictWriter(out, reader.fieldnames or (), lineterminator="\n")
        writer.writeheader()
        for row in reader:
            changed += _blank(row, lambda name: is_person(name) or is_person(csv_text(name)), "")
            writer.writerow(row)
    return changed


def _forget_state(path: Path, faces: Iterable[NamedFace], mark: str, done: ForgottenOutput) -> None:
    """Remove embeddings and pictures of `faces`, found by any method, from the state `path`.

    Their places stay under `mark` (see `forgotten_places`), so that no run stores them again. Data
    of missing photos are dropped, since it is unknown whom they show. Freed bytes are overwritten.
    """
    if not path.is_file():
        return
    keys: list[FaceKey] = []
    with open_state(path) as db:
        for face in faces:
            photos = db.execute(
                "SELECT id, faces FROM photos WHERE photo_id=?", (face.photo_id,)
            ).fetchall()
            for photo, content in photos:
                found = np.frombuffer(content, FACE).copy()
                boxes = found["box"].tolist()
                index = best_overlap(face.box, boxes, SAME_PLACE)
                if index is not None and not found["forgotten"][index]:
                    add_place(db, face.photo_id, tuple(boxes[index]), mark)
                    done.secrets += _blank_face(db, photo, found, index)
                    keys.append(FaceKey(face.photo_id, index))
        drop_missing(db)
    if keys:
        with state_errors(path), contextlib.closing(connect(path)) as db:
            db.execute("VACUUM")
    forget_numbers(path, keys)
    done.cached_faces = len(keys)


def _blank_face(db: sqlite3.Connection, photo: int, faces: np.ndarray, index: int) -> list[bytes]:
    removed = []
    faces["forgotten"][index] = True
    db.execute("UPDATE photos SET faces=? WHERE id=?", (faces.tobytes(), photo))
    for table, blank in (("embeddings", 0), ("lengths", np.nan)):
        for contract, content in db.execute(
            f"SELECT contract, {table} FROM {table} WHERE photo=?", (photo,)
        ).fetchall():
            rows = np.frombuffer(content, "<f4").reshape(len(faces), -1).copy()
            if table == "embeddings":  # a length is too short to be searched for
                removed.append(rows[index].tobytes())
            rows[index] = blank
            db.execute(
                f"UPDATE {table} SET {table}=? WHERE photo=? AND contract=?",
                (rows.tobytes(), photo, contract),
            )
    where = "photo=? AND face_index=?"
    for pictures in db.execute(
        f"SELECT thumbnail, crop FROM pictures WHERE {where}", (photo, index)
    ).fetchall():
        removed += [picture or b"" for picture in pictures]
    db.execute(f"DELETE FROM pictures WHERE {where}", (photo, index))
    return removed


def _forget_summary(folder: Path, is_person: IsPerson) -> bool:
    path = folder / output_folder.SUMMARY_FILE
    if not path.is_file():
        return False
    content = read_json_object(path)
    people, tagged = content["people"], content.get("tagged_otherwise", [])
    kept = {name: count for name, count in people.items() if not is_person(name)}
    others = [one for one in tagged if not (is_person(one["person"]) or is_person(one["tagged"]))]
    if (kept, others) == (people, tagged):
        return False
    reset_summary(folder, people=kept, tagged_otherwise=others, letters_not_drawn={})
    return True


def reset_summary(folder: Path, **changes: object) -> None:
    """Change the run's summary so that the next run decides every photo again."""
    path = folder / output_folder.SUMMARY_FILE
    if path.is_file():
        content = read_json_object(path) | changes | {"decided_by": ""}
        write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _remove_drawings(folder: Path, photo_paths: Iterable[str]) -> int:
    drawn = folder / output_folder.ANNOTATED
    if not drawn.is_dir() or drawn.is_symlink():
        return 0
    pictures = [path for name in photo_paths if (path := drawn / drawn_path(name)).is_file()]
    records = folder / output_folder.FACES_FILE
    if not records.is_file():  # it is not known who is named in the copies
        pictures = [path for path in drawn.rglob("*") if path.is_file()]
    for path in pictures:
        path.unlink()
    if not any(path.is_file() for path in drawn.rglob("*")):
        shutil.rmtree(drawn)
        drawn.mkdir()  # the latest run's copies are linked to
    return len(pictures)


def _folders_with_sidecars(folders: Iterable[Path]) -> list[Path]:
    summaries = [
        path for folder in folders if (path := folder / output_folder.SUMMARY_FILE).is_file()
    ]
    contents = [read_json_object(path) for path in summaries]
    shown = {content["photos_folder"] for content in contents if content.get("xmp")}
    named = (paths_shown_as(Path("/"), text.lstrip("/")) or [Path(text)] for text in sorted(shown))
    return [path.parent if _is_photo(path) else path for paths in named for path in paths]


def _is_photo(path: Path) -> bool:
    if not is_url(path):
        return path.is_file()
    with contextlib.suppress(FaceOpsError):  # told where its sidecars are searched
        store, name = split(path)
        return store.exists(name)
    return False
