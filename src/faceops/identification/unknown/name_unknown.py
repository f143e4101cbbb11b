"""Enrol a person whom earlier runs could only number, from the photos in which they were seen."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError, UsageError
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.faces.detector import SAME_BOX, box_overlap
from faceops.faces.find_faces import Face, find_in_photo
from faceops.gallery.crops import store_crop
from faceops.gallery.names import given_name, paths_shown_as, person_key
from faceops.gallery.people_folder import ADVICE, SkippedPhoto
from faceops.gallery.policy import ENROLMENT
from faceops.gallery.store import NAMED, Gallery, GalleryFace, locked_gallery
from faceops.identification.records.output_folder import FACES_FILE, SUMMARY_FILE, UNKNOWN_FILE
from faceops.identification.run import identify
from faceops.identification.settings import IdentifySettings
from faceops.identification.summary import Summary, read_summary
from faceops.identification.unknown.groups import FaceKey, unknown_name, unknown_number
from faceops.photos.open_photo import PhotoError
from faceops.release.bundle import Bundle

MOST_FACES = 20  # of one person: more add nothing to a search


@dataclass
class Naming:
    """What naming did: faces enrolled now, those there already, photos left out, the new run."""

    unknown: str
    person: str
    enrolled: int
    enrolled_before: int
    flags: list[SkippedPhoto]
    summary: Summary


@dataclass(frozen=True)
class _Seen:
    """A face of the unknown person: where its photo lies (several paths of one photo), and it."""

    key: FaceKey
    box: tuple[float, float, float, float]
    quality: float
    paths: list[str] = field(default_factory=list)


class _Cut(NamedTuple):
    """A face as it is cut from its photo anew."""

    key: FaceKey
    path: str
    face: Face


def name_unknown(
    unknown: str, name: str, gallery_dir: Path, bundle: Bundle, out: Path, threads: int | None
) -> Naming:
    """Enrol the person `unknown` of the latest run into `out` as `name`, and decide anew.

    Up to 20 of their faces are enrolled, the best ones, cut from the photos again; a person who is
    enrolled already gets them on top. Called again after an interruption, it goes on. The run that
    follows has the settings of the latest one.

    Raises:
        UsageError: `unknown` is no such name, `name` none at all; there is no gallery.
        FaceOpsError: the latest run has nobody of that number; none of the photos can be used; the
            gallery is of another contract or cannot be written.
    """
    number = unknown_number(unknown)
    name = given_name(name)
    latest = _latest(out)
    seen = _faces_of(number, out)
    shown = latest.photos_folder
    photos = next(iter(paths_shown_as(Path("/"), shown.lstrip("/"))), Path(shown))
    root = photos if photos.is_dir() else photos.parent
    flags: list[SkippedPhoto] = []
    with locked_gallery(gallery_dir, bundle.release.contract_id) as gallery:
        held = {person_key(person): person for person in gallery.people}
        name = gallery.aliases.get(person_key(name), name)
        name = held.get(person_key(name), name)
        taken = {(face.photo_id, face.box): face.person for face in gallery.faces}
        cut = []
        for one in _cut(seen, root, latest.detail, bundle, name, flags):
            other = taken.get((one.key.photo_id, one.face.detection.box), name)
            if other != name:
                note = f"the same face is enrolled as {other}"
                flags.append(SkippedPhoto(one.path, name, Reason.DUPLICATE_OTHER_PERSON, note))
            else:
                cut.append(one)
        fresh = [one for one in cut if (one.key.photo_id, one.face.detection.box) not in taken]
        if not cut:
            raise FaceOpsError(
                f"none of the {len(seen)} faces of {unknown_name(number)} can be enrolled: "
                f"{flags[0].photo}: {flags[0].note}."
            )
        if fresh:
            embeddings = bundle.embed(np.stack([one.face.crop for one in fresh]))
            gallery = gallery.with_faces(
                GalleryFace(
                    person=name,
                    photo_id=one.key.photo_id,
                    photo=one.path,
                    box=one.face.detection.box,
                    detector_score=one.face.detection.score,
                    quality=one.face.quality.overall,
                    embedding=embedding,
                    crop_id=store_crop(gallery_dir, one.face.crop),
                    origin=NAMED,
                )
                for one, embedding in zip(fresh, embeddings, strict=True)
            )
            gallery.save()
    summary = identify(
        photos,
        Gallery.open(gallery_dir, bundle.release.contract_id),
        bundle,
        out,
        IdentifySettings(
            budget=latest.budget,
            annotate=latest.annotate,
            xmp=latest.xmp,
            detail=latest.detail,
            keep_crops=latest.keep_crops,
            keep_runs=latest.keep_runs,
            threads=threads,
        ),
    )
    return Naming(unknown_name(number), name, len(fresh), len(cut) - len(fresh), flags, summary)


def _latest(out: Path) -> Summary:
    path = out / SUMMARY_FILE
    try:
        return read_summary(out)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"{out} holds no results; name the folder that faceops identify wrote to."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FaceOpsError(
            f"{path} cannot be used ({error}); run faceops identify into {out} again."
        ) from None


def _faces_of(number: int, out: Path) -> list[_Seen]:
    """Return the person's faces, best quality first, by unknown.csv and the exact paths."""
    wanted = unknown_name(number)
    try:
        with (out / UNKNOWN_FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        mine = [row for row in rows if row["unknown"] == wanted]
        seen = {
            FaceKey(row["photo_id"], int(row["face_index"])): _Seen(
                FaceKey(row["photo_id"], int(row["face_index"])),
                (float(row["x"]), float(row["y"]), float(row["width"]), float(row["height"])),
                float(row["quality"]),
            )
            for row in mine
        }
        for row in _rows(out / FACES_FILE):
            key = FaceKey(row["photo_id"], row["face_index"])
            if key in seen:
                seen[key].paths.append(row["photo_path"])
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / UNKNOWN_FILE} cannot be used ({error}); run faceops identify into {out} again."
        ) from None
    if not seen:
        raise FaceOpsError(
            f"there is no {wanted} in the latest results in {out}; {UNKNOWN_FILE} and the report "
            "list who is there."
        )
    return sorted(seen.values(), key=lambda face: (-face.quality, face.key))


