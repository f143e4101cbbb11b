"""Enrol one person: which faces of their new photos are theirs, and good enough."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from faceops.base.reasons import Reason
from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.find_in_photo import find_in_photo
from faceops.gallery.choose_face import choose_faces, disagreeing
from faceops.gallery.enrol_report import NOTES, EnrolReport, Flag, Moved, note_of
from faceops.gallery.enrolled_faces import EnrolledFaces
from faceops.gallery.face_policy import ENROLMENT
from faceops.gallery.people_folder import PersonPhoto
from faceops.gallery.store import NAMED, GalleryFace, png_of
from faceops.photos.photo_error import PhotoError
from faceops.release.bundle import Bundle


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
