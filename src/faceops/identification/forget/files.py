"""Remove a person from files: those of an output folder, and sidecars beside photos."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import csv_text, paths_shown_as, read_json_object, valid_unicode, write_file
from faceops.base.reasons import DecisionKind, Reason
from faceops.base.stores import NoAnswerError, ObjectStore, is_url, shown, split
from faceops.base.work import ordered_map, track
from faceops.faces.detector import Box, best_overlap
from faceops.gallery.decisions import SAME_PLACE
from faceops.gallery.outputs import has_content
from faceops.identification import sidecars
from faceops.identification.engine.shards import remove_shards
from faceops.identification.forget.traces import TraceSearch, files_below
from faceops.identification.records import output_folder
from faceops.identification.records.drawings import drawn_path
from faceops.identification.records.records import Record, change_rows, read_columns
from faceops.identification.report.report import people_on
from faceops.identification.state import schema
from faceops.identification.state.photo_block import FACE
from faceops.identification.summary import with_current_names
from faceops.identification.unknown.unknown_people import FaceKey, forget_numbers
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.photos.walk import SIDECAR
from faceops.photos.xmp import XmpDocument, read_sidecar, sidecar_bytes

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
    """What was removed from one output folder."""

    folder: Path
    rows: int = 0
    cached_faces: int = 0
    reports: int = 0
    pictures: int = 0
    # The removed embeddings and pictures, which must not be found anywhere
    secrets: list[bytes] = field(default_factory=list)
    photo_folders: list[Path] = field(default_factory=list)  # where its runs wrote sidecars

    @property
    def touched(self) -> bool:
        return any((self.rows, self.cached_faces, self.reports, self.pictures))


def named_in_output(out: Path, is_person: IsPerson) -> set[NamedFace]:
    """Return the faces that have the person's name in any run; the caller holds the folder's lock.

    Raises FaceOpsError: the records are damaged.
    """
    columns = ("photo_id", "photo_path", "person", "x", "y", "width", "height")
    with _clean_errors(out):
        return {
            NamedFace(photo_id, path, tuple(box))
            for folder in _run_folders(out)
            for photo_id, path, person, *box in _rows(folder, *columns)
            if person is not None and is_person(person)
        }


def forget_in_state(out: Path, faces: Collection[NamedFace], mark: str) -> ForgottenOutput:
    """Remove `faces` from the state of `out`; the caller holds its lock.

    The state keeps the place of each face, without embedding or picture, so that the next run does
    not embed it again. What workers of an unfinished run left in a shared place is removed.

    Args:
        faces: the person's in the gallery and in every output, as a photo may be in several albums.
        mark: names this forgetting, see `readmit`.

    Raises FaceOpsError: `out` is damaged or cannot be written; what was removed stays removed.
    """
    done, state = ForgottenOutput(out), out / output_folder.STATE_FILE
    with _clean_errors(out):
        output_folder.remove_unfinished(out)
        remove_shards(out)
        if state.is_file():
            keys = _forget_in_photos(state, faces, mark, done.secrets)
            done.cached_faces = len(keys)
            if keys:
                with schema.state_errors(state), contextlib.closing(schema.connect(state)) as db:
                    db.execute("VACUUM")  # overwrites freed bytes
            forget_numbers(state, keys)
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
            rows = change_rows(folder, partial(_blank, is_person=is_person))
            done.rows += rows
            counted = _forget_summary(folder, is_person)
            if rows or counted or _may_be_shown(folder, is_person, photo_ids):
                done.reports += output_folder.remove_report(folder)
            output_folder.rewrite_manifest(folder)


def _may_be_shown(folder: Path, is_person: IsPerson, photo_ids: Collection[str]) -> bool:
    """Return whether the report may show the person: also as a guess, which is in no row."""
    page = folder / output_folder.REPORT_FILE
    # It is not known who is on pages whose first one is missing.
    if not page.is_file() or any(map(is_person, people_on(page))):
        return True
    return any(photo_id in photo_ids for (photo_id,) in _rows(folder, "photo_id"))


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


def _blank(row: Record, is_person: IsPerson) -> bool:
    """Remove the person from a row: one that named them becomes `rejected`, `forgotten`."""

    def names(column: str) -> bool:
        text = row[column] or ""
        return bool(text) and (is_person(text) or is_person(csv_text(text)))

    if names("person"):
        row.update({name: None for name in _PERSON_COLUMNS if name in row})
        row.update(decision=str(DecisionKind.REJECTED), reason=str(Reason.FORGOTTEN))
        return True
    if names("runner_up"):
        row.update(dict.fromkeys(_RUNNER_UP_COLUMNS))
        return True
    return False


def _forget_in_photos(
    state: Path, faces: Iterable[NamedFace], mark: str, secrets: list[bytes]
) -> list[FaceKey]:
    """Remove `faces`, found by any method; return them, `secrets` gets what was removed.

    Their places stay under `mark` (see `add_place`), so that no run stores them again. Data of
    missing photos are dropped, since it is unknown whom they show.
    """
    keys: list[FaceKey] = []
    with schema.open_state(state) as db:
        for face in faces:
            select = "SELECT id, faces FROM photos WHERE photo_id=?"
            for photo, content in db.execute(select, (face.photo_id,)).fetchall():
                found = np.frombuffer(content, FACE).copy()
                boxes = found["box"].tolist()
                index = best_overlap(face.box, boxes, SAME_PLACE)
                if index is not None and not found["forgotten"][index]:
                    schema.add_place(db, face.photo_id, tuple(boxes[index]), mark)
                    secrets += _blank_face(db, photo, found, index)
                    keys.append((face.photo_id, index))
        schema.drop_missing(db)
    return keys


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
        content = with_current_names(read_json_object(path)) | changes | {"inputs_sha256": ""}
        write_file(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _remove_drawings(folder: Path, photo_paths: Iterable[str]) -> int:
    drawn = folder / output_folder.ANNOTATED
    if not drawn.is_dir() or drawn.is_symlink():
        return 0
    known = (folder / output_folder.FACES_FILE).is_file()  # who is named in the copies
    places = (drawn / drawn_path(name) for name in photo_paths) if known else drawn.rglob("*")
    pictures = [path for path in places if path.is_file()]
    for path in pictures:
        path.unlink()
    if not any(path.is_file() for path in drawn.rglob("*")):
        shutil.rmtree(drawn)
        drawn.mkdir()  # the latest run's copies are linked to
    return len(pictures)


def _folders_with_sidecars(folders: Iterable[Path]) -> list[Path]:
    summaries = (folder / output_folder.SUMMARY_FILE for folder in folders)
    contents = [read_json_object(path) for path in summaries if path.is_file()]
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


@dataclass
class ForgottenSidecars(TraceSearch):
    """How sidecars were searched, and how many `entries` were removed.

    `found` are also sidecars that could not be read, and `unlisted` are folders that do not exist,
    are empty or may not be listed.
    """

    entries: int = 0


def forget_in_sidecars(
    folders: Sequence[Path], is_person: IsPerson, is_mentioned: IsPerson
) -> ForgottenSidecars:
    """Remove what FaceOps wrote of the person from every sidecar below `folders`.

    Every sidecar is parsed, in whatever encoding, and read again after it was changed; so are
    copies of them (photo.xmp~, photo.xmp_original) and those that were moved with their photos.
    Names that others wrote stay and are reported. Half-written sidecars of killed runs are deleted.

    Args:
        is_person: whether a text is the person's name.
        is_mentioned: whether a text contains it.
    """
    done, places = ForgottenSidecars(), SidecarPlaces()
    local = [folder for folder in folders if not is_url(folder)]
    present = [folder for folder in local if has_content(folder)]
    done.unlisted += [valid_unicode(str(folder)) for folder in local if folder not in present]
    search = partial(_forget_in_sidecar, places, is_person, is_mentioned)
    found = files_below(present, done.unlisted, _may_be_sidecar)
    searches: list[Iterable[ForgottenSidecars]] = [map(search, found)]
    for folder in folders:
        if is_url(folder):
            stored = _stored_sidecars(folder, done.unlisted)
            searches.append(ordered_map(search, stored, sidecars.SIDECARS_AT_ONCE))
    for each in searches:
        try:
            for one in track(each, "search sidecars"):
                done.add(one)
                done.entries += one.entries
        except NoAnswerError as error:
            done.unlisted.append(str(error).rstrip("."))
    return done


def _stored_sidecars(folder: Path, unlisted: list[str]) -> Iterator[Path]:
    """Yield what may be a sidecar in a store; `unlisted` gets a folder of which that fails."""
    is_empty = True
    try:
        for entry in ObjectStore.at(folder).objects():
            is_empty = False
            is_path = not {"", ".", ".."} & {*entry.name.split("/")}  # as of all that we wrote
            if is_path and SIDECAR in entry.name.rpartition("/")[2].lower():
                yield folder / entry.name
    except FaceOpsError as error:
        unlisted.append(str(error).rstrip("."))
    else:
        unlisted += [shown(folder)] * is_empty


def _forget_in_sidecar(
    places: SidecarPlaces, is_person: IsPerson, is_mentioned: IsPerson, path: Path
) -> ForgottenSidecars:
    done, name = ForgottenSidecars(), valid_unicode(shown(path))
    try:
        if path.name.endswith(sidecars.TEMPORARY):
            path.unlink()
            return done
        done.files = 1
        document = XmpDocument(sidecar_bytes(path))
        if any(map(is_person, sidecars.names_of_ours(document))):
            done.entries = sidecars.remove_person(path, is_person, places)
            left = read_sidecar(path)
            if left is None:
                return done
            document = left
            if any(map(is_person, sidecars.names_of_ours(document))):
                done.found.append(f"{name}: the name, in a sidecar")
        if any(map(is_mentioned, document.texts())):
            done.elsewhere.append(f"{name}: the name, in entries of other programs")
    except NoAnswerError:
        raise
    except FaceOpsError as error:
        done.found.append(str(error))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) or sidecars.is_marked(path):
            done.found.append(f"{name}: cannot be read ({error}); inspect it, or remove it")
        else:
            done.elsewhere.append(f"{name}: not searched for entries of other programs ({error})")
    return done


def _may_be_sidecar(name: str) -> bool:
    return SIDECAR in name.lower() or name.endswith(sidecars.TEMPORARY)
