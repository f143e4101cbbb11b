"""Read a folder of people, `Name/photo.jpg` (nested files too) or `Name.jpg`; open its photos."""

import math
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from functools import cached_property, partial
from itertools import compress
from pathlib import Path, PurePosixPath
from threading import Lock

import numpy as np

from faceops.base.errors import UsageError, allowed_failures, shortage
from faceops.base.files import valid_unicode
from faceops.base.reasons import Reason
from faceops.base.work import ordered_map, track
from faceops.dataset.names import given_name, person_key
from faceops.faces.detector import Detection
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.faces.quality import QUALITY_VERSION, Quality
from faceops.gallery.faces_file import ENROLLED, GalleryFace
from faceops.gallery.storage import GalleryPlace
from faceops.gallery.store import Gallery, UnfinishedWork
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, PhotoShortageError, hash_photo
from faceops.photos.walk import walk_photos
from faceops.release.bundle import Bundle

ADVICE = {
    Reason.NO_FACE: "no face was found; give a photo that shows the face from the front",
    Reason.FACE_TOO_SMALL: "the face is too small; give a larger photo or a closer one",
    Reason.BLURRED: "the face is blurred; give a sharper photo",
    Reason.EXTREME_POSE: "the face is turned away; give a photo that shows it from the front",
    Reason.LOW_QUALITY: "the face is blurred, overexposed or hard to make out; give a better photo",
    Reason.DUPLICATE: "the same photo is enrolled for this person already",
}

# A bad enrolled face spoils every later search; a bad face in an album only stays unnamed.
# Measured with SFace on 1,162 photos of 220 people of LFW, whose sharpness is at least 16: blurred
# to a sharpness of 2 to 4, a face still matches its person's others with a mean probability of
# 0.83, at 1 to 2 with 0.16. A pose of 1 is a profile (the nose over an eye or past it); the ten
# faces with a pose over 0.9 still match with at least 0.995.
MIN_SIZE = 32  # pixels
MIN_QUALITY = 0.2
MIN_SHARPNESS = 4.0
MAX_POSE = 1.0
MAX_FACES = 20  # enrolled of one person from an album: more do not improve a search
MAX_FAILED_SHARE = 0.1  # of the photos, for a `shortage`; more end the enrolment


def enrolment_refusal(quality: Quality) -> Reason | None:
    """Return why a face is not enrolled; each measure counts, as a mean can hide a bad one."""
    if quality.size_px < MIN_SIZE:
        return Reason.FACE_TOO_SMALL
    if quality.pose >= MAX_POSE:
        return Reason.EXTREME_POSE
    if quality.sharpness < MIN_SHARPNESS:
        return Reason.BLURRED
    return Reason.LOW_QUALITY if quality.overall < MIN_QUALITY else None


@dataclass(frozen=True)
class SkippedPhoto:
    """A photo that was not enrolled, and why; `note` says what to do about it."""

    photo: str
    person: str
    reason: Reason
    note: str


def note_of(error: PhotoError) -> str:
    """Return the note about a file that cannot be used."""
    return f"the file {error.sentence.rstrip('.')}"


@dataclass(frozen=True)
class PersonPhoto:
    """A photo of `person`: its file, its path below the folder, the sha256 of its bytes."""

    person: str
    path: Path
    photo: str
    photo_id: str

    @property
    def method(self) -> str:
        """What, beside the photo and the release, determines the faces that `find` returns."""
        return ""

    def find(self, finder: FaceFinder, limits: PhotoLimits) -> "OpenedPhoto":
        """Open the photo; return its faces that are good enough to enrol, see `of_person`.

        Raises PhotoError: it cannot be used.
        """
        found = find_in_photo(self.path, finder, limits)
        return self.of_person(OpenedPhoto(self.photo, found.photo.photo_id, tuple(found.faces)))

    def of_person(self, opened: "OpenedPhoto") -> "OpenedPhoto":
        """Return the photo with those of its faces, embedded or not, that may be the person's.

        There are none when the largest is not good enough: the others would be people in the
        background.
        """
        if opened.reason is not None:
            return opened
        largest = max(opened.faces, key=lambda face: face.quality.size_px, default=None)
        reason = Reason.NO_FACE if largest is None else enrolment_refusal(largest.quality)
        if reason is not None:
            return replace(opened, faces=(), embeddings=None, reason=reason, note=ADVICE[reason])
        good = [enrolment_refusal(face.quality) is None for face in opened.faces]
        rows = None if opened.embeddings is None else opened.embeddings[good]
        return replace(opened, faces=tuple(compress(opened.faces, good)), embeddings=rows)


