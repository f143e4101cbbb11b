"""Import reviewed faces into a data folder, as labelled photos for the pipeline.

A crop shows the face with its surroundings, so that the crop stage detects and aligns it as in the
photo. Crops whose decision is no longer valid (undone, forgotten, another person) are removed.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, printable
from faceops.base.files import file_lock, write_file
from faceops.base.work import ordered_map, track
from faceops.dataset.data_folder import (
    HARD_NEGATIVES_FILE,
    PERSON,
    REVIEWED_FILE,
    STRANGER,
    SYNTHETIC,
    ReviewedFace,
    read_reviewed,
    read_sources,
    write_hard_negatives,
    write_reviewed,
    write_sources,
)
from faceops.dataset.names import folder_name, name_key
from faceops.dataset.sources import REVIEWED
from faceops.faces.detector import Box
from faceops.gallery.decisions import Decisions, Place
from faceops.gallery.journal import Action, Ignored
from faceops.gallery.storage import GalleryPlace, gallery_place, storage_of
from faceops.identification.unknown.groups import ALONE, group_faces
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.release.bundle import Bundle
from faceops.review.known_photos import KnownPhotos, cut_face

TERMS = "photos of the gallery's owner: consent and rights are theirs to keep"

_Key = tuple[str, Box]  # photo and place of a face

_TEACHING = (Action.CONFIRM, Action.REFUSE, Action.IGNORE, Action.DRAW)

# Reasons why a decided face is left out, as the command prints them.
UNNAMED = "of groups without a name"
UNDECIDED = "refused, and nobody said who they are"
IGNORED = "ignored, but not as strangers"
NO_FACE = "where identify found no face"
NOT_EMBEDDED = "of strangers, not embedded by this release (run identify first)"
SAME_STRANGER = "of strangers of whom there is another photo"
NO_PHOTO = "of photos that were not found or cannot be read"


@dataclass
class ReviewedImport:
    """The result of an import.

    Attributes:
        people, photos: number of confirmed people and photos in the folder.
        strangers: number of ignored strangers, with one photo each.
        written, removed: number of crops that this import wrote and removed.
        hard_negatives: number of pairs of people that were confused with each other.
        left_out: number of decided faces that are not in the folder, by reason.
    """

    people: int = 0
    photos: int = 0
    strangers: int = 0
    written: int = 0
    removed: int = 0
    hard_negatives: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def import_reviewed(
    gallery: GalleryPlace, data: Path, bundle: Bundle, threads: int = 1
) -> ReviewedImport:
    """Bring the reviewed faces in the folder `data` up to date with the journal of `gallery`.

    Photos are found through the states of the output folders that the gallery knows. An existing
    crop stays while its decision is valid, even if its photo is missing.

    Args:
        bundle: groups ignored faces by stranger, of whom one photo each is kept: two photos of one
            person would count as two strangers who look alike, and raise the thresholds.
        threads: number of photos opened at once.

    Raises:
        FaceOpsError: there is no decision, `data` holds the synthetic set, faces of another gallery
            or is in use, or a file is damaged or cannot be written.
    """
    data.mkdir(parents=True, exist_ok=True)
    with file_lock(data, f"{data} is in use"):
        sources = read_sources(data)
        if SYNTHETIC in sources:
            raise FaceOpsError(
                f"{data} holds the synthetic people, which real photos are not mixed with; choose "
                "another folder with --out, or remove it."
            )
        before = {face.place: face for face in read_reviewed(data / REVIEWED_FILE)}
        decisions = Decisions.load(gallery)
        if not decisions and not before:
            raise FaceOpsError(
                f"{gallery} holds no decisions about faces; review the results of identify first."
            )
        _check_gallery(gallery, data, sources.get(REVIEWED, {}), before, decisions)
        done = ReviewedImport()
        known = KnownPhotos.read(gallery, decisions.photos(), bundle.release.contract_id)
        places = _places(decisions, known, before)
        chosen = _people(places, decisions, known, before, _person_folders(data), done.left_out)
        chosen += _one_of_each_stranger(
            _strangers(places, known, before, done.left_out), before, bundle, done.left_out
        )
        held = _bring_up_to_date(data, before, chosen, known, threads, done)
        pairs = _confused(places, decisions, held)
        done.hard_negatives = len(pairs)
        done.people = len({face.person for face in held if face.kind == PERSON})
        done.photos = sum(face.kind == PERSON for face in held)
        done.strangers = len(held) - done.photos
        write_reviewed(data / REVIEWED_FILE, held)
        write_hard_negatives(data / HARD_NEGATIVES_FILE, pairs)
        sources[REVIEWED] = {
            "places": {str(gallery): len(held)},
            "terms": TERMS,
            "people": done.people + done.strangers,
            "photos": len(held),
        }
        write_sources(data, sources)
    return done


def _check_gallery(
    gallery: GalleryPlace,
    data: Path,
    recorded: Mapping[str, Any],
    before: Mapping[_Key, ReviewedFace],
    decisions: Decisions,
) -> None:
    """Raise a FaceOpsError if the faces in `data` are of another gallery, even a moved one."""
    places = recorded.get("places", {})
    address = storage_of(gallery).address
    is_same = any(storage_of(gallery_place(place)).address == address for place in places)
    is_known = any(face.decision in decisions.entries for face in before.values())
    if before and places and not is_same and not is_known:
        other = " and ".join(map(printable, places))
        raise FaceOpsError(
            f"{data} holds reviewed faces of the gallery {other}, which those of {gallery} would "
            "replace; choose another folder with --out, or bring both journals together first with "
            "`faceops decisions export` and `import`."
        )


def teaching_decisions(gallery: GalleryPlace) -> set[str]:
    """Return the ids of the valid decisions about faces. Raises: as `Journal.entries`."""
    decisions = Decisions.load(gallery)
    return {
        entry.id
        for entry in decisions.entries.values()
        if entry.action in _TEACHING and decisions.holds(entry.id)
    }


def _file_name(photo_id: str, box: Box) -> str:
    return "-".join([photo_id[:16], *(f"{round(value)}" for value in box)]) + ".jpg"


def _places(
    decisions: Decisions, known: KnownPhotos, before: Mapping[_Key, ReviewedFace]
) -> list[tuple[str, Place]]:
    """Return the decided places by photo; of rewritten copies of a photo, one counts."""
    held = {photo_id for photo_id, _ in before}
    places, seen = [], set[str]()
    order = sorted((one not in held, one not in known.paths, one) for one in decisions.photos())
    for *_, photo_id in order:
        if photo_id not in seen:
            seen |= decisions.same_content(photo_id)
            places += [(photo_id, place) for place in decisions.places(photo_id)]
    return places


def _people(
    places: Iterable[tuple[str, Place]],
    decisions: Decisions,
    known: KnownPhotos,
    before: Mapping[_Key, ReviewedFace],
    folders: dict[str, str],
    left_out: Counter[str],
) -> list[ReviewedFace]:
    """Return the confirmed faces; `folders`: existing folders by key of the person's name."""
    found = []
    for photo_id, place in places:
        name = decisions.name(place.person) if place.person else ""
        if name and ((photo_id, place.box) in before or known.find(photo_id, place.box)[0]):
            folder = folders.setdefault(name_key(name), folder_name(name))
            path = f"photos/{folder}/{_file_name(photo_id, place.box)}"
            found.append(ReviewedFace(path, PERSON, photo_id, place.box, place.entry))
        elif name:
            left_out[NO_FACE] += 1
        elif place.person:
            left_out[UNNAMED] += 1
        elif place.ignored != Ignored.STRANGER:
            left_out[IGNORED if place.ignored else UNDECIDED] += 1
    return found


