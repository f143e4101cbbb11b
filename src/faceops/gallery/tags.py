"""Read the names that other programs gave to faces of an album, as photos to be enrolled."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from itertools import combinations
from pathlib import Path, PurePosixPath

from faceops.base.errors import FaceOpsError, UsageError, printable
from faceops.base.files import valid_unicode
from faceops.base.reasons import Reason
from faceops.base.work import ordered_map, track
from faceops.dataset.names import given_name
from faceops.faces.detector import SAME_BOX, Box, box_overlap
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.faces.regions import (
    Region,
    closeness,
    embedded_regions,
    matches,
    regions_of_others,
    upright_box,
)
from faceops.gallery import people_folder
from faceops.gallery.faces_file import TAGGED
from faceops.gallery.store import Gallery
from faceops.photos.formats import FORMATS, PhotoLimits
from faceops.photos.open_photo import PhotoError
from faceops.photos.photo_header import WITHOUT_PACKETS, read_header
from faceops.photos.sidecar_places import SidecarPlaces
from faceops.photos.walk import walk_photos
from faceops.photos.xmp import read_sidecar

LONGEST_NAME = 100
_PHOTO_SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes)


@dataclass(frozen=True)
class Tag:
    """A name that a program gave to a face."""

    name: str  # as it is shown
    box: Box  # x, y, width, height in pixels of the upright photo
    place: str  # where it is written: "photo" or "sidecar"


@dataclass(frozen=True)
class TaggedPhoto(people_folder.PersonPhoto):
    """A photo in which `person` is tagged, with the tags of all people in it."""

    tags: tuple[Tag, ...] = ()

    @property
    def method(self) -> str:
        """A digest of the tags: only faces that they may mean are kept."""
        return f"-{sha256(repr(self.tags).encode()).hexdigest()[:16]}"

    def find(self, finder: FaceFinder, limits: PhotoLimits) -> people_folder.OpenedPhoto:
        """Open the photo; return every face that a tag may mean, whatever its quality.

        Raises PhotoError: it cannot be used.
        """
        found = find_in_photo(self.path, finder, limits)
        faces = [
            face
            for face in found.faces
            if any(closeness(tag.box, face.detection.box) is not None for tag in self.tags)
        ]
        return people_folder.OpenedPhoto(self.photo, found.photo.photo_id, tuple(faces))

    def of_person(self, opened: people_folder.OpenedPhoto) -> people_folder.OpenedPhoto:
        """Return the photo with the face that is tagged as the person, or why it has none."""
        if opened.reason is not None:
            return opened
        chosen = self._face_of_person(opened.faces)
        if not isinstance(chosen, tuple):
            face = opened.faces[chosen]
            refusal = people_folder.enrolment_refusal(face.quality)
            if refusal is None:
                rows = None if opened.embeddings is None else opened.embeddings[[chosen]]
                return replace(opened, faces=(face,), embeddings=rows)
            chosen = refusal, people_folder.ADVICE[refusal]
        reason, note = chosen
        return replace(opened, faces=(), embeddings=None, reason=reason, note=note)

    def _face_of_person(self, faces: Sequence[Face]) -> int | tuple[Reason, str]:
        """Return the place of the person's face in `faces`, or why there is none, with a note."""
        boxes = [face.detection.box for face in faces]
        given = matches([tag.box for tag in self.tags], boxes)
        own = {given[place] for place, tag in enumerate(self.tags) if tag.name == self.person}
        chosen = [face for face in own if face is not None]
        if len(chosen) > 1:
            note = f"{len(chosen)} faces are tagged {self.person}; correct the tags that are wrong"
            return Reason.TAG_CONFLICT, note
        for place, tag in enumerate(self.tags):
            if given[place] is not None:
                continue
            rivals = [
                self.tags[other].name
                for other, face in enumerate(given)
                if face is not None and closeness(tag.box, boxes[face]) is not None
            ]
            for other in rivals:
                if other != tag.name and self.person in (other, tag.name):
                    return Reason.TAG_CONFLICT, _two_names(tag.name, other)
        if chosen:
            return chosen[0]
        note = f"no face was found where {self.person} is tagged"
        return Reason.NO_FACE, f"{note}; the tag may show the back of a head, or lie beside it"


def _two_names(one: str, other: str) -> str:
    first, second = sorted((one, other))
    return f"one face is tagged {first} and {second}; correct the tag that is wrong"


_Problem = tuple[str, Reason, str]  # name, reason and note of what cannot be used


def list_album(root: Path, exclude: Sequence[str], skipped: dict[Path, str]) -> list[Path]:
    """Return the files of the album `root`, sorted; a UsageError if it has none.

    `exclude` and `skipped` as of `walk_photos`.
    """
    if not (paths := walk_photos(root, exclude, skipped)):
        raise UsageError(f"{printable(root)} holds no files; name a folder of tagged photos.")
    return paths