@dataclass
class PeopleFolder:
    """The people of a folder, each under the name that is shown, and their photos."""

    # Each person's photos once, people by name, photos in the order of enrolment
    photos: dict[str, list[PersonPhoto]]
    names: dict[str, str]  # by each spelling in the folder or the gallery, the name that is shown
    aliases: dict[str, str]  # by the name of a folder, the person who once had that name
    # Files that cannot be used, and further copies of a person's photo
    skipped: list[SkippedPhoto] = field(default_factory=list)
    # Paths that could not be read, or are excluded, so that their photos are unknown
    unread: set[str] = field(default_factory=set)
    origin: str = ENROLLED  # of the faces that are enrolled, see `GalleryFace`
    most_faces: float = math.inf  # of a person in the gallery; further photos are not opened

    @classmethod
    def of(
        cls,
        found: Iterable[str],
        gallery: Gallery,
        origin: str = ENROLLED,
        most_faces: float = math.inf,
    ) -> "PeopleFolder":
        """Return the people who are named in `found`, without photos.

        A name that a person of the gallery had before is that person's. It is shown in the spelling
        of the gallery, or else the first one.
        """
        found = list(found)
        now = {name: gallery.aliases.get(person_key(name), name) for name in found}
        every, first = [*gallery.people, *now.values()], dict[str, str]()
        for name in every:
            first.setdefault(person_key(name), name)
        shown = {name: first[person_key(name)] for name in every}
        aliases = {
            name: shown[person]
            for name, person in sorted(now.items())
            if person_key(name) in gallery.aliases
        }
        names = shown | aliases
        people = sorted({names[name] for name in found})
        photos: dict[str, list[PersonPhoto]] = {person: [] for person in people}
        return cls(photos, names, aliases, origin=origin, most_faces=most_faces)

    def skip(self, photo: str, person: str, reason: Reason, note: str) -> None:
        self.skipped.append(SkippedPhoto(photo, person, reason, note))

    def other_spellings(self) -> dict[str, list[str]]:
        """Return the spellings of each name beside the one that is shown."""
        others: dict[str, list[str]] = defaultdict(list)
        for spelling, name in sorted(self.names.items()):
            if spelling != name and spelling not in self.aliases:
                others[name].append(spelling)
        return dict(sorted(others.items()))

    def lacks(self, face: GalleryFace) -> bool:
        """Return whether the face came from such a folder and its photo is not the person's there.

        Photos at or below a path in `unread` do not count as gone.
        """
        path = PurePosixPath(face.photo)
        return (
            face.origin == self.origin
            and face.person not in self._people_by_photo.get(face.photo_id, ())
            and self.unread.isdisjoint(map(str, (path, *path.parents)))
        )

    def has_moved(self, face: GalleryFace) -> bool:
        """Return whether the face's photo moved from its person's folder into another's."""
        return face.photo_id in self._people_by_photo and self.lacks(face)

    @cached_property
    def _people_by_photo(self) -> dict[str, set[str]]:
        people: dict[str, set[str]] = defaultdict(set)
        for photos in self.photos.values():
            for photo in photos:
                people[photo.photo_id].add(photo.person)
        return dict(people)


def list_people(root: Path, exclude: Sequence[str], skipped: dict[Path, str]) -> list[Path]:
    """Return the files of the folder of people `root`, sorted; a UsageError if it has none.

    `exclude` and `skipped` as of `walk_photos`.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; name the folder that holds the people.")
    if not (paths := walk_photos(root, exclude, skipped)):
        raise UsageError(
            f"{root} holds no files; put each person's photos into a folder of their name."
        )
    return paths


def read_people(
    root: Path,
    paths: Sequence[Path],
    skipped: Iterable[Path],
    gallery: Gallery,
    limits: PhotoLimits,
    threads: int,
) -> PeopleFolder:
    """Assign the files `paths` below `root` to people, and hash them.

    `skipped` are excluded: nothing is known of them. Names that differ in case, spaces, `-`, `_`
    or `.` alone are one person, shown in the spelling of the gallery, or else the first one by
    path; a name that a person of the gallery had before is that person's. What cannot be a name is
    skipped.
    """
    owners: dict[Path, str] = {}
    misnamed: dict[Path, str] = {}
    for path in paths:
        parts = path.relative_to(root).parts
        try:  # the first folder is the name, or the file's stem when there is none
            owners[path] = given_name(parts[0] if len(parts) > 1 else path.stem)
        except UsageError as error:
            misnamed[path] = str(error).rstrip(".")
    folder = PeopleFolder.of(owners.values(), gallery)
    folder.unread |= {valid_unicode(path.relative_to(root).as_posix()) for path in skipped}
    for path, problem in misnamed.items():
        photo = valid_unicode(path.relative_to(root).as_posix())
        folder.skip(photo, "", Reason.BAD_NAME, problem)
        folder.unread.add(photo)  # a face that an earlier version enrolled from it stays
    seen: set[tuple[str, str]] = set()
    hashed = hash_photos(list(owners), limits.max_bytes, threads)
    for (path, owner), photo_id in zip(owners.items(), hashed, strict=True):
        person, photo = folder.names[owner], valid_unicode(path.relative_to(root).as_posix())
        if isinstance(photo_id, PhotoError):
            folder.skip(photo, person, photo_id.reason, note_of(photo_id))
            if photo_id.transient:
                folder.unread.add(photo)
        elif (person, photo_id) in seen:
            folder.skip(photo, person, Reason.DUPLICATE, ADVICE[Reason.DUPLICATE])
        else:
            seen.add((person, photo_id))
            folder.photos[person].append(PersonPhoto(person, path, photo, photo_id))
    return folder


def hash_photos(paths: Sequence[Path], max_bytes: int, threads: int) -> Iterator[str | PhotoError]:
    """Yield the sha256 of each file's bytes, or why it cannot be read."""
    hashing = ordered_map(partial(_photo_id, max_bytes), paths, threads)
    return track(hashing, "hash photos", total=len(paths))


