"""Faces found by several machines that share nothing but the photos and one place for results.

The driver cuts the photos that its store does not know into shards (`ShardRun`). A worker gets a
shard and says where the release is (`ShardJob`), works in a store in memory, and leaves that store
as one file in the shared place. The driver takes it in, and decides as in any run. The files are
biometric data.

The output folder names its place while that may hold anything, so that the next run and `faceops
people forget` find and clear it. A mark is there while a run is active: without it, workers that
outlive a killed run write nothing.
"""

import contextlib
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, groupby
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime

import faceops
from faceops.base.errors import FaceOpsError, printable
from faceops.base.files import read_json_object, write_file
from faceops.base.stores import ObjectStore, is_url, shown
from faceops.base.work import DeviceChoice, Timer
from faceops.faces.find_faces import FaceFinder
from faceops.identification.engine.extract import GROUP, FaceExtractor, extract_all, new_photos
from faceops.identification.inputs import IdentifySettings, PhotoList, SourceFile, source_file
from faceops.identification.state.face_store import IN_MEMORY, FaceStore
from faceops.identification.state.schema import method_of
from faceops.photos.formats import decoder_id
from faceops.release.bundle import Bundle
from faceops.release.release_file import Precision

SHARD_VERSION = 3  # raise it with every change of the file
PLACE_FILE = "shards.json"  # in the output folder
_MARK = "run.json"


def versions() -> str:
    """Return the versions that faces depend on; driver and workers need the same."""
    return f"faceops {faceops.__version__}, {decoder_id()}, onnxruntime {onnxruntime.__version__}"


@dataclass(frozen=True)
class ReleaseSource:
    """Where each process finds the release."""

    load: Callable[..., Bundle]  # see `cli.model_choice.load_release`
    folder: Path | None  # a bundle's, which exists on every machine; or None
    model: str  # else `published` or the address of a registered version, fetched by the process
    precision: Precision
    contract_id: str

    def bundle_and_finder(self, settings: IdentifySettings) -> tuple[Bundle, FaceFinder]:
        """Return the release, loaded once in each process.

        Raises FaceOpsError: it is not there, damaged, or another than the driver's.
        """
        with _LOADING:
            return _load(self, settings.detail, settings.device)


_LOADING = Lock()


@lru_cache(maxsize=1)
def _load(source: ReleaseSource, detail: int, device: DeviceChoice) -> tuple[Bundle, FaceFinder]:
    bundle = source.load(source.folder, source.model, 1, source.precision, None, device)
    if bundle.release.contract_id != source.contract_id:
        raise FaceOpsError(
            f"{bundle.name} has contract {bundle.release.contract_id[:12]} here, but "
            f"{source.contract_id[:12]} where the run was started; copy the release to this "
            "machine, or name a registered version."
        )
    return bundle, bundle.face_finder(detail)


@dataclass(frozen=True)
class ShardJob:
    """What all shards of a run share; `root` is the folder of photos, `place` see `open_place`."""

    release: ReleaseSource
    settings: IdentifySettings
    root: str
    place: str
    versions: str


@dataclass(frozen=True)
class Shard:
    """Photos for one worker, in the groups that are embedded together, as the driver saw them."""

    number: int
    groups: Sequence[Sequence[SourceFile]]

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def key(self, job: ShardJob) -> str:
        """Return the name of the shard's file, by the digest of all that decides its content."""
        release, settings = job.release, job.settings
        method = (release.contract_id, settings.detail, str(settings.limits), settings.keep_crops)
        groups = [[tuple(file) for file in group] for group in self.groups]
        content = repr((SHARD_VERSION, job.versions, method, groups))
        return f"{hashlib.sha256(content.encode()).hexdigest()}.sqlite"


def check_worker(job: ShardJob) -> None:
    """Load the release, and check that this process can work on shards of `job`.

    Raises:
        FaceOpsError: it has other versions, or does not see the photos, the place or the release.
    """
    here = f"on {socket.gethostname()}"
    if (own := versions()) != job.versions:
        raise FaceOpsError(
            f"{here} there is {own}, and the run was started with {job.versions}; install the same "
            "on every machine."
        )
    if not is_url(job.root) and not os.access(job.root, os.R_OK | os.X_OK):
        raise FaceOpsError(
            f"{printable(job.root)} cannot be read {here}; every machine needs the photos under "
            "the same path, and permission to read them."
        )
    if not ObjectStore.at(job.place).exists(_MARK):
        raise FaceOpsError(
            f"{shown(job.place)} does not exist {here}; --shared names a place that every machine "
            "reaches under the same name."
        )
    job.release.bundle_and_finder(job.settings)


