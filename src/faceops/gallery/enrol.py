"""Enrol the people of a folder, `Name/photo.jpg` or `Name.jpg`, or those tagged in an album."""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from faceops.base.reasons import Reason
from faceops.base.work import default_threads, track
from faceops.faces.detector import Box
from faceops.faces.find_faces import Face
from faceops.gallery import people_folder, similarity, tags
from faceops.gallery.decisions import Decisions
from faceops.gallery.faces_file import CONFIRMED, NAMED, TAGGED, GalleryFace
from faceops.gallery.people_folder import OpenedPhoto, PeopleFolder, PersonPhoto, SkippedPhoto
from faceops.gallery.storage import GalleryPlace, storage_of
from faceops.gallery.store import Gallery, open_or_create, remove_unfinished
from faceops.photos.formats import PhotoLimits
from faceops.release.bundle import Bundle

FacePlace = tuple[str, Box]  # photo_id and box

SAVE_EVERY_S = 30.0
FEWEST_AT_ONCE = 8  # photos of a person to open before checking whether more are needed


@dataclass(frozen=True)
class MovedFace:
    """A photo that is now in the folder of `person`; its face was enrolled as `before`."""

    photo: str
    person: str
    before: str


@dataclass
class EnrolReport:
    # enrolled, unchanged: photos
    enrolled: int = 0
    unchanged: int = 0
    surplus: int = 0  # photos that were not opened, because their person has enough faces
    pruned: int = 0  # faces
    photos_opened: int = 0  # photos, except those whose faces an interrupted enrolment had stored
    flags: list[SkippedPhoto] = field(default_factory=list)  # photos that were not enrolled
    moved: list[MovedFace] = field(default_factory=list)
    # Faces of each person in the whole gallery
    people: dict[str, int] = field(default_factory=dict)
    # Other spellings that were found, by the name that is shown
    spellings: dict[str, list[str]] = field(default_factory=dict)
    # By the name of a folder, the person who once had that name and gets its photos
    aliases: dict[str, str] = field(default_factory=dict)
    # Number of files and folders that each rule of exclusion skips
    skipped: dict[str, int] = field(default_factory=dict)
    # Enrolled people who look alike, of whom at least one has new faces
    lookalikes: list[similarity.Lookalikes] = field(default_factory=list)
    contract_id: str = ""
    release: str = ""


def enrol(
    people_dir: Path,
    gallery_dir: GalleryPlace,
    bundle: Bundle,
    *,
    prune: bool = False,
    trust: bool = False,
    exclude: Sequence[str] = (),
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
) -> EnrolReport:
    """Bring the gallery up to date with `people_dir`, and save it.

    A photo whose bytes are enrolled for its person is not opened again. Photos that are missing in
    `people_dir` stay enrolled unless `prune`; unreadable photos and people named in albums always
    stay. If a photo moved into another person's folder, its face moves too. A face that is not the
    person's according to the journal of decisions is left out. Names that differ in case, spaces,
    `-`, `_` or `.` only are one person, shown in the gallery's spelling, or else the first one by
    path; an earlier name of a renamed person is that person. A face that is unlike the person's
    others (see `dissimilar_photos`) is enrolled only with `trust`. Every photo that is not enrolled
    is in the report with its reason. The gallery is saved every `SAVE_EVERY_S` seconds, and the
    faces found since are stored, so that an interrupted enrolment continues.

    Raises:
        UsageError: `people_dir` is not a folder or holds no files.
        FaceOpsError: the gallery is of another contract, damaged, in use or not writable.
    """
    skipped: dict[Path, str] = {}
    paths = people_folder.list_people(people_dir, exclude, skipped)
    read = partial(people_folder.read_people, people_dir, paths, skipped)
    return _enrol_all(read, skipped, gallery_dir, bundle, limits, prune=prune, trust=trust)


