"""Import reviewed faces into a data folder, as labelled photos for the pipeline.

A crop shows the face with its surroundings, so that the crop stage detects and aligns it as in the
photo. Crops whose decision is no longer valid (undone, forgotten, another person) are removed.
"""

import contextlib
import io
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from faceops.base.errors import FaceOpsError, printable
from faceops.base.files import file_lock, write_file
from faceops.base.work import ordered_map, track
from faceops.dataset import data_folder
from faceops.dataset.data_folder import PERSON, REVIEWED_FILE, STRANGER, ReviewedFace
from faceops.dataset.names import folder_name, name_key
from faceops.dataset.sources import REVIEWED
from faceops.faces.detector import Box, best_overlap
from faceops.gallery.decisions import SAME_PLACE, Decisions, Place
from faceops.gallery.journal import Action, Ignored
from faceops.gallery.outputs import output_folders
from faceops.gallery.storage import GalleryPlace, gallery_place, storage_of
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.state.photo_block import FACE
from faceops.identification.state.schema import SCHEMA_VERSION, state_errors
from faceops.identification.unknown.groups import ALONE, group_faces
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import Photo, PhotoError, open_photo
from faceops.photos.pixels import part_of
from faceops.release.bundle import Bundle

TERMS = "photos of the gallery's owner: consent and rights are theirs to keep"
CONTEXT = 2.5  # side of a crop, in longer sides of the face's box
MAX_SIDE = 640  # pixels: the detector's input is no larger
QUALITY = 95  # of the JPEG
_AT_ONCE = 500  # photos of one query
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
    people: int = 0  # confirmed people in the folder
    photos: int = 0  # of them
    strangers: int = 0  # who are ignored, with one photo each
    written: int = 0  # crops, by this import
    removed: int = 0
    hard_negatives: int = 0  # pairs of people that were confused with each other
    # Decided faces that are not in the folder, by reason.
    left_out: Counter[str] = field(default_factory=Counter)


def import_reviewed(
    gallery: GalleryPlace, data: Path, bundle: Bundle, threads: int = 1
) -> ReviewedImport:
    """Bring the reviewed faces in the folder `data` up to date with the journal of `gallery`.

    Photos are found through the states of the output folders that the gallery knows. An existing
    crop stays while its decision is valid, even if its photo is missing. `bundle` groups ignored
    faces by stranger, of whom one photo each is kept: two photos of one person would count as two
    strangers who look alike, and raise the thresholds.

    Raises FaceOpsError: there is no decision, `data` holds the synthetic set, faces of another
    gallery or is in use, or a file is damaged or cannot be written.
    """
    data.mkdir(parents=True, exist_ok=True)
    with file_lock(data, f"{data} is in use"):
        sources = data_folder.real_sources(data)
        before = {face.place: face for face in data_folder.read_reviewed(data / REVIEWED_FILE)}
        decisions = Decisions.load(gallery)
        if not decisions and not before:
            raise FaceOpsError(
                f"{gallery} holds no decisions about faces; review the results of identify first."
            )
        places = sources.get(REVIEWED, {}).get("places", {})
        _check_gallery(gallery, data, places, before.values(), decisions)
        known = KnownPhotos.read(gallery, decisions.photos(), bundle.release.contract_id)
        done = _Import(data, before, decisions, known).bring(bundle, threads)
        people, photos = done.people + done.strangers, done.photos + done.strangers
        counts = {"places": {str(gallery): photos}, "people": people, "photos": photos}
        sources[REVIEWED] = counts | {"terms": TERMS}
        data_folder.write_sources(data, sources)
    return done


def _check_gallery(
    gallery: GalleryPlace,
    data: Path,
    places: Collection[str],
    before: Collection[ReviewedFace],
    decisions: Decisions,
) -> None:
    """Raise a FaceOpsError if the faces in `data` are of another gallery, even a moved one."""
    address = storage_of(gallery).address
    is_same = any(storage_of(gallery_place(place)).address == address for place in places)
    is_known = any(face.decision in decisions.entries for face in before)
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