def _strangers(
    places: Iterable[tuple[str, Place]],
    known: KnownPhotos,
    before: Mapping[_Key, ReviewedFace],
    left_out: Counter[str],
) -> list[tuple[ReviewedFace, np.ndarray | None]]:
    """Return the ignored strangers' faces, each as a person, with their embeddings (D,)."""
    found = []
    for photo_id, place in places:
        if place.ignored != Ignored.STRANGER:
            continue
        is_there, embedding = known.find(photo_id, place.box)
        if (photo_id, place.box) in before or embedding is not None:
            file = _file_name(photo_id, place.box)
            folder = f"stranger-{sha256(file.encode()).hexdigest()[:12]}"
            path = f"photos/{folder}/{file}"
            face = ReviewedFace(path, STRANGER, photo_id, place.box, place.entry)
            found.append((face, embedding))
        else:
            left_out[NOT_EMBEDDED if is_there else NO_FACE] += 1
    return found


def _one_of_each_stranger(
    strangers: list[tuple[ReviewedFace, np.ndarray | None]],
    before: Mapping[_Key, ReviewedFace],
    bundle: Bundle,
    left_out: Counter[str],
) -> list[ReviewedFace]:
    """Return one face of each stranger, grouped as by `identify`; imported faces stay."""
    strangers = sorted(strangers, key=lambda one: (one[0].place not in before, one[0].path))
    kept = [face for face, embedding in strangers if embedding is None]
    known = [(face, embedding) for face, embedding in strangers if embedding is not None]
    if not known:
        return kept
    photos = np.unique([face.photo_id for face, _ in known], return_inverse=True)[1]
    thresholds = bundle.release.thresholds
    threshold = thresholds.for_groups(thresholds.default_budget, len(known))
    embeddings = np.stack([embedding for _, embedding in known]).astype(np.float32)
    groups = group_faces(embeddings, photos, bundle.verify, threshold)
    seen: set[int] = set()
    for (face, _), group in zip(known, groups.tolist(), strict=True):
        if group in seen:
            left_out[SAME_STRANGER] += 1
        else:
            kept.append(face)
            seen |= {group} - {ALONE}
    return kept


