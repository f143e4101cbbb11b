"""Enrol the people of a folder: `Name/photo.jpg` (nested files too) or `Name.jpg`."""

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faceops.errors import UsageError
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.find_in_photo import find_in_photo
from faceops.faces.ordered_map import ordered_map
from faceops.gallery.choose_face import choose_faces, disagreeing
from faceops.gallery.face_policy import ENROLMENT
from faceops.gallery.folder_lock import folder_lock
from faceops.gallery.person_name import first_spellings, person_key, person_of, valid_unicode
from faceops.gallery.store import ENROLLED, Gallery, GalleryFace, png_of
from faceops.photos.content_hash import sha256_file
from faceops.photos.open_photo import PhotoError
from faceops.photos.walk import walk_photos
from faceops.progress import track
from faceops.reasons import Reason
from faceops.release.bundle import Bundle

SAVE_EVERY_S = 30.0


@dataclass(frozen=True)
class Flag:
    """A photo that was not enrolled, and why; `note` says what to do about it."""

    photo: str
    person: str
    reason: Reason
    note: str


@dataclass
class EnrolReport:
    """What an enrolment did; counts of photos, people by name.

    `spellings` are, by the name that is shown, the others under which a person was met.
    """

    enrolled: int = 0
    unchanged: int = 0
    pruned: int = 0
    photos_opened: int = 0
    flags: list[Flag] = field(default_factory=list)
    people: dict[str, int] = field(default_factory=dict)  # faces a person, the whole gallery
    spellings: dict[str, list[str]] = field(default_factory=dict)
    contract_id: str = ""
    release: str = ""


@dataclass(frozen=True, eq=False)
class Opened:
    """A photo of `person` after opening: its usable faces, or the reason why it has none."""

    person: str
    photo: str
    photo_id: str
    faces: tuple[Face, ...]
    reason: Reason | None


NOTES = {
    Reason.NO_FACE: "no face was found; give a photo that shows the face from the front",
    Reason.FACE_TOO_SMALL: "the face is too small; give a larger photo or a closer one",
    Reason.LOW_QUALITY: "the face is blurred, dark or turned away; give a better photo",
    Reason.DUPLICATE: "the same photo is enrolled for this person already",
}


def enrol(
    people_dir: Path,
    gallery_dir: Path,
    bundle: Bundle,
    *,
    prune: bool = False,
    trust: bool = False,
    threads: int = 2,
) -> EnrolReport:
    """Bring the gallery up to date with `people_dir`, and save it.

    A photo whose bytes are enrolled for its person is not opened again. Photos that are gone from
    `people_dir` stay enrolled unless `prune`; what lies where nothing can be read just now, and
    people named in albums, stay always. Names that differ in case, spaces, `-`, `_` or `.` alone
    are one person, shown under the spelling that the gallery has, or else the first one by path.
    A face that is unlike all of the person's others, while these agree, is not enrolled unless
    `trust`. Every photo that is not enrolled is in the report with its reason. The gallery is saved
    now and then, so that an interrupted enrolment continues.

    Raises:
        UsageError: `people_dir` is not a folder or holds no files.
        FaceOpsError: the gallery is of another contract, damaged, busy or not writable.
    """
    if not people_dir.is_dir():
        raise UsageError(f"{people_dir} is not a folder; name the folder that holds the people.")
    paths = walk_photos(people_dir)
    if not paths:
        raise UsageError(
            f"{people_dir} holds no files; put each person's photos into a folder of their name."
        )
    report = EnrolReport(contract_id=bundle.release.contract_id, release=bundle.name)
    with folder_lock(gallery_dir):
        gallery = Gallery.create(
            gallery_dir,
            bundle.release.contract_id,
            bundle.release.embedding_size,
            bundle.release.crops_id,
        )
        by_person: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            name = person_of(path.relative_to(people_dir))
            by_person[gallery.aliases.get(person_key(name), name)].append(path)
        shown = first_spellings([*gallery.persons, *by_person])
        report.spellings = _other_spellings(shown)
        gallery = gallery.renamed(shown)
        enrolled = {(face.person, face.photo_id) for face in gallery.faces}
        seen: set[tuple[str, str]] = set()
        fresh: dict[str, list[tuple[Path, str]]] = {}
        merged: dict[str, list[Path]] = defaultdict(list)
        for spelling, found in by_person.items():
            merged[shown[spelling]] += found
        for person in sorted(merged):
            fresh[person] = list(_fresh(person, merged[person], people_dir, enrolled, seen, report))
        if prune:
            before = len(gallery.faces)
            unread = [flag.photo for flag in report.flags if flag.reason is Reason.UNREADABLE]
            gallery = gallery.without(
                lambda face: (
                    face.origin == ENROLLED
                    and (face.person, face.photo_id) not in seen
                    and not _under(face, unread)
                )
            )
            report.pruned = before - len(gallery.faces)
            gallery.save()
        gallery = _enrol_people(gallery, fresh, bundle, people_dir, threads, trust, report)
        gallery.save()
    for face in gallery.faces:
        report.people[face.person] = report.people.get(face.person, 0) + 1
    report.flags.sort(key=lambda flag: (flag.photo, flag.reason))
    return report


def _other_spellings(shown: dict[str, str]) -> dict[str, list[str]]:
    others: dict[str, list[str]] = defaultdict(list)
    for spelling, name in sorted(shown.items()):
        if spelling != name:
            others[name].append(spelling)
    return dict(sorted(others.items()))


