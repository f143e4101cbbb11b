"""Look at a group of photos: what is known of them, and the faces of those that are new."""

import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from faceops.faces.find_faces import Face, FaceFinder
from faceops.faces.find_in_photo import find_in_photo
from faceops.identification.face_store import FaceStore, SeenFile
from faceops.identification.found_photo import FoundFace, FoundPhoto
from faceops.identification.part_clock import PartClock
from faceops.identification.thumbnail import thumbnail
from faceops.photos.content_hash import sha256_file
from faceops.photos.open_photo import PhotoError, PhotoLimits
from faceops.reasons import Reason
from faceops.release.bundle import Bundle

GROUP = 32  # photos that are looked at, embedded and kept together


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A photo of a group; `opened` when its bytes were decoded now.

    Without a `file` it is not kept for later runs.
    """

    path: Path
    file: SeenFile | None
    photo: FoundPhoto
    opened: bool = False
    faces: tuple[Face, ...] = ()  # not embedded yet


@dataclass(frozen=True)
class Looker:
    """All that looking at photos takes.

    Attributes:
        root: the folder that the photos lie in, under which they are kept.
        clock: counts the parts `look` (open and find) and `embed` (and keep).
    """

    root: Path
    bundle: Bundle
    finder: FaceFinder
    store: FaceStore
    limits: PhotoLimits
    clock: PartClock

    def look(self, paths: Sequence[Path]) -> list[LookedAt]:
        """Return what is found in the photos `paths`; what is new is kept, all or nothing.

        A file of known size and time is not read, and bytes that are known are not decoded,
        whatever they are called now.
        """
        with self.clock.part("look"):
            files = [_file_at(path) for path in paths]
            known = self.store.known([file for file in files if file is not None])
            looked = [
                LookedAt(path, file, known[file])
                if file in known
                else look_at(path, file, self.finder, self.store, self.limits)
                for path, file in zip(paths, files, strict=True)
            ]
        if all(file in known for file in files):
            return looked
        with self.clock.part("embed"):
            looked = _embedded(looked, self.bundle)
            self.store.save(
                self.root,
                [
                    (one.file, one.photo, one.opened)
                    for one in looked
                    if one.file is not None and one.file not in known
                ],
            )
        return looked


def look_at(
    path: Path,
    file: SeenFile | None,
    finder: FaceFinder,
    store: FaceStore,
    limits: PhotoLimits,
) -> LookedAt:
    """Find the faces of the photo at `path`, unless its bytes are in the store."""
    photo_id = None
    if file is not None and 0 < file.size <= limits.max_bytes:
        try:
            photo_id = sha256_file(path)
        except OSError:
            file = None  # opening it says why
        else:
            found = store.load([photo_id]).get(photo_id)
            if found is not None:
                return LookedAt(path, file, found)
    try:
        opened = find_in_photo(path, finder, limits)
    except PhotoError as error:
        if error.transient or file != _file_at(path):
            # The next run tries again.
            return LookedAt(path, None, FoundPhoto(None, error.reason))
        opened_it = photo_id is not None
        return LookedAt(path, file, FoundPhoto(photo_id, error.reason), opened_it)
    photo = FoundPhoto(
        opened.photo.photo_id,
        None if opened.faces else Reason.NO_FACE,
        size=opened.photo.size,
        orientation=opened.photo.orientation,
    )
    return LookedAt(path, file, photo, opened=file is not None, faces=tuple(opened.faces))


def _file_at(path: Path) -> SeenFile | None:
    """Return the file at `path` as it is now; None when there is no regular file."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return SeenFile(path, status.st_size, status.st_mtime_ns)


def _embedded(looked: Sequence[LookedAt], bundle: Bundle) -> list[LookedAt]:
    """Return the group with its new faces embedded, in shared batches."""
    crops = [face.crop for one in looked for face in one.faces]
    rows = iter(bundle.embed(np.stack(crops)) if crops else ())
    return [
        replace(
            one,
            faces=(),
            photo=replace(
                one.photo, faces=tuple(_found_face(face, next(rows)) for face in one.faces)
            ),
        )
        if one.faces
        else one
        for one in looked
    ]


def _found_face(face: Face, embedding: np.ndarray) -> FoundFace:
    return FoundFace(
        box=face.detection.box,
        detector_score=face.detection.score,
        quality=face.quality.overall,
        embedding=embedding,
        thumbnail=thumbnail(face.crop),
    )
