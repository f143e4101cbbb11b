"""Enrol the people of a folder: `Name/photo.jpg` (nested files too) or `Name.jpg`."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.base.locks import folder_lock
from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.gallery.people_folder import (
    NOTES,
    EnrolReport,
    Flag,
    Moved,
    PeopleFolder,
    PersonPhoto,
    list_people,
    note_of,
    read_people,
)
from faceops.gallery.policy import ENROLMENT, choose_faces, disagreeing
from faceops.gallery.store import NAMED, Gallery, GalleryFace, png_of
from faceops.photos.open_photo import PhotoError
from faceops.release.bundle import Bundle

FaceKey = tuple[str, tuple[float, float, float, float]]  # photo_id and box


class EnrolledFaces:
    """The faces of `gallery`, to be changed; what a person costs does not grow with the others."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._by_person: dict[str, dict[FaceKey, GalleryFace]] = defaultdict(dict)
        self._holders: dict[FaceKey, GalleryFace] = {}
        for face in gallery.faces:
            self.add(face)

    def __iter__(self) -> Iterator[GalleryFace]:
        for faces in self._by_person.values():
            yield from faces.values()

    def of(self, person: str) -> list[GalleryFace]:
        """Return the person's faces."""
        return list(self._by_person[person].values()) if person in self._by_person else []

    def embeddings(self, faces: list[GalleryFace]) -> np.ndarray:
        """Return float32 (K, D), a row for each of `faces`."""
        rows = [face.embedding for face in faces]
        return np.array(rows, np.float32).reshape(-1, self._gallery.embedding_size)

    def holder(self, photo_id: str, box: tuple[float, float, float, float]) -> GalleryFace | None:
        """Return the enrolled face that is this face of this photo."""
        return self._holders.get((photo_id, box))

    def add(self, face: GalleryFace) -> None:
        """Enrol `face`."""
        key = face.photo_id, face.box
        self._by_person[face.person][key] = self._holders[key] = face

    def remove(self, face: GalleryFace) -> None:
        """Take `face` out."""
        key = face.photo_id, face.box
        del self._by_person[face.person][key]
        if self._holders.get(key) is face:
            del self._holders[key]

    def gallery(self) -> Gallery:
        """Return the gallery as it is now."""
        return replace(self._gallery, faces=()).with_faces(self)


@dataclass(frozen=True, eq=False)
class OpenedPhoto:
    """A photo after opening: its usable faces, or the reason and a note why it has none."""

    photo: str
    photo_id: str
    faces: tuple[Face, ...]
    reason: Reason | None = None
    note: str = ""


def open_person_photo(photo: PersonPhoto, finder: FaceFinder) -> OpenedPhoto:
    """Return the faces of `photo` that are good enough to enrol.

    There is none where the largest is not: the others would be people in the background.
    """
    try:
        found = find_in_photo(photo.path, finder)
    except PhotoError as error:
        return OpenedPhoto(photo.photo, photo.photo_id, (), error.reason, note_of(error))
    largest = max(found.faces, key=lambda face: face.quality.size_px, default=None)
    reason = Reason.NO_FACE if largest is None else ENROLMENT.refusal(largest.quality)
    if reason is not None:
        return OpenedPhoto(photo.photo, found.photo.photo_id, (), reason, NOTES[reason])
    usable = [face for face in found.faces if ENROLMENT.refusal(face.quality) is None]
    return OpenedPhoto(photo.photo, found.photo.photo_id, tuple(usable))


def enrol_person(
    person: str,
    opened: list[OpenedPhoto],
    faces: EnrolledFaces,
    moved: Callable[[GalleryFace], bool],
    bundle: Bundle,
    trust: bool,
    report: EnrolReport,
) -> None:
    """Add to `faces` the one face of each photo that is the person's; flag the other photos.

    Args:
        moved: whether the photo of an enrolled face went into another person's folder.
    """

    def flag(photo: OpenedPhoto, reason: Reason, note: str) -> None:
        report.flags.append(Flag(photo.photo, person, reason, note))

    for photo in opened:
        if photo.reason is not None:
            flag(photo, photo.reason, photo.note)
    good = [photo for photo in opened if photo.faces]
    if not good:
        return
    embeddings = _embed(good, bundle)
    known = faces.embeddings([face for face in faces.of(person) if not moved(face)])
    thresholds = bundle.release.thresholds

    def threshold_for(count: int) -> float:
        return thresholds.for_search(thresholds.default_budget, count)

    strange = set() if trust else disagreeing(embeddings, known, bundle.verify, threshold_for)
    for place in sorted(strange):
        note = (
            f"the face is unlike {person}'s other photos; if it is {person} all the same, "
            "enrol with --trust"
        )
        flag(good[place], Reason.NO_AGREEMENT, note)
    good = [photo for index, photo in enumerate(good) if index not in strange]
    embeddings = [vectors for index, vectors in enumerate(embeddings) if index not in strange]
    choice = choose_faces(embeddings, known, bundle.verify, threshold_for)
    for photo, vectors, index in zip(good, embeddings, choice, strict=True):
        if index is None:
            note = (
                f"which of the {len(photo.faces)} faces is {person}? "
                "Crop the photo, or add one that shows this person alone"
            )
            flag(photo, Reason.SEVERAL_FACES, note)
            continue
        face = _gallery_face(person, photo, photo.faces[index], vectors[index])
        other = faces.holder(face.photo_id, face.box)
        if other is None:
            report.enrolled += 1
        elif moved(other):
            faces.remove(other)
            report.moved.append(Moved(photo.photo, person, other.person))
        else:
            flag(photo, Reason.DUPLICATE_OTHER_PERSON, _whose(other))
            continue
        faces.add(face)


def _embed(photos: list[OpenedPhoto], bundle: Bundle) -> list[np.ndarray]:
    """Return the embeddings of each photo's faces, float32 (faces, D)."""
    crops = np.stack([face.crop for photo in photos for face in photo.faces])
    ends = np.cumsum([len(photo.faces) for photo in photos])[:-1]
    return np.split(bundle.embed(crops), ends)


def _whose(face: GalleryFace) -> str:
    if face.origin == NAMED:
        return f"the same face was named {face.person} in an album; enrol another photo"
    return f"the same face is enrolled as {face.person}; keep it in one of the two folders"


def _gallery_face(
    person: str, photo: OpenedPhoto, face: Face, embedding: np.ndarray
) -> GalleryFace:
    return GalleryFace(
        person=person,
        photo_id=photo.photo_id,
        photo=photo.photo,
        box=face.detection.box,
        detector_score=face.detection.score,
        quality=face.quality.overall,
        embedding=embedding,
        crop=png_of(face.crop),
    )


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