def _photo_id(max_bytes: int, path: Path) -> str | PhotoError:
    try:
        return hash_photo(path, max_bytes)
    except PhotoError as error:
        return error


@dataclass(frozen=True, eq=False)
class OpenedPhoto:
    """A photo after opening: its usable faces, or the reason and a note why it has none.

    `embeddings`, float32 (faces, D), are those of `faces`. `kept`: an interrupted enrolment had
    kept them.
    """

    photo: str
    photo_id: str
    faces: tuple[Face, ...]
    reason: Reason | None = None
    note: str = ""
    embeddings: np.ndarray | None = None
    kept: bool = False


def open_photos(
    photos: Sequence[PersonPhoto],
    bundle: Bundle,
    gallery: GalleryPlace,
    limits: PhotoLimits,
    threads: int,
) -> Generator[OpenedPhoto, None, None]:
    """Yield each of `photos` opened, in order; keep what was found in `gallery`.

    A photo for which memory or the like is short is tried again alone. If it fails again, it has
    no faces and the reason `unreadable`.

    Raises ShortageError: more photos fail than a tenth, see `allowed_failures`.
    """
    finder = bundle.face_finder()
    unfinished = UnfinishedWork(
        gallery, f"{bundle.release.contract_id} {limits} quality {QUALITY_VERSION}"
    )

    # A photo of several people is opened for the first of them.
    locks = {(photo.photo_id, photo.method): Lock() for photo in photos}

    def open_photo(photo: PersonPhoto) -> OpenedPhoto:
        with locks[photo.photo_id, photo.method]:
            kept = unfinished.load(f"{photo.photo_id}{photo.method}")
            if kept is not None:
                return photo.of_person(_from_arrays(photo, kept))
            try:
                opened = photo.find(finder, limits)
            except PhotoShortageError:
                raise
            except PhotoError as error:
                note = note_of(error)
                return OpenedPhoto(photo.photo, photo.photo_id, (), error.reason, note)
            if opened.faces:
                faces, embeddings = bundle.embed_faces(opened.faces)
                opened = replace(opened, faces=tuple(faces), embeddings=embeddings)
                # By the bytes that were opened: the file may be another one than was hashed.
                unfinished.keep(f"{opened.photo_id}{photo.method}", **_as_arrays(opened))
        return photo.of_person(opened)

    failed: list[PersonPhoto] = []

    def open_alone(photo: PersonPhoto) -> OpenedPhoto:
        try:
            return open_photo(photo)
        except Exception as error:
            if (lack := shortage(error)) is None:
                raise
            failed.append(photo)
            if len(failed) > allowed_failures(len(photos), MAX_FAILED_SHARE):
                raise lack from None
            return OpenedPhoto(photo.photo, photo.photo_id, (), Reason.UNREADABLE, str(lack))

    return ordered_map(open_photo, photos, threads, open_alone)


def _as_arrays(opened: OpenedPhoto) -> dict[str, np.ndarray]:
    faces, found = opened.faces, [face.detection for face in opened.faces]
    return {
        "detections": np.array([(*one.box, one.score) for one in found], np.float64),
        "landmarks": np.stack([one.landmarks for one in found]),
        "qualities": np.array([astuple(face.quality) for face in faces], np.float64),
        "crops": np.stack([face.crop for face in faces]),
        "embeddings": np.asarray(opened.embeddings),
    }


def _from_arrays(photo: PersonPhoto, kept: Mapping[str, np.ndarray]) -> OpenedPhoto:
    detections, qualities = kept["detections"].tolist(), kept["qualities"].tolist()
    rows = zip(detections, kept["landmarks"], qualities, kept["crops"], strict=True)
    faces = tuple(
        Face(Detection((x, y, width, height), landmarks, score), Quality(*quality), crop)
        for (x, y, width, height, score), landmarks, quality, crop in rows
    )
    embeddings = kept["embeddings"]
    return OpenedPhoto(photo.photo, photo.photo_id, faces, embeddings=embeddings, kept=True)
