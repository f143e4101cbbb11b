"""Enrol an unknown person of the latest run under a name, from the photos that show them."""

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.faces.find_faces import Face, PhotoFaces, find_in_photo
from faceops.gallery.faces_file import NAMED
from faceops.gallery.names import given_name, paths_shown_as, person_key
from faceops.gallery.people_folder import ADVICE, MAX_FACES, SkippedPhoto, enrolment_refusal
from faceops.gallery.store import Gallery, locked_gallery
from faceops.identification.latest_run import latest_run
from faceops.identification.records.output_folder import FACES_FILE, UNKNOWN_FILE
from faceops.identification.records.records import read_columns
from faceops.identification.run import identify
from faceops.identification.summary import Summary
from faceops.identification.unknown.numbers import FaceKey
from faceops.identification.unknown.unknown_people import unknown_name, unknown_number
from faceops.photos.open_photo import PhotoError
from faceops.release.bundle import Bundle

BOX = ("x", "y", "width", "height")  # columns


@dataclass
class Naming:
    """What naming did.

    Attributes:
        enrolled, enrolled_before: faces.
        flags: photos that were not enrolled.
        summary: of the run that followed.
    """

    unknown: str
    person: str
    enrolled: int
    enrolled_before: int
    flags: list[SkippedPhoto]
    summary: Summary


@dataclass(frozen=True)
class _UnknownFace:
    """A face of the unknown person, as recorded, and the paths of its photo."""

    key: FaceKey
    box: Box
    quality: float
    paths: list[str] = field(default_factory=list)


class _FoundFace(NamedTuple):
    """A face as it was found again in its photo."""

    photo_id: str
    path: str
    face: Face

    @property
    def place(self) -> tuple[str, Box]:
        """Return what identifies the face."""
        return self.photo_id, self.face.detection.box


def name_unknown(
    unknown: str, name: str, gallery_dir: Path, bundle: Bundle, out: Path, threads: int | None
) -> Naming:
    """Enrol the person `unknown` of the latest run into `out` as `name`, and identify again.

    Up to 20 of their faces are enrolled, the best ones, cut from the photos again; a person who is
    enrolled already gets them in addition. Called again after an interruption, it continues. The
    run that follows has the settings of the latest one.

    Raises:
        UsageError: `unknown` or `name` is not a valid name; there is no gallery.
        FaceOpsError: the latest run has no person with that number; none of the photos can be
            used; the gallery is of another contract or cannot be written.
    """
    unknown = unknown_name(unknown_number(unknown))
    name = given_name(name)
    latest = latest_run(out)
    faces = _faces_of(unknown, out)
    root = latest.root
    contract_id = bundle.release.contract_id
    finder = bundle.face_finder(latest.summary.detail)
    find = partial(find_in_photo, finder=finder, limits=latest.summary.limits)
    skipped: list[SkippedPhoto] = []
    with locked_gallery(gallery_dir, contract_id) as gallery:
        enrolled = {person_key(person): person for person in gallery.people}
        name = gallery.aliases.get(person_key(name), name)
        name = enrolled.get(person_key(name), name)
        owners = {(face.photo_id, face.box): face.person for face in gallery.faces}
        usable = []
        for found in _found_again(faces, root, find, name, skipped):
            owner = owners.get(found.place, name)
            if owner == name:
                usable.append(found)
            else:
                note = f"the same face is enrolled as {owner}"
                reason = Reason.DUPLICATE_OTHER_PERSON
                skipped.append(SkippedPhoto(found.path, name, reason, note))
        if not usable:
            raise FaceOpsError(
                f"none of the {len(faces)} faces of {unknown} can be enrolled: "
                f"{skipped[0].photo}: {skipped[0].note}."
            )
        new = [found for found in usable if found.place not in owners]
        if new:
            embeddings = bundle.embed(np.stack([each.face.crop for each in new]))
            gallery.with_faces(
                gallery.store_face(name, (each.photo_id, each.path), each.face, embedding, NAMED)
                for each, embedding in zip(new, embeddings, strict=True)
            ).save()
    gallery = Gallery.open(gallery_dir, contract_id)
    summary = identify(latest.photos, gallery, bundle, out, latest.settings(threads))
    return Naming(unknown, name, len(new), len(usable) - len(new), skipped, summary)


def _faces_of(unknown: str, out: Path) -> list[_UnknownFace]:
    """Return the person's faces by unknown.csv, the best first; their paths by the records."""
    faces: dict[FaceKey, _UnknownFace] = {}
    try:
        with (out / UNKNOWN_FILE).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["unknown"] == unknown:
                    key = FaceKey(row["photo_id"], int(row["face_index"]))
                    x, y, width, height = (float(row[name]) for name in BOX)
                    faces[key] = _UnknownFace(key, (x, y, width, height), float(row["quality"]))
        for photo_id, face_index, path in read_columns(
            out / FACES_FILE, "photo_id", "face_index", "photo_path"
        ):
            if (photo_id, face_index) in faces:
                faces[FaceKey(photo_id, face_index)].paths.append(path)
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / UNKNOWN_FILE} cannot be used ({error}); run faceops identify into {out} again."
        ) from None
    if not faces:
        raise FaceOpsError(
            f"there is no {unknown} in the latest results in {out}; {UNKNOWN_FILE} and the report "
            "list who is there."
        )
    return sorted(faces.values(), key=lambda face: (-face.quality, face.key))


def _found_again(
    faces: list[_UnknownFace],
    root: Path,
    find: Callable[[Path], PhotoFaces],
    person: str,
    skipped: list[SkippedPhoto],
) -> Iterator[_FoundFace]:
    """Yield up to `MAX_FACES` faces that are good enough; add the other photos to `skipped`."""
    count = 0
    for face in track(faces, "enrol"):
        found = _find_again(face, root, find)
        if isinstance(found, _FoundFace):
            yield found
            if (count := count + 1) == MAX_FACES:
                return
        else:
            note = ADVICE.get(found, "the photo cannot be used, or has changed since")
            path = face.paths[0] if face.paths else "?"
            skipped.append(SkippedPhoto(path, person, found, note))


def _find_again(
    face: _UnknownFace, root: Path, find: Callable[[Path], PhotoFaces]
) -> _FoundFace | Reason:
    """Return the face in its photo, or why it cannot be enrolled."""
    reason = Reason.VANISHED  # unless one of its paths leads to the photo
    for path in face.paths:
        for real in paths_shown_as(root, path):
            try:
                photo = find(real)
            except PhotoError as error:
                reason = error.reason
                continue
            if photo.photo.photo_id != face.key.photo_id:
                reason = Reason.VANISHED
                continue
            overlaps = [box_overlap(each.detection.box, face.box) for each in photo.faces]
            if max(overlaps, default=0) < SAME_BOX:
                reason = Reason.NO_FACE
                continue
            same = photo.faces[int(np.argmax(overlaps))]
            return enrolment_refusal(same.quality) or _FoundFace(face.key.photo_id, path, same)
    return reason