@dataclass(frozen=True)
class _Import:
    """One import into the folder `data`; `before`: the faces in it by photo and place."""

    data: Path
    before: Mapping[tuple[str, Box], ReviewedFace]
    decisions: Decisions
    known: "KnownPhotos"
    done: ReviewedImport = field(default_factory=ReviewedImport)

    def bring(self, bundle: Bundle, threads: int) -> ReviewedImport:
        """Write and remove crops, and the lists of them."""
        places = self._places()
        chosen = [*self._people(places), *self._one_of_each_stranger(places, bundle)]
        held, done = self._bring_up_to_date(chosen, threads), self.done
        pairs = self._confused(places, held)
        people = [face.person for face in held if face.kind == PERSON]
        done.hard_negatives, done.people, done.photos = len(pairs), len(set(people)), len(people)
        done.strangers = len(held) - len(people)
        data_folder.write_reviewed(self.data / REVIEWED_FILE, held)
        data_folder.write_hard_negatives(self.data / data_folder.HARD_NEGATIVES_FILE, pairs)
        return done

    def _places(self) -> list[tuple[str, Place]]:
        """Return the decided places by photo; of rewritten copies of a photo, one counts."""
        held = {photo_id for photo_id, _ in self.before}
        places, seen = [], set[str]()
        photos = self.decisions.photos()
        for *_, photo_id in sorted((i not in held, i not in self.known.paths, i) for i in photos):
            if photo_id not in seen:
                seen |= self.decisions.same_content(photo_id)
                places += [(photo_id, place) for place in self.decisions.places(photo_id)]
        return places

    def _people(self, places: Iterable[tuple[str, Place]]) -> list[ReviewedFace]:
        existing = sorted((self.data / "photos").glob("*/"))
        folders = {name_key(path.name): path.name for path in existing}
        found = []
        for photo_id, place in places:
            name = self.decisions.name(place.person) if place.person else ""
            is_held = (photo_id, place.box) in self.before
            if name and (is_held or self.known.find(photo_id, place.box)[0]):
                folder = folders.setdefault(name_key(name), folder_name(name))
                path = f"photos/{folder}/{_file_name(photo_id, place.box)}"
                found.append(ReviewedFace(path, PERSON, photo_id, place.box, place.entry))
            elif name:
                self.done.left_out[NO_FACE] += 1
            elif place.person:
                self.done.left_out[UNNAMED] += 1
            elif place.ignored != Ignored.STRANGER:
                self.done.left_out[IGNORED if place.ignored else UNDECIDED] += 1
        return found

    def _one_of_each_stranger(
        self, places: Iterable[tuple[str, Place]], bundle: Bundle
    ) -> list[ReviewedFace]:
        """Return one face of each ignored stranger, grouped as by `identify`, each as a person.

        Imported faces stay.
        """
        kept: list[ReviewedFace] = []
        known: list[tuple[ReviewedFace, np.ndarray]] = []
        for photo_id, place in places:
            if place.ignored != Ignored.STRANGER:
                continue
            is_there, embedding = self.known.find(photo_id, place.box)
            if embedding is None and (photo_id, place.box) not in self.before:
                self.done.left_out[NOT_EMBEDDED if is_there else NO_FACE] += 1
                continue
            file = _file_name(photo_id, place.box)
            path = f"photos/stranger-{sha256(file.encode()).hexdigest()[:12]}/{file}"
            face = ReviewedFace(path, STRANGER, photo_id, place.box, place.entry)
            if embedding is None:
                kept.append(face)
            else:
                known.append((face, embedding))
        if not known:
            return kept
        known.sort(key=lambda one: (one[0].place not in self.before, one[0].path))
        photos = np.unique([face.photo_id for face, _ in known], return_inverse=True)[1]
        thresholds = bundle.release.thresholds
        threshold = thresholds.for_groups(thresholds.default_budget, len(known))
        embeddings = np.stack([embedding for _, embedding in known]).astype(np.float32)
        groups = group_faces(embeddings, photos, bundle.verify, threshold)
        seen: set[int] = set()
        for (face, _), group in zip(known, groups.tolist(), strict=True):
            if group in seen:
                self.done.left_out[SAME_STRANGER] += 1
            else:
                kept.append(face)
                seen |= {group} - {ALONE}
        return kept

    def _bring_up_to_date(self, chosen: Sequence[ReviewedFace], threads: int) -> list[ReviewedFace]:
        """Write missing crops, and remove those not `chosen`; return the faces in the folder."""
        data, before = self.data, self.before
        paths = {face.path for face in chosen}
        for face in chosen:  # move those of a person who was renamed or merged
            earlier = before.get(face.place, face)
            if earlier.path != face.path and (data / earlier.path).is_file():
                (data / face.path).parent.mkdir(parents=True, exist_ok=True)
                (data / earlier.path).rename(data / face.path)
                _remove_if_empty((data / earlier.path).parent)
        # Written before the files change, so that an interrupted import knows all of them.
        both = {face.path: face for face in (*before.values(), *chosen)}
        data_folder.write_reviewed(data / REVIEWED_FILE, both.values())
        for face in before.values():
            if face.path not in paths and (data / face.path).is_file():
                (data / face.path).unlink()
                self.done.removed += 1
                _remove_if_empty((data / face.path).parent)
        missing: dict[str, list[ReviewedFace]] = {}
        for face in chosen:
            if face.place not in before or not (data / face.path).is_file():
                missing.setdefault(face.photo_id, []).append(face)
        written: set[str] = set()
        cut = ordered_map(self._cut_faces, missing.values(), threads)
        for crops in track(cut, "cut faces", len(missing)):
            for face, content in crops:
                write_file(data / face.path, content)
                written.add(face.path)
        self.done.written = len(written)
        held = [face for face in chosen if (data / face.path).is_file()]
        self.done.left_out[NO_PHOTO] += len(chosen) - len(held)
        return held

    def _cut_faces(self, faces: Sequence[ReviewedFace]) -> list[tuple[ReviewedFace, bytes]]:
        """Return the crops of the faces of one photo; none if its file is not found."""
        for path in self.known.paths.get(faces[0].photo_id, ()):
            with contextlib.suppress(PhotoError):
                photo = open_photo(Path(path), PhotoLimits())
                if photo.photo_id == faces[0].photo_id:
                    return [(face, cut_face(photo, face.box)) for face in faces]
        return []

    def _confused(
        self, places: Iterable[tuple[str, Place]], held: Iterable[ReviewedFace]
    ) -> Counter[tuple[str, str]]:
        """Return how many faces of one person were taken for another one, by the pair."""
        people = {face.place: face.person for face in held if face.kind == PERSON}
        folders = {name_key(folder): folder for folder in people.values()}
        pairs: Counter[tuple[str, str]] = Counter()
        for photo_id, place in places:
            person = people.get((photo_id, place.box))
            for refused in place.refused if person else ():
                other = folders.get(name_key(self.decisions.name(refused)))
                if person and other and other != person:
                    pairs[min(person, other), max(person, other)] += 1
        return pairs