def read_tagged(
    root: Path, paths: Sequence[Path], gallery: Gallery, limits: PhotoLimits, threads: int
) -> people_folder.PeopleFolder:
    """Return the people who are tagged in the photos `paths` below `root`.

    Tags are named face regions of MWG and Microsoft, in the photo or its sidecar, but those that
    FaceOps decided. Names are one person as of `read_people`. Of the photos of a person, the one
    with the largest tag of each folder comes first, then the second largest: the faces that are
    enrolled are of many occasions. Of copies the first counts. Only photos with tags are hashed.

    What cannot be used is skipped with its reason: a name that is none, names that contradict each
    other, a photo or sidecar that cannot be read; but not files that are no photos.
    """
    reading = ordered_map(partial(_read_tags, SidecarPlaces(), limits), paths, threads)
    read = dict(zip(paths, track(reading, "read tags", total=len(paths)), strict=True))
    spelled = [tag.name for found, _ in read.values() for tag in found]
    folder = people_folder.PeopleFolder.of(spelled, gallery, TAGGED, people_folder.MAX_FACES)
    tagged: dict[Path, tuple[Tag, ...]] = {}
    for path, (found, problems) in read.items():
        photo = valid_unicode(path.relative_to(root).as_posix())
        for name, reason, note in problems:
            folder.skip(photo, name, reason, note)
        if tags := _without_conflicts(found, photo, folder):
            tagged[path] = tags
    hashed = people_folder.hash_photos(list(tagged), limits.max_bytes, threads)
    seen: set[tuple[str, str]] = set()
    for (path, tags), photo_id in zip(tagged.items(), hashed, strict=True):
        photo = valid_unicode(path.relative_to(root).as_posix())
        for person in dict.fromkeys(tag.name for tag in tags):
            if isinstance(photo_id, PhotoError):
                folder.skip(photo, person, photo_id.reason, people_folder.note_of(photo_id))
            elif (person, photo_id) not in seen:
                seen.add((person, photo_id))
                folder.photos[person].append(TaggedPhoto(person, path, photo, photo_id, tags))
    for person, photos in folder.photos.items():
        folder.photos[person] = _spread(photos)
    return folder


def _read_tags(
    places: SidecarPlaces, limits: PhotoLimits, path: Path
) -> tuple[list[Tag], list[_Problem]]:
    found: list[Tag] = []
    problems: list[_Problem] = []
    try:
        sidecar = read_sidecar(places.of(path))
    except FaceOpsError as error:
        sidecar = None
        problems.append(("", Reason.UNREADABLE, str(error).rstrip(".")))
    suffix = path.suffix.lower()
    if sidecar is None and suffix in WITHOUT_PACKETS:
        return found, problems
    try:
        header = read_header(path, limits)
    except PhotoError as error:
        if error.reason is not Reason.NOT_A_PHOTO or suffix in _PHOTO_SUFFIXES:
            problems.append(("", error.reason, people_folder.note_of(error)))
        return found, problems
    embedded = embedded_regions(header)
    documents = [] if sidecar is None else [sidecar]
    beside = regions_of_others(documents, header.size, header.orientation)
    for place, regions in (("photo", embedded), ("sidecar", beside)):
        for region in regions:
            if region.names_a_face:
                tag = _tag_of(region, header.size, header.orientation, place)
                if isinstance(tag, Tag):
                    found.append(tag)
                else:
                    problems.append(tag)
    return found, problems


def _tag_of(region: Region, size: tuple[int, int], orientation: int, place: str) -> Tag | _Problem:
    shown = printable(region.name[:LONGEST_NAME])
    if len(region.name) > LONGEST_NAME:
        note = f"a name of {len(region.name)} characters is none; at most {LONGEST_NAME} are"
        return shown, Reason.BAD_NAME, note
    try:
        name = given_name(region.name)
    except UsageError as error:
        return shown, Reason.BAD_NAME, str(error).rstrip(".")
    if region.area is None:
        note = "the tag was made before the photo was cropped or turned; tag it again"
        return name, Reason.TAG_CONFLICT, note
    return Tag(name, upright_box(region.area, size, orientation), place)


def _without_conflicts(
    tags: Iterable[Tag], photo: str, folder: people_folder.PeopleFolder
) -> tuple[Tag, ...]:
    """Return the tags under the names that are shown, each once; skip those that contradict."""
    named = [replace(tag, name=folder.names[tag.name]) for tag in tags]
    wrong: set[int] = set()
    notes: dict[str, str] = {}  # by both names
    for (i, one), (j, other) in combinations(enumerate(named), 2):
        if one.name == other.name or box_overlap(one.box, other.box) < SAME_BOX:
            continue
        wrong |= {i, j}
        note = _two_names(one.name, other.name)
        if one.place != other.place:
            inside, beside = sorted((one, other), key=lambda tag: tag.place)
            note = f"the photo names the face {inside.name}, its sidecar {beside.name}; correct one"
        notes.setdefault(" / ".join(sorted((one.name, other.name))), note)
    for names, note in notes.items():
        folder.skip(photo, names, Reason.TAG_CONFLICT, note)
    kept: list[Tag] = []
    for place, tag in enumerate(named):
        is_known = any(
            tag.name == one.name and box_overlap(tag.box, one.box) >= SAME_BOX for one in kept
        )
        if place not in wrong and not is_known:
            kept.append(tag)
    return tuple(kept)


def _spread(photos: Sequence[people_folder.PersonPhoto]) -> list[people_folder.PersonPhoto]:
    """Return a person's photos, the largest tag of each folder first, then the second largest."""
    by_folder: dict[str, list[tuple[float, people_folder.PersonPhoto]]] = defaultdict(list)
    for photo in photos:
        own = [tag for tag in getattr(photo, "tags", ()) if tag.name == photo.person]
        size = max(tag.box[2] * tag.box[3] for tag in own)
        by_folder[str(PurePosixPath(photo.photo).parent)].append((-size, photo))
    ranked = [
        (rank, size, photo.photo, photo)
        for found in by_folder.values()
        for rank, (size, photo) in enumerate(sorted(found, key=lambda one: (one[0], one[1].photo)))
    ]
    return [photo for *_, photo in sorted(ranked, key=lambda one: one[:3])]
