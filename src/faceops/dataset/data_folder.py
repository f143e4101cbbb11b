"""The files of a data folder beside its photos, and the manifest that the stages make of it.

`faceops data import` writes sources.json, and of each source a list of its photos; people write
quarantine.csv, the photos that they set aside. `faceops data import reviewed` adds the reviewed
faces with the decision that each comes from: confirmed people train, and ignored strangers, one
photo each, calibrate. The manifest has a row per photo.
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base import files
from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.stores import ObjectStore, is_url, shown
from faceops.base.work import track

ACCEPTED, REJECTED = "accepted", "rejected"

# photo_id: sha256 of the bytes ("" if they could not be read); path: POSIX, relative to the data
# folder; person: as the folder names them; width, height: pixels of the upright photo (0 if
# unreadable); source: what imported it; split: "" until the split stage; reason: "" if accepted.
SCHEMA = pa.schema(
    [
        ("photo_id", pa.string()),
        ("path", pa.string()),
        ("person", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)


def manifest_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows, one dict per photo, as a table of the schema, sorted by path."""
    return pa.Table.from_pylist(rows, schema=SCHEMA).sort_by("path")


def write_manifest(table: pa.Table, path: Path) -> None:
    """Write the manifest sorted by path; equal tables give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.atomic_path(path) as temporary:
        pq.write_table(table.select(SCHEMA.names).cast(SCHEMA).sort_by("path"), temporary)


def read_manifest(path: Path) -> pa.Table:
    """Return the manifest in the file `path`. Raises FaceOpsError: it is absent, or no manifest."""
    with files.stage_output(path):
        return pq.read_table(path, columns=SCHEMA.names).cast(SCHEMA)


QUARANTINE_FILE = "quarantine.csv"  # in the data folder; columns photo_id and reason


def is_photo_id(text: str) -> bool:
    """Return whether `text` is a sha256: 64 hexadecimal digits in lower case."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def read_quarantine(path: Path) -> dict[str, str]:
    """Return photo_id -> the person's reason; empty if the file does not exist.

    Raises FaceOpsError: not such a CSV, or a photo_id that is not a sha256.
    """
    # The person may have added columns.
    rows, columns = _read_csv(path, "cannot be read ({}); correct or remove it.", "utf-8-sig")
    if columns and "photo_id" not in columns:
        raise FaceOpsError(f"{path} has no column photo_id; correct or remove it.")
    found = {}
    for line, row in enumerate(rows, start=2):
        photo_id = (row.get("photo_id") or "").strip().lower()
        if not is_photo_id(photo_id):
            raise FaceOpsError(
                f"{path} line {line}: photo_id {photo_id!r} is not a sha256 of 64 digits; "
                "take it from the manifest or from quarantine.csv of the stage validate."
            )
        found[photo_id] = (row.get("reason") or "").strip()
    return found


def _read_csv(path: Path, wrong: str, encoding: str = "utf-8") -> tuple[list[Any], list[str]]:
    """Return the rows, a dict each, and the columns; none of both without the file.

    `wrong` is what an error says of the file, {} standing for the reason.
    """
    try:
        with path.open(newline="", encoding=encoding) as file:
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or ())
    except FileNotFoundError:
        return [], []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FaceOpsError(f"{path} {wrong.format(error)}") from None


def add_to_quarantine(path: Path, photos: Mapping[str, str]) -> int:
    """Append photos that the file does not list yet; what it has is kept byte for byte.

    `photos`: photo_id -> reason. Returns how many rows were added.

    Raises FaceOpsError: the file is wrong already, or cannot be written.
    """
    listed = read_quarantine(path)
    new = [(photo_id, reason) for photo_id, reason in photos.items() if photo_id not in listed]
    if not new:
        return 0
    before = path.read_bytes() if path.exists() else b""
    text = before.decode("utf-8-sig")
    added = io.StringIO(newline="")
    line_end = "\r\n" if "\r\n" in text else "\n"
    columns = csv.DictReader(io.StringIO(text, newline="")).fieldnames
    writer = csv.DictWriter(
        added, columns or ["photo_id", "reason"], extrasaction="ignore", lineterminator=line_end
    )
    if not columns:
        before = b""
        writer.writeheader()
    elif not text.endswith(("\n", "\r")):
        added.write(line_end)
    writer.writerows({"photo_id": photo_id, "reason": reason} for photo_id, reason in new)
    files.write_file(path, before + added.getvalue().encode("utf-8", "replace"))
    return len(new)


def write_quarantine_list(rows: list[dict[str, str]], path: Path) -> None:
    """Write path, person, photo_id and reason of rejected photos, sorted by path."""
    columns = ("path", "person", "photo_id", "reason")
    cells = ([row[name] for name in columns] for row in sorted(rows, key=lambda row: row["path"]))
    files.write_csv(path, columns, cells)


SYNTHETIC = "synthetic"  # the source that `faceops data synthetic` writes
_SOURCES_FILE = "sources.json"
LISTS = "imported"  # folder of one CSV per source: path, and the photo's origin in the source


def read_imported(data: Path) -> dict[str, str]:
    """Return path (POSIX, relative to `data`) -> name of the source, for all imported photos."""
    lists = sorted((data / LISTS).glob("*.csv"))
    return {path: file.stem for file in lists for path in read_list(file)}


def read_list(file: Path) -> dict[str, str]:
    """Return path -> origin of the photos in a CSV of imported photos; {} if there is none."""
    wrong = "is not a list of imported photos ({}); restore it or import again."
    try:
        return {row["path"]: row["origin"] for row in _read_csv(file, wrong)[0]}
    except KeyError as error:
        raise FaceOpsError(f"{file} {wrong.format(error)}") from None