def _file_name(photo_id: str, box: Box) -> str:
    return "-".join([photo_id[:16], *(f"{round(value)}" for value in box)]) + ".jpg"


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@dataclass(frozen=True, eq=False)
class KnownPhotos:
    """Photos by photo_id."""

    paths: dict[str, list[str]]  # files that had these bytes when they were last seen
    # `FACE` (F,), and embeddings float32 (F, D) of the contract, None if not embedded
    faces: dict[str, tuple[np.ndarray, np.ndarray | None]]

    @classmethod
    def read(
        cls, gallery: GalleryPlace, photo_ids: Collection[str], contract: str
    ) -> "KnownPhotos":
        """Read the states of all output folders that are there.

        Raises FaceOpsError: one is damaged, or of another version.
        """
        known = cls({}, {})
        for out in output_folders(gallery).folders:
            if (state := out / STATE_FILE).is_file():
                uri = f"{state.absolute().as_uri()}?mode=ro"
                with state_errors(state), contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
                    if db.execute("PRAGMA user_version").fetchone() != (SCHEMA_VERSION,):
                        raise FaceOpsError(
                            f"{state} was written by another version of faceops; run faceops "
                            f"identify into {out} first."
                        )
                    wanted = sorted(photo_ids)
                    for start in range(0, len(wanted), _AT_ONCE):
                        known._add(db, wanted[start : start + _AT_ONCE], contract)
        return known

    def _add(self, db: sqlite3.Connection, photo_ids: Sequence[str], contract: str) -> None:
        which = f"photo_id IN ({','.join('?' * len(photo_ids))})"
        for photo_id, path in db.execute(
            f"SELECT photo_id, path FROM files WHERE {which} AND gone_since IS NULL", photo_ids
        ):
            self.paths.setdefault(photo_id, []).append(os.fsdecode(path))
        for photo_id, content, matrix in db.execute(
            "SELECT photo_id, faces, embeddings FROM photos LEFT JOIN embeddings "
            f"ON photo=id AND contract LIKE ? WHERE {which}",
            (f"{contract}%", *photo_ids),  # with lengths or without, see `Method`
        ):
            faces = np.frombuffer(content, FACE)
            has_matrix = matrix is not None and len(faces)
            embedded = np.frombuffer(matrix, "<f4").reshape(len(faces), -1) if has_matrix else None
            if embedded is not None or photo_id not in self.faces:
                self.faces[photo_id] = faces, embedded

    def find(self, photo_id: str, box: Box) -> tuple[bool, np.ndarray | None]:
        """Return whether an unforgotten face is at `box`, and its embedding (D,) if known."""
        faces, embedded = self.faces.get(photo_id, (np.zeros(0, FACE), None))
        row = best_overlap(box, faces["box"].tolist(), SAME_PLACE)
        if row is None or faces[row]["forgotten"]:
            return False, None
        return True, None if embedded is None else embedded[row]


def cut_face(photo: Photo, box: Box) -> bytes:
    """Return a JPEG of a square around `box`, pixels of the upright photo; black outside it.

    The face is in the centre: the crop stage takes the most central one. The side is `MAX_SIDE`
    pixels at most.
    """
    across, down = photo.scale
    x, y, width, height = box[0] / across, box[1] / down, box[2] / across, box[3] / down
    side = max(round(CONTEXT * max(width, height)), 1)
    left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
    rows, columns = photo.pixels.shape[:2]
    inside = max(left, 0), max(top, 0), min(left + side, columns), min(top + side, rows)
    square = Image.new("RGB", (side, side))
    if inside[0] < inside[2] and inside[1] < inside[3]:
        square.paste(part_of(photo.pixels, inside), (inside[0] - left, inside[1] - top))
    if side > MAX_SIDE:
        square = square.resize((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    square.save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()
