"""Check a gallery for damage, and repair it with all that can be kept."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from faceops.base.errors import DamageError, FaceOpsError, UsageError
from faceops.base.files import folder_lock, write_error, write_file
from faceops.base.work import track
from faceops.dataset.names import name_problem
from faceops.gallery.backend import GalleryStorage
from faceops.gallery.faces_file import FORMAT_VERSION, has_length_1
from faceops.gallery.journal import Entry, Journal, as_sqlite
from faceops.gallery.outputs import output_folders, readable_lines
from faceops.gallery.storage import (
    DECISIONS_FILE,
    FACES_COPY,
    FACES_FILE,
    FIRST_WITH_SEGMENTS,
    GALLERY_FILE,
    OUTPUTS_FILE,
    SEGMENTS_FOLDER,
    FolderStorage,
    GalleryPlace,
    crop_path,
    storage_of,
)
from faceops.gallery.store import Gallery, load_crop

NOTHING = "nothing"
_PAGE = 4096  # bytes of a page of decisions.sqlite


@dataclass(frozen=True)
class Finding:
    what: str  # what it is, and where
    # lost, kept: what is lost by it, and what is not
    lost: str
    kept: str
    # False if the next change of the folder corrects it, or a repair has reported it
    is_damage: bool = True

    def __str__(self) -> str:
        kind = "damage" if self.is_damage else "note"
        return f"{kind}: {self.what}. Lost: {self.lost}. Not lost: {self.kept}."


@dataclass(frozen=True)
class Repair:
    """The findings before and after a repair.

    `backup` is the folder with the files as they were, None if nothing was damaged.
    """

    before: list[Finding]
    after: list[Finding]
    backup: Path | None = None


def backup_folder(folder: Path) -> Path:
    """Return a new name in `folder` for the files that a repair replaces."""
    return folder / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def check_gallery(place: GalleryPlace) -> list[Finding]:
    """Return what is wrong in the gallery; nothing is changed.

    The crops of a gallery of format 1 are not checked: the first change migrates them.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: it is of a later format, or was changed meanwhile.
    """
    storage = storage_of(place)
    stamp = storage.stamp()
    if isinstance(storage, FolderStorage):
        _, _, found = _examine(storage)
    else:
        found = _examine_tables(storage)
    if storage.stamp() != stamp:
        raise FaceOpsError(f"{storage} was changed while it was checked; check it again.")
    return found


def require_sound(folder: GalleryPlace) -> None:
    """Raise a ValueError that names the gallery's first damage. Raises: also as `check_gallery`."""
    if damage := [finding for finding in check_gallery(folder) if finding.is_damage]:
        more = f", and {len(damage) - 1} more" if len(damage) > 1 else ""
        raise ValueError(damage[0].what + more)


def repair_gallery(place: GalleryPlace) -> Repair:
    """Repair the gallery, and keep the files as they were in a folder below it.

    Files of faces and gallery.json are restored from their copies. A face keeps its name and
    embedding when its crop is lost; a face without a usable embedding is removed. A repair that was
    killed is completed by the next one.

    Raises:
        UsageError: there is no gallery, or it is in a database.
        FaceOpsError: names and embeddings are lost, nothing is changed; it is in use, or cannot be
            written.
    """
    storage = storage_of(place)
    if not isinstance(storage, FolderStorage):
        raise UsageError(
            f"{place} is in a database, which is not repaired: restore a backup of the database, "
            "or import an archive of `faceops gallery export` as a new gallery."
        )
    folder = storage.path
    _require_gallery(storage)
    with folder_lock(folder):
        gallery, crop_problems, before = _examine(storage)
        if not any(finding.is_damage for finding in before):
            storage.prepare()
            storage.mend_copies(storage.files())
            return Repair(before, check_gallery(folder))
        statement, faces = storage.read([])  # raises what is lost
        backup = backup_folder(folder)
        _back_up(folder, crop_problems, backup)
        if statement["schema_version"] == 1:
            faces = storage.with_stored_crops(faces)
        is_lost = faces.where("crop_id", crop_problems)
        pairs = zip(is_lost.tolist(), faces.texts("crop_id"), strict=True)
        crop_ids = ["" if lost else crop_id for lost, crop_id in pairs]
        gallery = Gallery.of(folder, statement, faces.with_crop_ids(crop_ids))
        gallery = replace(gallery, format_version=FORMAT_VERSION)
        gallery.without(~has_length_1(gallery.embeddings)).save()
        try:
            output_folders(folder)
        except FaceOpsError:
            write_file(folder / OUTPUTS_FILE, b"".join(readable_lines(folder)))
        journal = _DamagedJournal(folder / DECISIONS_FILE)
        try:
            journal.check()
        except DamageError:
            journal.keep_readable()
        return Repair(before, check_gallery(folder), backup)


def _require_gallery(storage: FolderStorage) -> None:
    if not storage.has_parts():
        raise UsageError(f"{storage} is not a gallery; name the folder of one.")


def _examine(storage: FolderStorage) -> tuple[Gallery | None, dict[str, str], list[Finding]]:
    """Return the readable part of the gallery, the problems of its crops, and all findings."""
    _require_gallery(storage)
    damage: list[str] = []
    gallery, lost, kept = None, "names and embeddings", "crops, and photos"
    try:  # from copies where files are damaged
        gallery = Gallery.of(storage.path, *storage.read(damage))
        lost, kept = NOTHING, "names, embeddings and crops"
    except DamageError as error:
        damage.append(_what(error))
    found = [Finding(what, lost, kept) for what in dict.fromkeys(damage)]
    crop_problems: dict[str, str] = {}
    if gallery is not None:
        if gallery.format_version >= FIRST_WITH_SEGMENTS:
            found += [
                Finding(f"{path} has no copy, or an old one", NOTHING, "all faces", is_damage=False)
                for path in ([] if found else storage.files())
                if not storage.is_copied(path)
            ]
        if gallery.format_version > 1:
            crop_problems = _crop_problems(gallery)
        found += _check_faces(gallery, crop_problems)
    return gallery, crop_problems, found + _check_notes(storage)