def read_sources(data: Path) -> dict[str, dict[str, Any]]:
    """Return name of a source -> places, terms and counts; {} for a folder without sources.json.

    Raises FaceOpsError: the file is not the JSON that FaceOps wrote.
    """
    path = data / _SOURCES_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise FaceOpsError(
            f"{path} cannot be read ({error}); restore it or remove {data}."
        ) from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise FaceOpsError(f"{path} is not a list of sources; restore it or remove {data}.")
    return content


def real_sources(data: Path) -> dict[str, dict[str, Any]]:
    """Return `read_sources`. Raises: also FaceOpsError for the folder of the synthetic set."""
    sources = read_sources(data)
    if SYNTHETIC in sources:
        raise FaceOpsError(
            f"{data} holds the synthetic people, which real photos are not mixed with; choose "
            "another folder with --out, or remove it."
        )
    return sources


def write_sources(data: Path, sources: dict[str, dict[str, Any]]) -> None:
    """Write sources.json, sorted and without times: DVC hashes it."""
    files.write_json(data / _SOURCES_FILE, sources)


# In the data folder; the stage `validate` copies both to build/validate/inputs.
REVIEWED_FILE = Path("imported/reviewed.csv")  # as the lists of other sources
HARD_NEGATIVES_FILE = Path("hard_negatives.csv")
PERSON, STRANGER = "person", "stranger"  # kinds
_BOX = ("x", "y", "width", "height")
_COLUMNS = ("path", "origin", "kind", *_BOX, "decision")
_RESTORE = "run `faceops data import reviewed` again, or restore it"
_WRONG = f"cannot be read ({{}}); {_RESTORE}."


@dataclass(frozen=True)
class ReviewedFace:
    """A face that was cut from a photo."""

    path: str  # of the crop, POSIX, relative to the data folder: photos/<Person>/<file>
    kind: str  # `PERSON`, who was confirmed, or `STRANGER`, whom somebody ignored
    photo_id: str  # sha256 of the photo that it was cut from
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of that photo, upright
    decision: str  # id of the entry in the journal

    @property
    def person(self) -> str:
        return self.path.split("/")[1]

    @property
    def place(self) -> tuple[str, tuple[float, float, float, float]]:
        """What identifies the face: the photo and the box."""
        return self.photo_id, self.box


def read_reviewed(file: Path) -> list[ReviewedFace]:
    """Return the faces in a file as `REVIEWED_FILE`, in its order; none without the file.

    Raises FaceOpsError: it is not such a file.
    """
    kinds = {PERSON: PERSON, STRANGER: STRANGER}
    try:
        return [
            ReviewedFace(
                row["path"], kinds[row["kind"]], row["origin"],
                (float(row["x"]), float(row["y"]), float(row["width"]), float(row["height"])),
                row["decision"],
            )
            for row in _read_csv(file, _WRONG)[0]
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{file} is not a list of reviewed faces ({error}); {_RESTORE}."
        ) from None


def write_reviewed(file: Path, faces: Iterable[ReviewedFace]) -> None:
    """Write the faces, sorted by path: equal faces give equal bytes."""
    rows = (
        (face.path, face.photo_id, face.kind, *face.box, face.decision)
        for face in sorted(faces, key=lambda face: face.path)
    )
    files.write_csv(file, _COLUMNS, rows)


def write_hard_negatives(file: Path, pairs: Mapping[tuple[str, str], int]) -> None:
    """Write pairs of people, by folder, with the number of faces that were taken for the other."""
    rows = (
        (files.csv_cell(one), files.csv_cell(other), count)
        for (one, other), count in sorted(pairs.items())
    )
    files.write_csv(file, ("person", "other", "faces"), rows)


def read_hard_negatives(file: Path) -> list[tuple[str, str]]:
    """Return the pairs of people in the file; none without the file.

    Raises FaceOpsError: it is not such a file.
    """
    rows, _ = _read_csv(file, _WRONG)
    try:
        return [(files.csv_text(row["person"]), files.csv_text(row["other"])) for row in rows]
    except KeyError as error:
        raise FaceOpsError(f"{file} has no column {error}; {_RESTORE}.") from None


def local_copy(path: str | Path, work: Path) -> Path:
    """Return `path`, or for a URL a folder below `work` with a copy of its objects.

    Only new and changed objects are read, what is gone from the store is removed from the copy, and
    a copy that was cut off is continued.

    Raises UsageError: there is no object, or one has a name that is no path below a folder;
    FaceOpsError: as of `ObjectStore.read`.
    """
    if not is_url(path):
        return Path(path)
    store, url = ObjectStore.at(path), shown(path)
    folder = work / "stores" / hashlib.sha256(url.encode()).hexdigest()[:16]
    note = folder / ".versions.json"
    try:
        known: dict[str, str] = files.read_json_object(note) if note.is_file() else {}
    except ValueError:  # damaged; all objects are downloaded again
        known = {}
    listed = {entry.name: entry.version for entry in store.objects()}
    if not listed:
        raise UsageError(f"{url} holds no objects; name a folder of labelled photos.")
    for name in listed:
        if {"", ".", ".."} & {*name.split("/")} or name == note.name:
            raise UsageError(f"{url}: the object {name!r} cannot be a file; rename it.")
    for name in known.keys() - listed.keys():
        (folder / name).unlink(missing_ok=True)
    copied = {name: known[name] for name in known.keys() & listed.keys()}
    new = [name for name, version in sorted(listed.items()) if copied.get(name) != version]
    try:
        for name in track(new, "download", after_s=2):
            files.write_file(folder / name, store.read(name))
            copied[name] = listed[name]
    finally:
        files.write_json(note, copied)
    return folder
