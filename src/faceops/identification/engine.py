"""The batch engine: open, find, embed and name, overlapped, in memory that does not grow.

Threads open photos and find faces; others embed the faces of whole groups of photos and keep
what was found; the caller gets named photos in order. Groups are cut by a photo's place in the
folder, so an interrupted run embeds the same batches as an undisturbed one.
"""

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.find_in_photo import find_in_photo
from faceops.faces.ordered_map import ordered_map
from faceops.gallery.face_policy import FacePolicy
from faceops.gallery.store import Gallery
from faceops.identification.candidates import rank_people
from faceops.identification.decide import Decision, decide
from faceops.identification.face_store import FaceStore, SeenFile
from faceops.identification.found_photo import FoundFace, FoundPhoto
from faceops.identification.part_clock import PartClock
from faceops.identification.thumbnail import thumbnail
from faceops.photos.content_hash import sha256_file
from faceops.photos.open_photo import PhotoError, PhotoLimits
from faceops.progress import track
from faceops.reasons import Reason
from faceops.release.bundle import Bundle

GROUP = 32
DETAIL = 1280  # longest side, pixels, at which large photos are searched in tiles


@dataclass(frozen=True, eq=False)
class Looked:
    """A photo before its faces are embedded; `found` is set when that is already known.

    Without a `file` it is not kept for later runs.
    """

    path: Path
    file: SeenFile | None
    photo_id: str | None
    reason: Reason | None = None
    faces: tuple[Face, ...] = ()
    size: tuple[int, int] = (0, 0)
    orientation: int = 1
    found: FoundPhoto | None = None


@dataclass(frozen=True, eq=False)
class NamedPhoto:
    """A photo with a decision for each face; `opened` when its bytes were decoded in this run."""

    path: Path
    photo: FoundPhoto
    decisions: list[Decision]
    opened: bool


@dataclass(frozen=True)
class Rule:
    """What a name takes; see `decide`."""

    threshold: float
    runner_up_margin: float
    policy: FacePolicy


def look(path: Path, finder: FaceFinder, store: FaceStore, limits: PhotoLimits) -> Looked:
    """Find the faces of the photo at `path`, without opening it when they are in the store."""
    file, photo_id = None, None
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= limits.max_bytes:
            file = SeenFile(path, status.st_size, status.st_mtime_ns)
            photo_id = store.photo_id_of(file) or sha256_file(path)
            found = store.load(photo_id)
            if found is not None:
                return Looked(path, file, photo_id, found=found)
    except OSError:
        file = None  # opening it says why
    try:
        found_now = find_in_photo(path, finder, limits)
    except PhotoError as error:
        if error.transient or file != _seen(path):
            return Looked(path, None, None, error.reason)  # the next run tries again
        return Looked(path, file, photo_id, error.reason)
    photo, faces = found_now.photo, tuple(found_now.faces)
    return Looked(
        path,
        file,
        photo.photo_id,
        None if faces else Reason.NO_FACE,
        faces,
        photo.size,
        photo.orientation,
    )


def _seen(path: Path) -> SeenFile | None:
    """Return the file at `path` as it is now, None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return SeenFile(path, status.st_size, status.st_mtime_ns)


def embed_group(group: Sequence[Looked], bundle: Bundle) -> list[FoundPhoto]:
    """Return what was found in each photo, the new faces embedded in shared batches."""
    crops = [face.crop for looked in group for face in looked.faces]
    rows = iter(bundle.embed(np.stack(crops)) if crops else ())
    return [
        looked.found
        or FoundPhoto(
            looked.photo_id,
            looked.reason,
            tuple(_found_face(face, next(rows)) for face in looked.faces),
            looked.size,
            looked.orientation,
        )
        for looked in group
    ]


def keep(
    store: FaceStore, root: Path, group: Sequence[Looked], photos: Sequence[FoundPhoto]
) -> None:
    """Keep what was found in a group of photos below `root`, all or nothing."""
    store.save(
        root,
        [
            (looked.file, photo, looked.found is None)
            for looked, photo in zip(group, photos, strict=True)
            if looked.file is not None
        ],
    )


def _found_face(face: Face, embedding: np.ndarray) -> FoundFace:
    return FoundFace(
        box=face.detection.box,
        detector_score=face.detection.score,
        quality=face.quality.overall,
        embedding=embedding,
        thumbnail=thumbnail(face.crop),
    )


def name_group(
    photos: Sequence[FoundPhoto], gallery: Gallery, bundle: Bundle, rule: Rule
) -> list[list[Decision]]:
    """Return the decisions for the faces of each photo."""
    faces = [face for photo in photos for face in photo.faces]
    refusals = [rule.policy.refusal(face.size, face.quality) for face in faces]
    usable = [face.embedding for face, why in zip(faces, refusals, strict=True) if why is None]
    queries = np.stack(usable) if usable else np.zeros((0, gallery.embedding_size), np.float32)
    ranked = iter(rank_people(queries, gallery.embeddings, gallery.persons, bundle.verify))
    candidates = [[] if why is not None else next(ranked) for why in refusals]
    decisions, start = [], 0
    for photo in photos:
        stop = start + len(photo.faces)
        decisions.append(
            decide(
                candidates[start:stop],
                refusals[start:stop],
                rule.threshold,
                rule.runner_up_margin,
                gallery_is_empty=not gallery.faces,
            )
        )
        start = stop
    return decisions


def name_photos(
    paths: Sequence[Path],
    root: Path,
    gallery: Gallery,
    bundle: Bundle,
    store: FaceStore,
    rule: Rule,
    limits: PhotoLimits,
    detail: int,
    threads: int,
    clock: PartClock,
) -> Iterator[NamedPhoto]:
    """Yield the photos of `paths` in order, named; what is found is kept in `store` for `root`.

    Args:
        detail: see `FaceFinder`.
        threads: that open photos and find faces; half as many embed.
        clock: counts the parts `look` (open and find), `embed` (and keep) and `name`.
    """
    finder = bundle.face_finder(detail)

    def finish(group: Sequence[Looked]) -> list[NamedPhoto]:
        with clock.part("embed"):
            photos = embed_group(group, bundle)
            keep(store, root, group, photos)
        with clock.part("name"):
            decisions = name_group(photos, gallery, bundle, rule)
        return [
            NamedPhoto(
                looked.path, photo, decided, looked.found is None and looked.file is not None
            )
            for looked, photo, decided in zip(group, photos, decisions, strict=True)
        ]

    def look_at(path: Path) -> Looked:
        with clock.part("look"):
            return look(path, finder, store, limits)

    looked = ordered_map(look_at, paths, threads)
    seen = track(looked, "identify", total=len(paths))
    for named in ordered_map(finish, _groups(seen), max(1, threads // 2)):
        yield from named


def _groups(items: Iterator[Looked]) -> Iterator[list[Looked]]:
    while group := list(islice(items, GROUP)):
        yield group