def _examine_tables(storage: GalleryStorage) -> list[Finding]:
    try:
        gallery = Gallery.open(storage)
    except DamageError as error:
        return [Finding(_what(error), "embeddings", "names, crops, and photos")]
    return [*_check_faces(gallery, _crop_problems(gallery)), *_check_notes(storage)]


def _check_notes(storage: GalleryStorage) -> list[Finding]:
    found = []
    try:
        output_folders(storage)
    except FaceOpsError as error:
        lost = "folders that people forget has to clean, unless another line names them"
        found.append(Finding(_what(error), lost, "its other lines"))
    try:
        storage.journal().check()
    except DamageError as error:
        lost = "decisions about faces that cannot be read; `faceops decisions import` adds those "
        lost += "of an export"
        found.append(Finding(_what(error), lost, "the gallery, other decisions"))
    journal = storage.folder and storage.folder / DECISIONS_FILE
    if journal and journal.exists() and not journal.stat().st_size:
        what = f"{journal} is empty: its first change was interrupted, or it was cut off"
        lost = "decisions, if there were any; `faceops decisions import` adds those of an export"
        found.append(Finding(what, lost, "the gallery", is_damage=False))
    return found


def _what(error: FaceOpsError) -> str:
    """Return what is wrong, without the advice that follows."""
    return str(error).partition(";")[0]


def _crop_problems(gallery: Gallery) -> dict[str, str]:
    problems = {}
    for crop_id in track(sorted(set(gallery.faces.texts("crop_id"))), "check crops"):
        try:
            load_crop(gallery.storage.png, crop_id)
        except ValueError as error:
            problems[crop_id] = str(error)
    return problems


def _check_faces(gallery: Gallery, crop_problems: Mapping[str, str]) -> Iterator[Finding]:
    for person in gallery.people:
        if problem := name_problem(person):
            what = f"{person!r} cannot be a person's name: {problem}"
            kept = f"the faces; rename the person: `faceops people rename -- ${person!r} NAME`"
            yield Finding(what, NOTHING, kept)
    is_whole = has_length_1(gallery.embeddings)
    is_odd = ~is_whole | gallery.faces.where("crop_id", crop_problems)
    odd = zip(gallery.faces.take(is_odd), is_whole[is_odd].tolist(), strict=True)
    for face, has_embedding in odd:
        shown = f"{face.person} ({face.photo})"
        if not has_embedding:
            lost = "the face, unless `faceops people reembed` embeds its crop again before a repair"
            yield Finding(f"the embedding of {shown} is damaged", lost, "its photo")
        if face.crop_id in crop_problems:
            what = f"the crop of {shown} is {crop_problems[face.crop_id]}"
            lost = "the picture that a later release embeds; enrol its photo again"
            kept = "name and embedding: the face is still recognised"
            yield Finding(what, lost, kept, is_damage=bool(face.crop_id))
    if unused := gallery.storage.unused_crops(set(gallery.faces.texts("crop_id"))):
        what = f"{unused} crops in {gallery.storage} belong to no face"
        kept = "all faces; the next change of the gallery deletes these crops"
        yield Finding(what, NOTHING, kept, is_damage=False)


class _DamagedJournal(Journal):
    def keep_readable(self) -> None:
        """Write the file anew with the entries that can be read, atomically."""
        content = as_sqlite(self._readable_entries())
        # Of a killed writer: SQLite would apply it to the new file.
        self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
        write_file(self.path, content, sync=True)

    def _readable_entries(self) -> list[Entry]:
        texts: set[str] = set()
        for order in ("ASC", "DESC"):  # from both ends up to the damage
            with suppress(FaceOpsError), self._open(writes=False) as db:
                for (content,) in db.execute(f"SELECT content FROM entries ORDER BY id {order}"):
                    texts.add(content)
        # Most entries lie in one piece in a page, which may belong to no tree any more.
        raw = self.path.read_bytes()
        for found in re.finditer(rb'\{"action": "', raw):
            text = raw[found.start() : found.start() + _PAGE].decode("utf-8", "replace")
            with suppress(ValueError, RecursionError):
                _, end = json.JSONDecoder().raw_decode(text)
                texts.add(text[:end])
        entries = {}
        for text in texts:
            with suppress(ValueError):
                if "\ufffd" not in text:
                    entry = Entry.from_json(text)
                    entries[entry.id] = entry
        return sorted(entries.values(), key=lambda entry: (entry.time, entry.id))


def _back_up(folder: Path, crop_ids: Mapping[str, str], backup: Path) -> None:
    names = (FACES_FILE, FACES_COPY, GALLERY_FILE, OUTPUTS_FILE, DECISIONS_FILE)
    paths = [folder / name for name in names] + [*(folder / SEGMENTS_FOLDER).glob("*.parquet")]
    try:
        backup.mkdir()
        for path in (*paths, *(crop_path(folder, crop_id) for crop_id in crop_ids)):
            with suppress(FileNotFoundError):
                shutil.copyfile(path, backup / path.name)
    except OSError as error:
        raise FaceOpsError(f"{write_error(backup, error)} Nothing was changed.") from None