def enrol_tagged(
    photos_dir: Path,
    gallery_dir: GalleryPlace,
    bundle: Bundle,
    *,
    trust: bool = False,
    exclude: Sequence[str] = (),
    limits: PhotoLimits = PhotoLimits(),  # noqa: B008  frozen
) -> EnrolReport:
    """Enrol the people whom other programs tagged in the album `photos_dir`; see `read_tagged`.

    As `enrol`, but photos are opened only until a person has `MAX_FACES` faces in the gallery. A
    face whose tag was corrected since then moves to the other person. Nothing is ever removed.

    Raises:
        UsageError: `photos_dir` is not a folder or holds no files.
        FaceOpsError: as of `enrol`.
    """
    skipped: dict[Path, str] = {}
    read = partial(tags.read_tagged, photos_dir, tags.list_album(photos_dir, exclude, skipped))
    return _enrol_all(read, skipped, gallery_dir, bundle, limits, prune=False, trust=trust)


def _enrol_all(
    read: Callable[[Gallery, PhotoLimits, int], PeopleFolder],
    skipped: Mapping[Path, str],
    gallery_dir: GalleryPlace,
    bundle: Bundle,
    limits: PhotoLimits,
    *,
    prune: bool,
    trust: bool,
) -> EnrolReport:
    """Enrol the people that `read` returns; `skipped`: the rule that excludes each file."""
    release = bundle.release
    with storage_of(gallery_dir).lock():
        gallery = open_or_create(
            gallery_dir, release.contract_id, release.embedding_size, release.crops_id
        )
        threads = default_threads()
        enrolment = _Enrolment(gallery, read(gallery, limits, threads), bundle, trust)
        if prune:
            enrolment.prune()
        enrolment.enrol_new_photos(limits, threads)
        enrolled = enrolment.gallery()
        if not gallery.stamp or enrolled.faces is not gallery.faces:
            enrolled = enrolled.save()  # else the files and the results decided with them stay
        remove_unfinished(gallery_dir)
        if changed := enrolment.changed & set(enrolled.people):
            enrolled.faces.vectors.matrix()  # before another process may change the files
    report = enrolment.report
    report.skipped = dict(Counter(skipped.values()))
    report.people = dict(Counter(enrolled.persons))
    if changed:
        report.lookalikes = similarity.find_lookalikes(
            enrolled, release.thresholds, bundle.verify, changed
        )
    report.flags.sort(key=lambda skipped: (skipped.photo, skipped.reason))
    return report


