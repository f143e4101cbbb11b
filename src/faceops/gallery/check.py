"""Check a gallery for damage, and repair it with all that can be kept."""

import json
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import DamageError, FaceOpsError, UsageError
from faceops.base.files import write_error, write_file, write_json
from faceops.base.locks import folder_lock
from faceops.base.progress import track
from faceops.gallery.crops import crop_problem, format_1_crops, stored_crops
from faceops.gallery.faces_file import (
    GalleryFace,
    copy_file,
    face_identity,
    face_order,
    is_copied,
    read_statement,
)
from faceops.gallery.folder import (
    COPY_FILE,
    FACES_FILE,
    GALLERY_FILE,
    OUTPUTS_FILE,
    output_folders,
    readable_lines,
)
from faceops.gallery.names import given_name
from faceops.gallery.store import Gallery, open_for_update

NOTHING = "nothing"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NORM_TOLERANCE = 1e-2
_ENROL = "enrol its photo again"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: what it is, and where.
        lost, kept: what is lost by it, and what is not.
        is_damage: False if the next change of the folder corrects it by itself.
    """

    what: str
    lost: str
    kept: str
    is_damage: bool = True

    def __str__(self) -> str:
        kind = "damage" if self.is_damage else "note"
        return f"{kind}: {self.what}. Lost: {self.lost}. Not lost: {self.kept}."


@dataclass(frozen=True)
class Repair:
    """What `repair` found before and after, and the folder with the files as they were before.

    `backup` is None if nothing was damaged.
    """

    before: list[Finding]
    after: list[Finding]
    backup: Path | None = None


def backup_folder(folder: Path) -> Path:
    """Return a new name in `folder` for the files that a repair replaces."""
    return folder / f"damaged-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def check_gallery(folder: Path) -> list[Finding]:
    """Return what is wrong in the gallery; nothing is changed.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: it is of a later format.
    """
    return [finding for finding, _ in _Check(folder).findings()]


def repair_gallery(folder: Path) -> Repair:
    """Repair the gallery, and keep the damaged files in a folder below it.

    faces.parquet is restored from its copy, and gallery.json from faces.parquet. A face keeps its
    name and embedding when its crop is lost; a face without a usable embedding is removed. A
    repair that was killed is completed by the next one.

    Raises:
        UsageError: there is no gallery.
        FaceOpsError: names and embeddings are lost, nothing is changed; it is in use, or cannot be
            written.
    """
    _require_gallery(folder)
    with folder_lock(folder):
        check = _Check(folder)
        found = list(check.findings())
        before = [finding for finding, _ in found]
        if not any(finding.is_damage for finding in before):
            open_for_update(folder)
            return Repair(before, check_gallery(folder))
        if check.gallery is None:
            Gallery.read(folder / FACES_FILE, {})  # raises what is lost
            raise AssertionError  # not reached
        backup = backup_folder(folder)
        _back_up([path for _, paths in found for path in paths], backup)
        _restore(check, folder)
        gallery = open_for_update(folder)
        if check.gallery.format_version == 1:  # it is migrated now
            check = _Check(folder)
            list(check.findings())
        faces = _usable(gallery, check.damaged_crops)
        if list(map(face_identity, faces)) != list(map(face_identity, gallery.faces)):
            replace(gallery, faces=tuple(faces), stamp="").save()
        return Repair(before, check_gallery(folder), backup)


def _require_gallery(folder: Path) -> None:
    if not any((folder / name).is_file() for name in (FACES_FILE, COPY_FILE, GALLERY_FILE)):
        raise UsageError(f"{folder} is not a gallery; name the folder of one.")


class _Check:
    """The checks of a gallery.

    Attributes:
        gallery: as read from the first whole file of faces.parquet and its copy; None if there is
            none.
        statement_is_whole, faces_are_whole: whether gallery.json and faces.parquet are.
        damaged_crops: the ids of damaged and missing crops.
    """

    def __init__(self, folder: Path) -> None:
        _require_gallery(folder)
        self._folder = folder
        self.gallery: Gallery | None = None
        self.statement_is_whole = self.faces_are_whole = False
        self.damaged_crops: set[str] = set()

    def findings(self) -> Iterator[tuple[Finding, list[Path]]]:
        """Yield each finding with the files that repairing it replaces."""
        yield from self._read()
        if self.gallery is not None:
            yield from self._check_faces(self.gallery)
        try:
            output_folders(self._folder)
        except FaceOpsError as error:
            lost = "folders that people forget has to clean, unless another line names them"
            path = self._folder / OUTPUTS_FILE
            yield Finding(str(error).partition(";")[0], lost, "its other lines"), [path]

    def _read(self) -> Iterator[tuple[Finding, list[Path]]]:
        statement: dict[str, Any] = {}
        errors = []
        statement_file = self._folder / GALLERY_FILE
        try:
            statement = read_statement(self._folder)
            self.statement_is_whole = True
        except DamageError as error:
            errors.append((str(error).partition(";")[0], statement_file))
        for name in (FACES_FILE, COPY_FILE):
            path = self._folder / name
            try:
                read = Gallery.read(path, statement)
            except DamageError as error:
                if name == FACES_FILE or path.is_file():
                    errors.append((str(error).partition(";")[0], path))
                continue
            if self.gallery is None:
                self.gallery = read
                self.faces_are_whole = name == FACES_FILE
        for what, path in errors:
            if self.gallery is None:
                yield Finding(what, "names and embeddings", "crops, and photos"), [path]
            else:
                yield Finding(what, NOTHING, "names, embeddings and crops"), [path]
        if self.gallery is None or errors:
            return
        if self.gallery.format_version > 1 and not is_copied(self._folder):
            what = f"{self._folder / COPY_FILE} is missing or older than {FACES_FILE}"
            yield Finding(what, NOTHING, "all faces", is_damage=False), []

    def _check_faces(self, gallery: Gallery) -> Iterator[tuple[Finding, list[Path]]]:
        table = self._folder / (FACES_FILE if self.faces_are_whole else COPY_FILE)
        if _SHA256.fullmatch(gallery.contract_id) is None:
            what = f"{table} states no contract id but {gallery.contract_id!r}"
            yield Finding(what, "which release embedded the faces", "names and crops"), []
        for person in gallery.people:
            if not is_valid_name(person):
                what = f"{person!r} is not a valid name: `faceops people rename {person!r} NAME`"
                yield Finding(what, NOTHING, "the faces"), []
        for person in sorted({*gallery.aliases.values()} - {*gallery.people}):
            what = f"{person} has earlier names but no faces"
            yield Finding(what, NOTHING, "the names", is_damage=False), []
        places = set()
        for face in gallery.faces:
            shown = f"{face.person} ({face.photo})"
            if face_order(face) in places:
                yield Finding(f"{table} has the face of {shown} twice", NOTHING, "one"), [table]
            places.add(face_order(face))
            if not _has_embedding(face):
                what = f"the embedding of {shown} is damaged"
                yield Finding(what, f"the face; {_ENROL}", "its photo"), [table]
        yield from self._check_crops(gallery)

    def _check_crops(self, gallery: Gallery) -> Iterator[tuple[Finding, list[Path]]]:
        kept = "name and embedding: the face is still recognised"
        lost = f"the picture that a later release embeds; {_ENROL}"
        if gallery.format_version == 1:
            pngs = format_1_crops(self._folder / FACES_FILE)
            for face, png in zip(gallery.faces, pngs, strict=True):
                problem = crop_problem(png)
                if problem:
                    what = f"the crop of {face.person} ({face.photo}) is {problem}"
                    yield Finding(what, lost, kept, bool(png)), [self._folder / FACES_FILE]
            return
        stored = stored_crops(self._folder)
        known: dict[str, str] = {}
        for face in track(gallery.faces, "check crops"):
            shown = f"{face.person} ({face.photo})"
            if not face.crop_id:
                yield Finding(f"{shown} has no crop", lost, kept, is_damage=False), []
                continue
            path = stored.pop(face.crop_id, None)
            if path is not None:
                known[face.crop_id] = crop_problem(path.read_bytes(), face.crop_id)
            problem = known.setdefault(face.crop_id, "missing")
            if problem:
                self.damaged_crops.add(face.crop_id)
                table = self._folder / FACES_FILE
                files = [table] if path is None else [table, path]
                yield Finding(f"the crop of {shown} is {problem}", lost, kept), files
        if stored:
            what = f"{len(stored)} crops in {self._folder} belong to no face"
            kept = "all faces; the next change of the gallery deletes these crops"
            yield Finding(what, NOTHING, kept, is_damage=False), []


def is_valid_name(person: str) -> bool:
    """Return whether `person` could be typed as a name."""
    with suppress(UsageError):
        return given_name(person) == person
    return False


def _has_embedding(face: GalleryFace) -> bool:
    norm = float(np.linalg.norm(face.embedding))
    return abs(norm - 1) <= _NORM_TOLERANCE and bool(_SHA256.fullmatch(face.photo_id))


def _back_up(paths: Collection[Path], backup: Path) -> None:
    """Copy the files to `backup`; a missing one is left out."""
    try:
        backup.mkdir(parents=True)
        for path in dict.fromkeys(paths):
            with suppress(FileNotFoundError):
                shutil.copyfile(path, backup / path.name)
    except OSError as error:
        raise FaceOpsError(f"{write_error(backup, error)} Nothing was changed.") from None


def _restore(check: _Check, folder: Path) -> None:
    """Replace the files that cannot be read."""
    assert check.gallery is not None
    if not check.faces_are_whole:
        copy_file(folder / COPY_FILE, folder / FACES_FILE)
    elif check.gallery.format_version > 1:
        copy_file(folder / FACES_FILE, folder / COPY_FILE)
    if not check.statement_is_whole:
        write_json(folder / GALLERY_FILE, check.gallery.statement())
    lines = [json.dumps({kind: str(path)}) + "\n" for kind, path in readable_lines(folder)]
    try:
        output_folders(folder)
    except FaceOpsError:
        write_file(folder / OUTPUTS_FILE, "".join(lines))


def _usable(gallery: Gallery, damaged_crops: Collection[str]) -> list[GalleryFace]:
    """Return the faces with a usable embedding, each once; without a crop if that is damaged."""
    faces = {face_order(face): face for face in gallery.faces if _has_embedding(face)}
    return [
        replace(face, crop_id="") if face.crop_id in damaged_crops else face
        for face in faces.values()
    ]