def extract_to_place(job: ShardJob, shard: Shard) -> str:
    """Find the faces of a shard and write its file; return what was done, for the log.

    A shard that is done is not done again. Photos that cannot be read are not in the file.

    Raises FaceOpsError: see `check_worker` and `write_shard`.
    """
    key = shard.key(job)
    if ObjectStore.at(job.place).exists(key):
        return "it is done already"
    check_worker(job)
    settings = job.settings
    bundle, finder = job.release.bundle_and_finder(settings)
    method = method_of(bundle.release, settings.detail)
    with contextlib.closing(FaceStore(IN_MEMORY, method, settings.limits)) as store:
        listed = {file.path: file for group in shard.groups for file in group}
        file_of = listed.get if is_url(job.root) else source_file
        extractor = FaceExtractor(bundle, finder, store, settings, Timer(), file_of)
        paths = ([file.path for file in group] for group in shard.groups)
        opened = extract_all(extractor, chain.from_iterable(map(extractor.groups, paths)))
        write_shard(job.place, key, store.content())
    return f"{opened} of {len(shard)} photos opened, device: {bundle.runs_on}"


def write_shard(place: str, key: str, content: bytes) -> None:
    """Leave the file of a shard, atomically, while the run is under way.

    Raises FaceOpsError: the run has ended; the place does not answer, or refuses.
    """
    store = ObjectStore.at(place)
    if not store.exists(_MARK):
        raise FaceOpsError(f"{shown(place)}: its run was ended meanwhile.")
    store.write(key, content)


class ShardRun:
    """The shards of a run, seen from the driver.

    Args:
        listed: all photos of the run.
        size: photos of a shard, about; whole groups.

    Attributes:
        photos: number of photos in all shards.
    """

    def __init__(self, job: ShardJob, listed: PhotoList, store: FaceStore, size: int) -> None:
        self.job, self._listed, self._store = job, listed, store
        self._place = ObjectStore.at(job.place)
        new = new_photos(listed, store, job.settings.recheck)
        self.photos = len(new)
        self._shards = _cut(new, size)

    def __len__(self) -> int:
        return len(self._shards)

    def shard(self, number: int) -> Shard:
        """Return the shard `number`, 0 and up, with its files as they are now."""
        places = self._shards[number].tolist()
        groups = []
        for _, group in groupby(places, key=lambda place: place // GROUP):
            files = [self._listed.file(self._listed.paths[place]) for place in group]
            groups.append([file for file in files if file is not None])
        return Shard(number, [group for group in groups if group])

    def take_in(self, shard: Shard) -> bool:
        """Store the faces of a shard that is done, and remove its file; return whether it was.

        All or nothing, and again without harm. A damaged file is removed.
        """
        key = shard.key(self.job)
        try:
            content = self._place.read(key)
        except FileNotFoundError:
            return False
        is_taken = self._store.take_in(content)
        self._place.delete(key)
        return is_taken


def _cut(new: np.ndarray, size: int) -> list[np.ndarray]:
    """Return the photos `new`, int64 (K,) places in order, in shards of at least `size`.

    Shards are whole groups by position. If whole shards are taken out of `new`, the others stay.
    """
    size -= size % GROUP
    ends = np.flatnonzero(np.diff(new // GROUP, append=-1)) + 1  # of groups
    shards, start = [], 0
    for end in ends.tolist():
        if end - start >= size or end == len(new):
            shards.append(new[start:end])
            start = end
    return shards


@contextmanager
def open_place(shared: str, out: Path) -> Iterator[str]:
    """Yield the place of `out`, a folder or URL in `shared`, with the mark of a run.

    The caller holds the lock of `out`.

    The place is that of an unfinished run, if there was one, else a new one. What that run left
    elsewhere is removed, and all of it at the end.

    Raises FaceOpsError: a place is not reachable, or cannot be written.
    """
    name = f"{shared.rstrip('/')}/faceops-shards-"
    url = noted_place(out)
    if url is not None and not url.startswith(name):
        remove_shards(out)
        url = None
    if url is None:
        url = name + secrets.token_hex(8)
        write_file(out / PLACE_FILE, json.dumps({"place": url}) + "\n")
    ObjectStore.at(url).write(_MARK, b"{}\n")
    yield url
    remove_shards(out)


def noted_place(out: Path) -> str | None:
    """Return the place in which an unfinished run into `out` may have left shards.

    Raises FaceOpsError: the note is damaged.
    """
    try:
        return str(read_json_object(out / PLACE_FILE)["place"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        raise FaceOpsError(
            f"{out / PLACE_FILE} cannot be read ({error}); remove the folders faceops-shards-* of "
            "unfinished runs in the shared place, then this file."
        ) from None


def remove_shards(out: Path) -> None:
    """Remove what an unfinished run into `out` left in the shared place; needs `out`'s lock.

    Raises FaceOpsError: the place is not reachable, or something stays.
    """
    if (url := noted_place(out)) is None:
        return
    try:
        if not is_url(url) and not Path(url).is_dir():
            raise FaceOpsError(
                f"{url}, where an unfinished run may have left faces, is not here: connect the "
                "disk or share."
            )
        store = ObjectStore.at(url)
        store.delete(_MARK)
        for entry in list(store.objects()):
            store.delete(entry.name)
        if not is_url(url):
            Path(url).rmdir()
    except (FaceOpsError, OSError) as error:
        raise FaceOpsError(
            f"{url} cannot be removed: {error} If it is gone for good, remove {out / PLACE_FILE}."
        ) from None
    (out / PLACE_FILE).unlink()