class _Enrolment:
    """The faces of a gallery during enrolment; only those that can change are Python objects.

    Attributes:
        report: what was done so far.
        changed: people who have new faces.
    """

    def __init__(self, gallery: Gallery, folder: PeopleFolder, bundle: Bundle, trust: bool) -> None:
        self._gallery, self._folder, self._bundle, self._trust = gallery, folder, bundle, trust
        self._decisions = Decisions.load(gallery.place)
        self._by_person: dict[str, dict[FacePlace, GalleryFace]] = defaultdict(dict)
        self._by_place: dict[FacePlace, GalleryFace] = {}
        self._compare = similarity.comparison(bundle.release.thresholds, bundle.verify)
        self._load(gallery.renamed(folder.names), folder.photos)
        self._saved = time.monotonic()
        self.changed: set[str] = set()
        self.report = EnrolReport(
            flags=list(folder.skipped),
            spellings=folder.other_spellings(),
            aliases=folder.aliases,
            contract_id=bundle.release.contract_id,
            release=bundle.name,
        )

    def _load(self, base: Gallery, people: Collection[str]) -> None:
        """Load the faces that can change: of `people`, and of owners of the folder's photos."""
        photos = (photo for photos in self._folder.photos.values() for photo in photos)
        self._listed = {photo.photo_id for photo in photos}
        faces = base.faces
        owners = faces.take(faces.where("photo_id", self._listed)).texts("person")
        is_loaded = faces.where("person", {*people, *owners})
        self._base, self._rows = base, np.flatnonzero(is_loaded)
        self._loaded = list(faces.take(is_loaded))
        self._described: dict[str, np.ndarray] = {}  # faces of loaded people, once they were needed
        self._by_person.clear()
        self._by_place.clear()
        for face in self._loaded:
            self._add(face)
        self._others = similarity.OtherPeople(faces.take(~is_loaded).vectors, self._compare)

    def gallery(self) -> Gallery:
        now, known = {id(face) for face in self._all_faces()}, set(map(id, self._loaded))
        is_gone = np.zeros(len(self._base.faces), bool)
        is_gone[self._rows] = [id(face) not in now for face in self._loaded]
        added = [face for face in self._all_faces() if id(face) not in known]
        rest = self._base.without(is_gone) if is_gone.any() else self._base
        return rest.with_faces(added) if added else rest

    def prune(self) -> None:
        self._load(self._base, self._base.people)
        gone = [face for face in self._all_faces() if self._folder.lacks(face)]
        for face in gone:
            self._remove(face)
        self.report.pruned = len(gone)

    def enrol_new_photos(self, limits: PhotoLimits, threads: int) -> None:
        """Open the photos that are not enrolled for their person, and enrol them."""
        pending = {}
        for person, photos in self._folder.photos.items():
            # A face whose crop was lost is enrolled again.
            enrolled = {face.photo_id for face in self._faces_of(person) if face.crop_id}
            pending[person] = [photo for photo in photos if photo.photo_id not in enrolled]
            self.report.unchanged += len(photos) - len(pending[person])
        while new := self._next_photos(pending):
            self._enrol_photos(new, limits, threads)
        self.report.surplus = sum(map(len, pending.values()))

    def _next_photos(self, pending: dict[str, list[PersonPhoto]]) -> dict[str, list[PersonPhoto]]:
        chosen = {}
        for person, photos in pending.items():
            room = self._room_for(person)
            if photos and room > 0:
                count = len(photos) if math.isinf(room) else max(int(room), FEWEST_AT_ONCE)
                chosen[person], pending[person] = photos[:count], photos[count:]
        return chosen

    def _room_for(self, person: str) -> float:
        return self._folder.most_faces - len(self._by_person[person])

    def _enrol_photos(
        self, new: dict[str, list[PersonPhoto]], limits: PhotoLimits, threads: int
    ) -> None:
        work = [photo for photos in new.values() for photo in photos]
        opening = people_folder.open_photos(
            work, self._bundle, self._gallery.place, limits, threads
        )
        opened = track(opening, "enrol", total=len(work))
        for person, photos in new.items():
            found = [next(opened) for _ in photos]
            self._enrol_person(person, found)
            self.report.photos_opened += sum(not photo.kept for photo in found)
            if time.monotonic() - self._saved > SAVE_EVERY_S:
                self._load(self.gallery().save(), self._by_person)
                self._saved = time.monotonic()
        next(opened, None)  # ends the progress bar

    def _enrol_person(self, person: str, opened: list[OpenedPhoto]) -> None:
        photos = []
        for photo in (self._without_refused(person, one) for one in opened):
            if photo.reason is not None:
                self._skip(photo, person, photo.reason, photo.note)
            elif len(photo.faces) > 1 or not self._skip_if_elsewhere(person, photo, photo.faces[0]):
                photos.append(photo)
        if not photos:
            return
        embeddings = [photo.embeddings for photo in photos if photo.embeddings is not None]
        known = self._known(person)
        if not self._trust:
            others = self._others_than(person, embeddings)
            strange = similarity.dissimilar_photos(embeddings, known, others, self._compare)
            for place in sorted(strange):
                note = (
                    f"the face is unlike {person}'s other photos; if it is {person} all the same, "
                    "enrol with --trust"
                )
                self._skip(photos[place], person, Reason.NO_AGREEMENT, note)
            photos = [photo for place, photo in enumerate(photos) if place not in strange]
            embeddings = [rows for place, rows in enumerate(embeddings) if place not in strange]
        thresholds = self._bundle.release.thresholds
        threshold_for = partial(thresholds.for_search, thresholds.default_budget)
        chosen = similarity.choose_faces(embeddings, known, self._bundle.verify, threshold_for)
        found = list(zip(photos, embeddings, chosen, strict=True))
        if len(found) > (room := self._room_for(person)):  # the best of them, each with one face
            found.sort(key=lambda row: -row[0].faces[0].quality.overall)
            del found[int(room) :]
        for photo, vectors, index in found:
            if index is not None:
                self._enrol_face(person, photo, photo.faces[index], vectors[index])
                continue
            note = (
                f"which of the {len(photo.faces)} faces is {person}? "
                "Crop the photo, or add one that shows this person alone"
            )
            self._skip(photo, person, Reason.SEVERAL_FACES, note)

    def _without_refused(self, person: str, photo: OpenedPhoto) -> OpenedPhoto:
        decisions = self._decisions
        if photo.embeddings is None or photo.photo_id not in decisions.photos():
            return photo
        own = decisions.current(decisions.person_named(person))
        places = decisions.match(photo.photo_id, [face.detection.box for face in photo.faces])
        kept = [
            face
            for face, place in enumerate(places)
            if place is None or own not in map(decisions.current, place.refused)
        ]
        if not kept:
            note = f"somebody decided that the face is not {person}; undo that, or remove the photo"
            return replace(photo, faces=(), reason=Reason.REFUSED_BY_PERSON, note=note)
        faces = tuple(photo.faces[face] for face in kept)
        return replace(photo, faces=faces, embeddings=photo.embeddings[kept])

    def _others_than(self, person: str, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Return the described faces, float32 (M, E), of other people, at least the nearest."""
        if np.isinf(self._compare.lead):
            return np.zeros((0, self._gallery.embedding_size), np.float32)
        for name in self._by_person:
            if name not in self._described:
                self._described[name] = self._compare.describe(self._known(name))
        parts = [faces for name, faces in self._described.items() if name != person]
        return np.concatenate([self._others.near(np.concatenate(photos)), *parts])

    def _known(self, person: str) -> np.ndarray:
        """Return the embeddings, float32 (K, D), of the person's faces that did not move away."""
        faces = self._faces_of(person)
        rows = [face.embedding for face in faces if not self._folder.has_moved(face)]
        return np.array(rows, np.float32).reshape(-1, self._gallery.embedding_size)

    def _skip_if_elsewhere(self, person: str, photo: OpenedPhoto, face: Face) -> bool:
        other = self._by_place.get((photo.photo_id, face.detection.box))
        if other is None and photo.photo_id not in self._listed:  # it was changed since
            faces = self._base.faces
            same_photo = faces.take(faces.where("photo_id", [photo.photo_id]))
            other = next((one for one in same_photo if one.box == face.detection.box), None)
        if other is None or other.person == person or self._folder.has_moved(other):
            return False
        note = f"the same face is enrolled as {other.person}; keep it in one of the two folders"
        if other.origin in (NAMED, CONFIRMED):
            note = f"the same face was named {other.person} in an album; enrol another photo"
        elif TAGGED in (other.origin, self._folder.origin):
            note = f"the same face is enrolled as {other.person}; correct the tag that is wrong"
        self._skip(photo, person, Reason.DUPLICATE_OTHER_PERSON, note)
        return True

    def _enrol_face(
        self, person: str, photo: OpenedPhoto, face: Face, embedding: np.ndarray
    ) -> None:
        if self._skip_if_elsewhere(person, photo, face):
            return
        other = self._by_place.get((photo.photo_id, face.detection.box))
        if other is None or other.person == person:
            self.report.enrolled += 1
        else:
            self._remove(other)
            self.report.moved.append(MovedFace(photo.photo, person, other.person))
        source = photo.photo_id, photo.photo
        self.changed.add(person)
        origin = self._folder.origin
        self._add(self._gallery.store_face(person, source, face, embedding, origin))

    def _skip(self, photo: OpenedPhoto, person: str, reason: Reason, note: str) -> None:
        self.report.flags.append(SkippedPhoto(photo.photo, person, reason, note))

    def _all_faces(self) -> list[GalleryFace]:
        return [face for faces in self._by_person.values() for face in faces.values()]

    def _faces_of(self, person: str) -> list[GalleryFace]:
        return list(self._by_person[person].values())

    def _add(self, face: GalleryFace) -> None:
        place = face.photo_id, face.box
        self._described.pop(face.person, None)
        self._by_person[face.person][place] = self._by_place[place] = face

    def _remove(self, face: GalleryFace) -> None:
        place = face.photo_id, face.box
        self._described.pop(face.person, None)
        del self._by_person[face.person][place]
        if self._by_place.get(place) is face:
            del self._by_place[place]