def _under(face: GalleryFace, unread: list[str]) -> bool:
    """Return whether the face's photo is, or lies under, one of the paths `unread`."""
    return any(face.photo == path or face.photo.startswith(f"{path}/") for path in unread)


def _fresh(
    person: str,
    paths: list[Path],
    root: Path,
    enrolled: set[tuple[str, str]],
    seen: set[tuple[str, str]],
    report: EnrolReport,
) -> Iterator[tuple[Path, str]]:
    """Yield the photos to open, each with its photo_id; count or flag the others."""
    for path in paths:
        photo = valid_unicode(path.relative_to(root).as_posix())
        try:
            photo_id = sha256_file(path)
        except OSError as error:
            note = f"the file cannot be read ({error.strerror})"
            report.flags.append(Flag(photo, person, Reason.UNREADABLE, note))
            continue
        if (person, photo_id) in seen:
            report.flags.append(Flag(photo, person, Reason.DUPLICATE, NOTES[Reason.DUPLICATE]))
        elif (person, photo_id) in enrolled:
            report.unchanged += 1
        else:
            yield path, photo_id
        seen.add((person, photo_id))


def _enrol_people(
    gallery: Gallery,
    fresh: dict[str, list[tuple[Path, str]]],
    bundle: Bundle,
    root: Path,
    threads: int,
    trust: bool,
    report: EnrolReport,
) -> Gallery:
    finder = bundle.face_finder()
    work = [(person, path) for person, found in fresh.items() for path, _ in found]

    def open_one(item: tuple[str, Path]) -> Opened:
        return _opened(item[0], item[1], root, finder)

    results = track(ordered_map(open_one, work, threads), "enrol", total=len(work))
    saved = time.monotonic()
    for person, found in fresh.items():
        opened = [next(results) for _ in found]
        report.photos_opened += len(opened)
        gallery = gallery.with_faces(_chosen(person, opened, gallery, bundle, trust, report))
        if time.monotonic() - saved > SAVE_EVERY_S:
            gallery.save()
            saved = time.monotonic()
    next(results, None)  # lets the progress end
    return gallery


def _opened(person: str, path: Path, root: Path, finder: FaceFinder) -> Opened:
    photo = valid_unicode(path.relative_to(root).as_posix())
    try:
        found = find_in_photo(path, finder)
    except PhotoError as error:
        return Opened(person, photo, "", (), error.reason)
    faces = found.faces
    reasons = [ENROLMENT.refusal(face.detection.size, face.quality.overall) for face in faces]
    usable = tuple(face for face, why in zip(faces, reasons, strict=True) if why is None)
    reason = None if usable else (reasons[0] if reasons else Reason.NO_FACE)
    return Opened(person, photo, found.photo.photo_id, usable, reason)


def _chosen(
    person: str,
    opened: list[Opened],
    gallery: Gallery,
    bundle: Bundle,
    trust: bool,
    report: EnrolReport,
) -> Iterator[GalleryFace]:
    """Yield the one face of each photo that is this person's; flag the other photos."""
    for photo in opened:
        if photo.reason is not None:
            note = NOTES.get(photo.reason, "the file cannot be used as a photo")
            report.flags.append(Flag(photo.photo, person, photo.reason, note))
    good = [photo for photo in opened if photo.faces]
    if not good:
        return
    crops = np.stack([face.crop for photo in good for face in photo.faces])
    ends = np.cumsum([len(photo.faces) for photo in good])[:-1]
    embeddings = np.split(bundle.embed(crops), ends)
    known = np.array(
        [face.embedding for face in gallery.faces if face.person == person], np.float32
    ).reshape(-1, gallery.embedding_size)
    taken = {(face.photo_id, face.box): face.person for face in gallery.faces}
    thresholds = bundle.release.thresholds

    def threshold_for(faces: int) -> float:
        return thresholds.for_search(thresholds.default_budget, faces)

    strange = set() if trust else disagreeing(embeddings, known, bundle.verify, threshold_for)
    for place in sorted(strange):
        note = (
            f"the face is unlike {person}'s other photos; if it is {person} all the same, "
            "enrol with --trust"
        )
        report.flags.append(Flag(good[place].photo, person, Reason.NO_AGREEMENT, note))
    good = [photo for index, photo in enumerate(good) if index not in strange]
    embeddings = [vectors for index, vectors in enumerate(embeddings) if index not in strange]
    choice = choose_faces(embeddings, known, bundle.verify, threshold_for)
    for photo, vectors, index in zip(good, embeddings, choice, strict=True):
        if index is None:
            note = (
                f"which of the {len(photo.faces)} faces is {person}? "
                "Crop the photo, or add one that shows this person alone"
            )
            report.flags.append(Flag(photo.photo, person, Reason.SEVERAL_FACES, note))
            continue
        face = photo.faces[index]
        other = taken.get((photo.photo_id, face.detection.box))
        if other is not None:
            note = f"the same face is enrolled as {other}; keep it in one of the two folders"
            report.flags.append(Flag(photo.photo, person, Reason.DUPLICATE_OTHER_PERSON, note))
            continue
        report.enrolled += 1
        yield GalleryFace(
            person=person,
            photo_id=photo.photo_id,
            photo=photo.photo,
            box=face.detection.box,
            detector_score=face.detection.score,
            quality=face.quality.overall,
            embedding=vectors[index],
            crop=png_of(face.crop),
        )
