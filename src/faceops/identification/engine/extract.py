"""Extract the faces of a group of photos: from the store if known, else from the photos."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path

import numpy as np

from faceops.base.files import sha256_file
from faceops.base.parallel import ordered_map
from faceops.base.reasons import Reason
from faceops.base.shortage import ShortageError, shortage
from faceops.faces.find_faces import FaceFinder, find_in_photo
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.settings import IdentifySettings
from faceops.identification.state.face_store import Extraction, FaceStore, StoredPhoto
from faceops.identification.state.found_photo import FoundPhoto, forgotten_faces
from faceops.identification.state.presence import SourceFile, source_file
from faceops.identification.state.schema import method_of
from faceops.identification.summary import Timer
from faceops.photos.formats import format_of
from faceops.photos.open_photo import PhotoError
from faceops.release.bundle import Bundle

GROUP = 32  # photos that are embedded and stored together


@dataclass(frozen=True)
class FaceExtractor:
    """Finds and embeds the faces of photos; may be shared by threads.

    `timer` measures the parts `look` (open photos, find faces) and `embed` (and store).
    """

    bundle: Bundle
    finder: FaceFinder
    store: FaceStore
    settings: IdentifySettings
    timer: Timer

    def extract(self, paths: Sequence[Path]) -> list[Extraction]:
        """Return the faces of the photos `paths`; what is new is stored, all or nothing.

        An unchanged file is not read (unless `recheck` is set), and known bytes are not decoded,
        whatever the file is called. Faces with a stored crop are embedded from that. A photo that
        could not be read, for a reason outside its bytes, has the faces that an earlier run found.

        Raises:
            ShortageError, or the error of a library for which `shortage` returns one.
        """
        with self.timer.part("look"):
            files = [source_file(path) for path in paths]
            present = [file for file in files if file is not None]
            known = {} if self.settings.recheck else self.store.find_unchanged(present)
            extractions = [
                _from_store(path, file, known[file])
                if file and file in known
                else self._find_faces(path, file)
                for path, file in zip(paths, files, strict=True)
            ]
            extractions = self._without_forgotten(extractions)
        new = [one.file not in known or bool(one.crops) for one in extractions]
        if not any(new):
            return extractions
        with self.timer.part("embed"):
            extractions = self._embed(extractions)
            to_save = compress(extractions, new)
            self.store.save(to_save, self.settings.keep_crops)
        return [replace(one, crops={}) for one in extractions]

    def extract_singly(self, paths: Sequence[Path]) -> list[Extraction]:
        """Return what `extract` returns, photo by photo; a shortage is the failure of its photo."""
        extractions = []
        for path in paths:
            try:
                extractions += self.extract([path])
            except Exception as error:
                if (lack := shortage(error)) is None:
                    raise
                extractions.append(self._failed(path, str(lack), is_failure=True))
        return extractions

    def _find_faces(self, path: Path, file: SourceFile | None) -> Extraction:
        """Find the faces of the photo at `path`, unless its bytes are in the store."""
        photo_id, hash_error = None, None
        if file is not None and 0 < file.size <= self.settings.limits.max_bytes:
            try:
                photo_id = sha256_file(path)
            except OSError as error:
                hash_error = error  # opening it gives the reason, or succeeds on a flaky disk
            else:
                stored = self.store.load([photo_id]).get(photo_id)
                if stored is not None and (stored.orientation_known or not _was_misread(path)):
                    return _from_store(path, file, stored)
        try:
            found = find_in_photo(path, self.finder, self.settings.limits)
        except PhotoError as error:
            if isinstance(error, ShortageError):
                raise
            if hash_error or error.transient or file != source_file(path):
                # A broken link is no failure; a file that was listed and is gone may be one.
                gone = error.reason is Reason.VANISHED and not os.path.lexists(path)
                lack = hash_error and shortage(hash_error)
                is_failure = gone or lack is not None
                return self._failed(path, str(error), error.reason, is_failure=is_failure)
            opened = photo_id is not None
            return Extraction(path, file, FoundPhoto(photo_id, error.reason), opened)
        crops = {index: face.crop for index, face in enumerate(found.faces)}
        return Extraction(path, file, FoundPhoto.of(found), opened=True, crops=crops)

    def _without_forgotten(self, extractions: list[Extraction]) -> list[Extraction]:
        """Return the group; of forgotten faces that were found again, only the box is left."""
        found = [one.photo.photo_id or "" for one in extractions if one.opened and one.crops]
        places = self.store.forgotten_places(found) if found else {}
        for number, one in enumerate(extractions):
            if gone := forgotten_faces(one.photo, places.get(one.photo.photo_id or "", ())):
                crops = {index: crop for index, crop in one.crops.items() if index not in gone}
                extractions[number] = replace(one, photo=one.photo.without(gone), crops=crops)
        return extractions

    def _failed(
        self, path: Path, why: str, reason: Reason = Reason.UNREADABLE, *, is_failure: bool
    ) -> Extraction:
        """Return what an earlier run found in the photo that cannot be read now, else `reason`.

        It is a failure if `is_failure`, or if an earlier run could read the file.
        """
        is_known, earlier = self.store.find_path(path)
        found = earlier or FoundPhoto(None, reason)
        return Extraction(path, None, found, failure=why if is_failure or is_known else "")

    def _embed(self, extractions: list[Extraction]) -> list[Extraction]:
        """Return the group with its new faces embedded, in shared batches."""
        crops = [crop for one in extractions for _, crop in sorted(one.crops.items())]
        rows = iter(self.bundle.embed(np.stack(crops)) if crops else ())
        embedded = []
        for one in extractions:
            faces = tuple(
                replace(face, embedding=next(rows)) if index in one.crops else face
                for index, face in enumerate(one.photo.faces)
            )
            embedded.append(replace(one, photo=replace(one.photo, faces=faces)))
        return embedded


def _from_store(path: Path, file: SourceFile, stored: StoredPhoto) -> Extraction:
    reembedded = bool(stored.crops)
    return Extraction(path, file, stored.photo, reembedded=reembedded, crops=stored.crops)


def _was_misread(path: Path) -> bool:
    """Return whether earlier versions may have shown this photo wrongly.

    They did not know the orientation where a decoder turns pixels, and opened the thumbnail in a
    raw photo as a TIFF.
    """
    try:
        with path.open("rb") as file:
            photo_format = format_of(file.read(64), path.suffix)
    except OSError:
        return True  # opening the photo gives the reason
    return photo_format is not None and (photo_format.decoder_turns or photo_format.name == "RAW")


def shards(paths: Sequence[Path], size: int) -> list[list[Path]]:
    """Return `paths` in parts of about `size`, whole groups of the engine, in order."""
    size = max(GROUP, size - size % GROUP)
    return [list(paths[start : start + size]) for start in range(0, len(paths), size)]


def extract_shard(
    paths: Sequence[Path],
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> int:
    """Store the faces of `paths` in the state of `out`; return the number of photos opened.

    The run that follows (`identify`) then opens none of them. Shards may be extracted at the same
    time, in threads or processes; extracting one again does nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    method = method_of(bundle.release, settings.detail)
    with contextlib.closing(FaceStore(out / STATE_FILE, method, settings.limits)) as store:
        finder = bundle.face_finder(settings.detail)
        extractor = FaceExtractor(bundle, finder, store, settings, Timer())
        groups = ordered_map(extractor.extract, shards(paths, GROUP), 1, extractor.extract_singly)
        return sum(one.opened for group in groups for one in group)
