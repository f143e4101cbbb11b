"""Read a folder of people: `Name/photo.jpg` (nested files too) or `Name.jpg`."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path, PurePosixPath

from faceops.base.errors import UsageError
from faceops.base.files import valid_unicode
from faceops.base.parallel import ordered_map
from faceops.base.progress import track
from faceops.base.reasons import Reason
from faceops.faces.quality import Quality
from faceops.gallery.faces_file import ENROLLED, GalleryFace
from faceops.gallery.names import first_spellings, person_key, person_of
from faceops.gallery.store import Gallery
from faceops.photos.open_photo import PhotoError, hash_photo
from faceops.photos.walk import walk_photos

ADVICE = {
    Reason.NO_FACE: "no face was found; give a photo that shows the face from the front",
    Reason.FACE_TOO_SMALL: "the face is too small; give a larger photo or a closer one",
    Reason.BLURRED: "the face is blurred; give a sharper photo",
    Reason.EXTREME_POSE: "the face is turned away; give a photo that shows it from the front",
    Reason.LOW_QUALITY: "the face is dark or has little contrast; give a better photo",
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


def enrolment_refusal(quality: Quality) -> Reason | None:
    """Return why a face is not enrolled, by each measure: a mean lets one bad measure pass."""
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


@dataclass
class PeopleFolder:
    """The people of a folder, each under the name that is shown, and their photos.

    Attributes:
        photos: each person's photos once, people by name, photos by path.
        names: by each spelling in the folder or the gallery, the name that is shown.
        aliases: by the name of a folder, the person who once had that name.
        skipped: files that cannot be used, and further copies of a person's photo.
        unread: paths that could not be read this time, or are excluded: nothing is known of them.
    """

    photos: dict[str, list[PersonPhoto]]
    names: dict[str, str]
    aliases: dict[str, str]
    skipped: list[SkippedPhoto] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)

    def skip(self, photo: str, person: str, reason: Reason, note: str) -> None:
        """Note that `photo` is not enrolled."""
        self.skipped.append(SkippedPhoto(photo, person, reason, note))

    def other_spellings(self) -> dict[str, list[str]]:
        """Return the spellings of each name beside the one that is shown."""
        others: dict[str, list[str]] = defaultdict(list)
        for spelling, name in sorted(self.names.items()):
            if spelling != name:
                others[name].append(spelling)
        return dict(sorted(others.items()))

    def lacks(self, face: GalleryFace) -> bool:
        """Return whether the face came from its person's folder and its photo is gone there.

        Photos at or below a path in `unread` do not count as gone.
        """
        path = PurePosixPath(face.photo)
        return (
            face.origin == ENROLLED
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
    paths = walk_photos(root, exclude, skipped)
    if not paths:
        raise UsageError(
            f"{root} holds no files; put each person's photos into a folder of their name."
        )
    return paths


def read_people(
    root: Path, paths: list[Path], gallery: Gallery, max_bytes: int, threads: int
) -> PeopleFolder:
    """Assign the files `paths` below `root` to people, and hash them.

    Files of more than `max_bytes` are not read. Names that differ in case, spaces, `-`, `_` or `.`
    alone are one person, shown in the spelling of the gallery, or else the first one by path; a
    name that a person of the gallery had before is that person's. What cannot be a name is skipped.
    """
    aliases: dict[str, str] = {}
    owners: dict[Path, str] = {}
    misnamed: dict[Path, str] = {}
    for path in paths:
        try:
            name = person_of(path.relative_to(root))
        except UsageError as error:
            misnamed[path] = str(error).rstrip(".")
            continue
        if person_key(name) in gallery.aliases:
            aliases[name] = gallery.aliases[person_key(name)]
        owners[path] = aliases.get(name, name)
    names = first_spellings([*gallery.persons, *owners.values()])
    aliases = {name: names[person] for name, person in sorted(aliases.items())}
    people = sorted({names[owner] for owner in owners.values()})
    folder = PeopleFolder({person: [] for person in people}, names, aliases)
    for path, problem in misnamed.items():
        photo = valid_unicode(path.relative_to(root).as_posix())
        folder.skip(photo, "", Reason.BAD_NAME, problem)
        folder.unread.add(photo)  # a face that an earlier version enrolled from it stays
    seen: set[tuple[str, str]] = set()
    hashing = ordered_map(partial(_photo_id, max_bytes), list(owners), threads)
    hashed = track(hashing, "hash photos", total=len(owners))
    for (path, owner), photo_id in zip(owners.items(), hashed, strict=True):
        person, photo = names[owner], valid_unicode(path.relative_to(root).as_posix())
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


def _photo_id(max_bytes: int, path: Path) -> str | PhotoError:
    """Return the sha256 of the file's bytes, or why it cannot be read."""
    try:
        return hash_photo(path, max_bytes)
    except PhotoError as error:
        return error
