"""Extract the faces of a group of photos: from the store if known, else from the photos."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from faceops.base.errors import ShortageError, shortage
from faceops.base.files import sha256_file
from faceops.base.reasons import Reason
from faceops.base.stores import is_url
from faceops.base.work import Timer, ordered_map, track
from faceops.faces.find_faces import FaceFinder, find_in_photo
from faceops.identification.inputs import IdentifySettings, PhotoList, SourceFile, source_file
from faceops.identification.records.output_folder import STATE_FILE
from faceops.identification.state.face_store import NO_PHOTO, FaceStore, StoredPhoto
from faceops.identification.state.photo_block import Extraction, FoundPhoto, PhotoBlock
from faceops.identification.state.schema import method_of
from faceops.photos import open_photo
from faceops.photos.formats import format_of
from faceops.release.bundle import Bundle

GROUP = 32  # photos that are embedded and stored together
KNOWN_AT_ONCE = 128 * GROUP  # photos that are looked up in the store together


class PhotoGroup(NamedTuple):
    """Photos to extract together."""

    paths: Sequence[str]
    files: Sequence[SourceFile | None]  # as they are now; None for what is not a regular file
    known: Sequence[str | None]  # the photo_id of each file that is unchanged, else None


@dataclass(frozen=True)
class FaceExtractor:
    """Finds and embeds the faces of photos; may be shared by threads.

    `timer` measures the parts `look` (open photos, find faces) and `embed` (and store). `file_of`
    returns the file at a path; of objects in a store that is known from their listing.
    """

    bundle: Bundle
    finder: FaceFinder
    store: FaceStore
    settings: IdentifySettings
    timer: Timer
    file_of: Callable[[str], SourceFile | None] = source_file

    def groups(self, paths: Sequence[str]) -> Iterator[PhotoGroup]:
        """Yield the photos `paths` in groups to extract, in order.

        They are cut by position, so that an interrupted run embeds the same batches as an
        undisturbed one; adjacent groups of nothing but known photos are joined.
        """
        for start in range(0, len(paths), KNOWN_AT_ONCE):
            some = paths[start : start + KNOWN_AT_ONCE]
            recheck = self.settings.recheck
            files, known, is_done = _look_up(some, self.file_of, self.store, recheck)
            joined = 0  # where the group begins that is not yielded yet
            for first in range(0, len(some), GROUP):
                last = min(first + GROUP, len(some))
                is_known = all(is_done[first:last])
                if not is_known and joined < first:
                    yield PhotoGroup(some[joined:first], files[joined:first], known[joined:first])
                    joined = first
                if not is_known or last == len(some):
                    yield PhotoGroup(some[joined:last], files[joined:last], known[joined:last])
                    joined = last

    def photos(self, paths: Sequence[str], threads: int) -> Generator[PhotoBlock, None, None]:
        """Yield the faces of the photos `paths` in order, found by `threads` threads."""
        work = ordered_map(self.extract, self.groups(paths), threads, self.extract_singly)
        return track(work, "identify", len(paths), size=len)

    def extract(self, group: PhotoGroup) -> PhotoBlock:
        """Return the faces of a group; what is new is stored, all or nothing.

        An unchanged file is not read (unless `recheck` is set), and known bytes are not decoded,
        whatever the file is called. Faces with a stored crop are embedded from that. A photo that
        could not be read, for a reason outside its bytes, has the faces that an earlier run found.

        Raises:
            ShortageError, or the error of a library for which `shortage` returns one.
        """
        return self._block(self._extract(group))

    def extract_singly(self, group: PhotoGroup) -> PhotoBlock:
        """Return what `extract` returns, photo by photo; a shortage is the failure of its photo."""
        extractions = []
        for path, file, known in zip(*group, strict=True):
            try:
                extractions += self._extract(PhotoGroup([path], [file], [known]))
            except Exception as error:
                if (lack := shortage(error)) is None:
                    raise
                extractions.append(self._failed(path, str(lack), is_failure=True))
        return self._block(extractions)

    def _block(self, extractions: list[Extraction]) -> PhotoBlock:
        release = self.bundle.release
        return PhotoBlock.of(extractions, release.embedding_size, release.thresholds)

    def _extract(self, group: PhotoGroup) -> list[Extraction]:
        with self.timer.part("look"):
            stored = self.store.load([photo_id for photo_id in group.known if photo_id])
            known = [stored.get(photo_id or "") for photo_id in group.known]
            extractions = [
                self._find_faces(path, file) if photo is None else _from_store(path, file, photo)
                for path, file, photo in zip(group.paths, group.files, known, strict=True)
            ]
            extractions = self._without_forgotten(extractions)
        pairs = zip(known, extractions, strict=True)
        new = [photo is None or bool(one.crops) for photo, one in pairs]
        if not any(new):
            return extractions
        with self.timer.part("embed"):
            extractions = self._embed(extractions)
            self.store.save(compress(extractions, new), self.settings.keep_crops)
        return [replace(one, crops={}) if one.crops else one for one in extractions]

    def _find_faces(self, path: str, file: SourceFile | None) -> Extraction:
        is_large = is_url(path) and file is not None and file.size > open_photo.LARGE_FILE
        with open_photo.one_at_a_time(is_large):  # its bytes are in memory
            return self._look_at(path, file)

    def _look_at(self, path: str, file: SourceFile | None) -> Extraction:
        content, photo_id = None, None
        hash_error: Exception | None = None
        limits = self.settings.limits
        if file is not None and 0 < file.size <= limits.max_bytes:
            try:
                if is_url(path):  # read once
                    content = open_photo.photo_bytes(Path(path), limits.max_bytes)
                    photo_id = hashlib.sha256(content).hexdigest()
                else:
                    photo_id = sha256_file(Path(path))
            except (OSError, open_photo.PhotoError) as error:
                hash_error = error  # opening it gives the reason, or succeeds on a flaky disk
            else:
                stored = self.store.load([photo_id]).get(photo_id)
                if stored is not None and (
                    stored.orientation_known or not _was_misread(path, content)
                ):
                    return _from_store(path, file, stored)
        try:
            if is_url(path) and file is not None:  # not downloaded to see its size
                open_photo.check_length(Path(path), file.size, limits.max_bytes)
            found = find_in_photo(Path(path), self.finder, limits, content)
        except open_photo.PhotoError as error:
            if isinstance(error, ShortageError):
                raise
            if hash_error or error.transient or file != self.file_of(path):
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
            if gone := one.photo.faces_at(places.get(one.photo.photo_id or "", ())):
                crops = {index: crop for index, crop in one.crops.items() if index not in gone}
                extractions[number] = replace(one, photo=one.photo.without(gone), crops=crops)
        return extractions

    def _failed(
        self, path: str, why: str, reason: Reason = Reason.UNREADABLE, *, is_failure: bool
    ) -> Extraction:
        """Return what an earlier run found in a photo that cannot be read now, else `reason`."""
        is_known, earlier = self.store.find_path(path)
        found = earlier or FoundPhoto(None, reason)
        return Extraction(path, None, found, failure=why if is_failure or is_known else "")

    def _embed(self, extractions: list[Extraction]) -> list[Extraction]:
        crops = [crop for one in extractions for _, crop in sorted(one.crops.items())]
        if not crops:
            return extractions
        rows, measured = self.bundle.embed(np.stack(crops))
        embedded, start = [], 0
        for one in extractions:
            if one.crops:
                embeddings = np.zeros((len(one.photo.faces), rows.shape[1]), np.float32)
                lengths = np.full(len(embeddings), np.nan, np.float32)
                own = slice(start, start + len(one.crops))
                embeddings[sorted(one.crops)], lengths[sorted(one.crops)] = rows[own], measured[own]
                start = own.stop
                photo = replace(one.photo, embeddings=embeddings, lengths=lengths)
                one = replace(one, photo=photo)
            embedded.append(one)
        return embedded


def _look_up(
    paths: Sequence[str],
    file_of: Callable[[str], SourceFile | None],
    store: FaceStore,
    recheck: bool,
) -> tuple[list[SourceFile | None], list[str | None], list[bool]]:
    """Return the files, the photo_id of those that are unchanged, and which need only be loaded."""
    files = [file_of(path) for path in paths]
    found = [None] * len(files) if recheck else store.find_unchanged(files)
    unchanged = [one or (None, False) for one in found]
    return files, [photo_id for photo_id, _ in unchanged], [is_done for _, is_done in unchanged]


def new_photos(photos: PhotoList, store: FaceStore, recheck: bool = False) -> np.ndarray:
    """Return the places, int64 (K,), of those of `photos` whose faces the store does not have.

    Neither those of files that are empty, too large or not there: they cost a run nothing.
    """
    new: list[int] = []
    for start in range(0, len(photos.paths), KNOWN_AT_ONCE):
        some = photos.paths[start : start + KNOWN_AT_ONCE]
        found = zip(*_look_up(some, photos.file, store, recheck), strict=True)
        new += [
            start + place
            for place, (file, photo_id, is_done) in enumerate(found)
            if file is not None and not is_done and photo_id != NO_PHOTO
        ]
    return np.array(new, np.int64)


def _from_store(path: str, file: SourceFile | None, stored: StoredPhoto) -> Extraction:
    reembedded = bool(stored.crops)
    return Extraction(path, file, stored.photo, reembedded=reembedded, crops=stored.crops)


def _was_misread(path: str, content: bytes | None) -> bool:
    """Return whether earlier versions may have misread the photo: orientation, or a raw format."""
    try:
        if content is None:
            with Path(path).open("rb") as file:
                content = file.read(64)
    except OSError:
        return True  # opening the photo gives the reason
    photo_format = format_of(content, Path(path).suffix)
    return photo_format is not None and (photo_format.decoder_turns or photo_format.name == "RAW")


def shards(photos: PhotoList, size: int) -> list[PhotoList]:
    """Return `photos` in parts of about `size`, whole groups of the engine, in order."""
    size = max(GROUP, size - size % GROUP)
    return [photos.part(start, start + size) for start in range(0, len(photos.paths), size)]


def extract_shard(
    photos: PhotoList,
    bundle: Bundle,
    out: Path,
    settings: IdentifySettings = IdentifySettings(),  # noqa: B008  frozen
) -> int:
    """Store the faces of `photos` in the state of `out`; return the number of photos opened.

    The run that follows (`identify`) then opens none of them. Shards may be extracted at the same
    time, in threads or processes; extracting one again does nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    method = method_of(bundle.release, settings.detail)
    with contextlib.closing(FaceStore(out / STATE_FILE, method, settings.limits)) as store:
        finder = bundle.face_finder(settings.detail)
        extractor = FaceExtractor(bundle, finder, store, settings, Timer(), photos.file)
        return extract_all(extractor, extractor.groups(photos.paths))


def extract_all(extractor: FaceExtractor, groups: Iterable[PhotoGroup]) -> int:
    """Store the faces of `groups`, in this thread; return the number of photos opened."""
    blocks = ordered_map(extractor.extract, groups, 1, extractor.extract_singly)
    return int(sum(block.opened.sum() for block in blocks))