def _person_folders(data: Path) -> dict[str, str]:
    root = data / "photos"
    existing = sorted(root.iterdir()) if root.is_dir() else []
    return {name_key(path.name): path.name for path in existing if path.is_dir()}


def _bring_up_to_date(
    data: Path,
    before: Mapping[_Key, ReviewedFace],
    chosen: Sequence[ReviewedFace],
    known: KnownPhotos,
    threads: int,
    done: ReviewedImport,
) -> list[ReviewedFace]:
    """Write missing crops, remove those that are not `chosen`; return the faces in the folder."""
    paths = {face.path for face in chosen}
    for face in chosen:  # move those of a person who was renamed or merged
        earlier = before.get(face.place, face)
        if earlier.path != face.path and (data / earlier.path).is_file():
            (data / face.path).parent.mkdir(parents=True, exist_ok=True)
            (data / earlier.path).rename(data / face.path)
            _remove_if_empty((data / earlier.path).parent)
    # Written before the files change, so that an interrupted import knows all of them.
    write_reviewed(data / REVIEWED_FILE, {f.path: f for f in (*before.values(), *chosen)}.values())
    for face in before.values():
        file = data / face.path
        if face.path not in paths and file.is_file():
            file.unlink()
            done.removed += 1
            _remove_if_empty(file.parent)
    missing: dict[str, list[ReviewedFace]] = {}
    for face in chosen:
        if face.place not in before or not (data / face.path).is_file():
            missing.setdefault(face.photo_id, []).append(face)
    written: set[str] = set()
    cut = ordered_map(partial(_cut_faces, known=known), missing.values(), threads)
    for crops in track(cut, "cut faces", len(missing)):
        for face, content in crops:
            write_file(data / face.path, content)
            written.add(face.path)
    done.written = len(written)
    held = [face for face in chosen if (data / face.path).is_file()]
    done.left_out[NO_PHOTO] += len(chosen) - len(held)
    return held


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _cut_faces(
    faces: Sequence[ReviewedFace], known: KnownPhotos
) -> list[tuple[ReviewedFace, bytes]]:
    for path in known.paths.get(faces[0].photo_id, ()):
        try:
            photo = open_photo(Path(path), PhotoLimits())
        except PhotoError:
            continue
        if photo.photo_id == faces[0].photo_id:
            return [(face, cut_face(photo, face.box)) for face in faces]
    return []


def _confused(
    places: Iterable[tuple[str, Place]], decisions: Decisions, held: Iterable[ReviewedFace]
) -> Counter[tuple[str, str]]:
    people = {face.place: face.person for face in held if face.kind == PERSON}
    folders = {name_key(folder): folder for folder in people.values()}
    pairs: Counter[tuple[str, str]] = Counter()
    for photo_id, place in places:
        person = people.get((photo_id, place.box))
        for refused in place.refused if person else ():
            other = folders.get(name_key(decisions.name(refused)))
            if person and other and other != person:
                pairs[min(person, other), max(person, other)] += 1
    return pairs
