"""Enrol the people of a folder: `Name/photo.jpg` (nested files too) or `Name.jpg`."""

import time
from collections import Counter
from pathlib import Path

from faceops.base.locks import folder_lock
from faceops.base.progress import track
from faceops.faces.ordered_map import ordered_map
from faceops.gallery.enrol_person import OpenedPhoto, enrol_person, open_person_photo
from faceops.gallery.enrol_report import EnrolReport
from faceops.gallery.enrolled_faces import EnrolledFaces
from faceops.gallery.people_folder import PeopleFolder, PersonPhoto, list_people, read_people
from faceops.gallery.store import Gallery
from faceops.release.bundle import Bundle

SAVE_EVERY_S = 30.0


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
    people named in albums, stay always. A photo that went from one person's folder into another's
    takes its face along. Names that differ in case, spaces, `-`, `_` or `.` alone are one person,
    shown under the spelling that the gallery has, or else the first one by path; the earlier name
    of a person who was renamed is that person. A face that is unlike all that are enrolled for the
    person, or unlike the person's other new ones while these agree, is not enrolled unless `trust`.
    Every photo that is not enrolled is in the report with its reason. The gallery is saved now and
    then, so that an interrupted enrolment continues.

    Raises:
        UsageError: `people_dir` is not a folder or holds no files.
        FaceOpsError: the gallery is of another contract, damaged, busy or not writable.
    """
    paths = list_people(people_dir)
    report = EnrolReport(contract_id=bundle.release.contract_id, release=bundle.name)
    with folder_lock(gallery_dir):
        gallery = Gallery.create(
            gallery_dir,
            bundle.release.contract_id,
            bundle.release.embedding_size,
            bundle.release.crops_id,
        )
        folder = read_people(people_dir, paths, gallery, threads)
        report.flags += folder.flags
        report.spellings, report.aliases = folder.other_spellings(), folder.aliases
        faces = EnrolledFaces(gallery.renamed(folder.names))
        fresh = _fresh(folder, faces, report)
        if prune:
            gone = [face for face in faces if folder.lacks(face)]
            for face in gone:
                faces.remove(face)
            report.pruned = len(gone)
            if gone:
                faces.gallery().save()
        _enrol_people(folder, fresh, faces, bundle, threads, trust, report)
        before, gallery = gallery, faces.gallery()
        if not _as_before(gallery, before):
            gallery.save()  # else its files stay, and so do results that were decided by them
    report.people = dict(Counter(gallery.persons))
    report.flags.sort(key=lambda flag: (flag.photo, flag.reason))
    return report


def _as_before(gallery: Gallery, before: Gallery) -> bool:
    """Whether the files of `before`, as it was opened or saved last, hold `gallery` already."""
    same = [
        [(face.person, face.photo, face.photo_id, face.box) for face in each.faces]
        for each in (gallery, before)
    ]
    return bool(before.stamp) and before.whole and same[0] == same[1]


def _fresh(
    folder: PeopleFolder, faces: EnrolledFaces, report: EnrolReport
) -> dict[str, list[PersonPhoto]]:
    """Return each person's photos that are not enrolled for them; count the others."""
    enrolled = {(face.person, face.photo_id) for face in faces}
    fresh = {
        person: [photo for photo in photos if (person, photo.photo_id) not in enrolled]
        for person, photos in folder.photos.items()
    }
    report.unchanged = sum(map(len, folder.photos.values())) - sum(map(len, fresh.values()))
    return fresh


def _enrol_people(
    folder: PeopleFolder,
    fresh: dict[str, list[PersonPhoto]],
    faces: EnrolledFaces,
    bundle: Bundle,
    threads: int,
    trust: bool,
    report: EnrolReport,
) -> None:
    finder = bundle.face_finder()

    def open_one(photo: PersonPhoto) -> OpenedPhoto:
        return open_person_photo(photo, finder)

    work = [photo for photos in fresh.values() for photo in photos]
    results = track(ordered_map(open_one, work, threads), "enrol", total=len(work))
    saved = time.monotonic()
    for person, photos in fresh.items():
        opened = [next(results) for _ in photos]
        report.photos_opened += len(opened)
        enrol_person(person, opened, faces, folder.moved, bundle, trust, report)
        if time.monotonic() - saved > SAVE_EVERY_S:
            faces.gallery().save()
            saved = time.monotonic()
    next(results, None)  # lets the progress end
