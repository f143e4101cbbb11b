"""Look at a group of photos: what is known of them, and the faces of those that are new."""

import contextlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from faceops.base.files import sha256_file
from faceops.base.reasons import Reason
from faceops.faces.detector import Box
from faceops.faces.find_faces import Face, FaceFinder, find_in_photo
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.settings import IdentifySettings
from faceops.identification.state.face_store import FaceStore, KeptPhoto, Looked, SeenFile
from faceops.identification.state.forgotten_places import forgotten_at, without_forgotten
from faceops.identification.state.found_photo import (
    NOT_EMBEDDED,
    FoundFace,
    FoundPhoto,
    encoded_crop,
    thumbnail,
)
from faceops.identification.state.schema import method_of
from faceops.identification.summary import PartClock
from faceops.photos.open_photo import PhotoError, PhotoLimits
from faceops.release.bundle import Bundle

GROUP = 32  # photos that are looked at, embedded and kept together


@dataclass(frozen=True, eq=False)
class LookedAt:
    """A photo of a group.

    Attributes:
        file: None when the file is to be looked at again by later runs.
        opened: its bytes were decoded now.
        reembedded: its faces were embedded now, from the crops of an earlier run.
        crops: uint8 (112, 112, 3) RGB by place in `photo.faces`, of those to be embedded still.
    """

    path: Path
    file: SeenFile | None
    photo: FoundPhoto
    opened: bool = False
    reembedded: bool = False
    crops: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Looker:
    """All that looking at photos takes.

    Attributes:
        clock: counts the parts `look` (open and find) and `embed` (and keep).
        keep_crops: keep the aligned faces of opened photos too.
    """

    bundle: Bundle
    finder: FaceFinder
    store: FaceStore
    limits: PhotoLimits
    clock: PartClock
    keep_crops: bool = False

    def look(self, paths: Sequence[Path]) -> list[LookedAt]:
        """Return what is found in the photos `paths`; what is new is kept, all or nothing.

        A file of known size and time is not read, and bytes that are known are not decoded,
        whatever they are called now. Faces whose crops are kept are embedded from these.
        """
        with self.clock.part("look"):
            files = [_file_at(path) for path in paths]
            known = self.store.known([file for file in files if file is not None])
            looked = [
                _known(path, file, known[file])
                if file in known
                else look_at(path, file, self.finder, self.store, self.limits)
                for path, file in zip(paths, files, strict=True)
            ]
            looked = _without_forgotten(looked, self.store)
        new = [one.file not in known or bool(one.crops) for one in looked]
        if not any(new):
            return looked
        with self.clock.part("embed"):
            embedded = _embedded(looked, self.bundle)
            self.store.save(
                [
                    Looked(
                        one.file,
                        one.photo,
                        one.opened,
                        one.opened or one.reembedded,
                        _kept(before.crops) if self.keep_crops and one.opened else {},
                    )
                    for one, before, is_new in zip(embedded, looked, new, strict=True)
                    if is_new and (one.file is not None or one.photo.photo_id is not None)
                ],
            )
        return embedded


def look_at(
    path: Path,
    file: SeenFile | None,
    finder: FaceFinder,
    store: FaceStore,
    limits: PhotoLimits,
) -> LookedAt:
    """Find the faces of the photo at `path`, unless its bytes are in the store."""
    photo_id, failed = None, False
    if file is not None and 0 < file.size <= limits.max_bytes:
        try:
            photo_id = sha256_file(path)
        except OSError:
            failed = True  # opening it says why, or succeeds: a bad disk reads some of the time
        else:
            kept = store.load([photo_id]).get(photo_id)
            if kept is not None:
                return _known(path, file, kept)
    try:
        opened = find_in_photo(path, finder, limits)
    except PhotoError as error:
        if failed or error.transient or file != _file_at(path):
            # The next run tries again.
            return LookedAt(path, None, FoundPhoto(None, error.reason))
        opened_it = photo_id is not None
        return LookedAt(path, file, FoundPhoto(photo_id, error.reason), opened_it)
    photo = FoundPhoto(
        opened.photo.photo_id,
        None if opened.faces else Reason.NO_FACE,
        tuple(_found_face(face) for face in opened.faces),
        opened.photo.size,
        opened.photo.orientation,
    )
    crops = {index: face.crop for index, face in enumerate(opened.faces)}
    return LookedAt(path, file, photo, opened=True, crops=crops)


def _known(path: Path, file: SeenFile | None, kept: KeptPhoto) -> LookedAt:
    return LookedAt(path, file, kept.photo, reembedded=bool(kept.crops), crops=kept.crops)


def _file_at(path: Path) -> SeenFile | None:
    """Return the file at `path` as it is now; None when there is no regular file."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return SeenFile(path, status.st_size, status.st_mtime_ns)


def _without_forgotten(looked: Sequence[LookedAt], store: FaceStore) -> list[LookedAt]:
    """Return the group without what was found anew of forgotten faces, but where they are."""
    found = [one.photo.photo_id or "" for one in looked if one.crops and not one.reembedded]
    boxes = store.forgotten(found) if found else {}
    return [
        _blanked(one, boxes[one.photo.photo_id]) if one.photo.photo_id in boxes else one
        for one in looked
    ]


def _blanked(one: LookedAt, boxes: Sequence[Box]) -> LookedAt:
    gone = forgotten_at(one.photo, boxes)
    crops = {index: crop for index, crop in one.crops.items() if index not in gone}
    return replace(one, photo=without_forgotten(one.photo, boxes), crops=crops)


def _embedded(looked: Sequence[LookedAt], bundle: Bundle) -> list[LookedAt]:
    """Return the group with its new faces embedded, in shared batches."""
    crops = [crop for one in looked for _, crop in sorted(one.crops.items())]
    rows = iter(bundle.embed(np.stack(crops)) if crops else ())
    return [
        replace(
            one,
            crops={},
            photo=replace(
                one.photo,
                faces=tuple(
                    replace(face, embedding=next(rows)) if index in one.crops else face
                    for index, face in enumerate(one.photo.faces)
                ),
            ),
        )
        if one.crops
        else one
        for one in looked
    ]


def _kept(crops: Mapping[int, np.ndarray]) -> dict[int, bytes]:
    return {index: encoded_crop(crop) for index, crop in crops.items()}


def _found_face(face: Face) -> FoundFace:
    return FoundFace(
        box=face.detection.box,
        detector_score=face.detection.score,
        quality=face.quality.overall,
        embedding=NOT_EMBEDDED,
        thumbnail=thumbnail(face.crop),
    )


def shards(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Return `paths` in parts of `size`, whole groups of the engine, in order."""
    size = max(GROUP, size - size % GROUP)
    return [list(paths[start : start + size]) for start in range(0, len(paths), size)]


def find_shard(
    paths: Sequence[Path],
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> int:
    """Find and embed the faces of `paths`, keep them in `out`, return how many photos were opened.

    The run that follows (`identify`) then opens none of them. Done again it does nothing; shards
    may be worked on at the same time, in threads or processes.
    """
    out.mkdir(parents=True, exist_ok=True)
    new = 0
    limits = settings.limits
    method = method_of(bundle.release, limits, settings.detail)
    with contextlib.closing(FaceStore(out / STATE_FILE, method)) as store:
        finder = bundle.face_finder(settings.detail)
        looker = Looker(bundle, finder, store, limits, PartClock(), settings.keep_crops)
        for start in range(0, len(paths), GROUP):
            looked = looker.look(paths[start : start + GROUP])
            new += sum(one.opened for one in looked)
    return new