def _rows(records: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(records) as file:
        for batch in file.iter_batches(columns=["photo_id", "photo_path", "face_index"]):
            yield from batch.to_pylist()


def _cut(
    seen: list[_Seen],
    root: Path,
    detail: int,
    bundle: Bundle,
    person: str,
    flags: list[SkippedPhoto],
) -> Iterator[_Cut]:
    """Yield up to `MOST_FACES` faces, cut from their photos; flag the photos left out."""
    finder = bundle.face_finder(detail)
    found = 0
    for face in track(seen, "enrol"):
        if found == MOST_FACES:
            return
        reason: Reason | None = Reason.VANISHED  # unless one of its paths leads to it
        found_at = ((path, real) for path in face.paths for real in paths_shown_as(root, path))
        for path, real in found_at:
            try:
                opened = find_in_photo(real, finder)
            except PhotoError as error:
                reason = error.reason
                continue
            if opened.photo.photo_id != face.key.photo_id:
                reason = Reason.VANISHED
                continue
            likest = max(
                opened.faces,
                key=lambda each: box_overlap(each.detection.box, face.box),
                default=None,
            )
            if likest is None or box_overlap(likest.detection.box, face.box) < SAME_BOX:
                reason = Reason.NO_FACE
                continue
            reason = ENROLMENT.refusal(likest.quality)
            if reason is None:
                found += 1
                yield _Cut(face.key, path, likest)
            break
        if reason is not None:
            note = ADVICE.get(reason, "the photo cannot be used, or has changed since")
            flags.append(SkippedPhoto(face.paths[0] if face.paths else "?", person, reason, note))
