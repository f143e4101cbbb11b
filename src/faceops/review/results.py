"""The latest run's results in memory: photos, faces and embeddings as columns; capture times."""

import csv
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.arrow import numbers, places_in, take_rows
from faceops.base.errors import FaceOpsError
from faceops.base.files import paths_shown_as
from faceops.base.reasons import KINDS, REASONS, Reason
from faceops.identification.engine.decide import FaceDecisions
from faceops.identification.engine.extract import KNOWN_AT_ONCE
from faceops.identification.latest_run import LatestRun, latest_run
from faceops.identification.records.output_folder import FACES_FILE, STATE_FILE, UNKNOWN_FILE
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import Extraction, FoundPhoto, PhotoBlock
from faceops.identification.state.schema import method_of
from faceops.identification.unknown.unknown_people import unknown_number
from faceops.photos.photo_header import WITHOUT_PACKETS, read_header
from faceops.release.bundle import Bundle

_COLUMNS = (
    *("photo_id", "photo_path", "face_index", "decision", "person", "probability", "runner_up"),
    *("runner_up_probability", "reason", "stranger_share"),
)


@dataclass(frozen=True, eq=False)
class Results:
    run: LatestRun
    out: Path
    store: FaceStore  # the state, open, for pictures of faces
    # The photos in the order of the run, in blocks as of a run over known photos, with their faces
    # and embeddings. Photos that are not in the state any more have no faces
    blocks: list[PhotoBlock]
    starts: np.ndarray  # int64 (P + 1,), the first row of each photo in the records
    records: pa.Table  # the columns of the records that `recorded` needs

    @classmethod
    def load(cls, out: Path, bundle: Bundle) -> "Results":
        """Read the results in `out`, which `bundle` gave.

        Raises UsageError: there are none; FaceOpsError: they are of another release, damaged, or
        without a state.
        """
        run = latest_run(out)
        release, summary = bundle.release, run.summary
        if summary.contract_id != release.contract_id:
            raise FaceOpsError(
                f"the results in {out} are of contract {summary.contract_id[:12]}, this release "
                f"has {release.contract_id[:12]}; run faceops identify into {out} again."
            )
        state = out / STATE_FILE
        if not state.is_file():
            raise FaceOpsError(
                f"{state} does not exist, so the faces are not known; run faceops identify into "
                f"{out} again: it opens the photos."
            )
        try:
            with pq.ParquetFile(out / FACES_FILE) as file:
                records = file.read(columns=list(_COLUMNS))
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise FaceOpsError(
                f"{out / FACES_FILE} cannot be used ({error}); run faceops identify into {out} "
                "again."
            ) from None
        method, limits = method_of(release, summary.detail), summary.limits
        store = FaceStore(state, method, limits)
        index = numbers(records["face_index"], -1)
        starts = np.append(np.flatnonzero(index <= 0), len(index))
        blocks = _blocks(run.root, take_rows(records, starts[:-1]), store, bundle)
        return cls(run, out, store, blocks, starts, records)

    @cached_property
    def texts(self) -> list[str]:
        """The path of each photo below the photos' folder."""
        return list(take_rows(self.records["photo_path"], self.starts[:-1]).to_pylist())

    @cached_property
    def photos_of(self) -> dict[str, list[int]]:
        """The photos with these bytes, by photo_id: places in the order of the run."""
        places = defaultdict(list)
        ids = (photo_id for block in self.blocks for photo_id in block.photo_ids)
        for place, photo_id in enumerate(ids):
            if photo_id is not None:
                places[photo_id].append(place)
        return dict(places)

    def recorded(self, photos: PhotoBlock, people: list[str]) -> tuple[FaceDecisions, np.ndarray]:
        """Return the run's decisions about the faces of `photos`, and their unknown people.

        `photos` are all photos; their drawn faces may differ from those of the run. Names not among
        `people` are replaced by nobody, and unnamed faces have no best person, which the records do
        not hold. The second is int64 (F,), the number of each face's unknown person, 0 for none.
        """
        source, target = common_rows(self.starts, photos.starts)
        taken = take_rows(self.records, source)
        columns = {
            "kind": places_in(taken["decision"], KINDS),
            "reason": places_in(taken["reason"], REASONS),
            "best": places_in(taken["person"], people),
            "runner_up": places_in(taken["runner_up"], people),
        }
        for name in ("probability", "runner_up_probability", "stranger_share"):
            columns[name] = numbers(taken[name], np.nan)
        found = FaceDecisions.without_names(len(photos.faces)).with_rows(target, columns)
        return found, self._unknown(photos)

    def _unknown(self, photos: PhotoBlock) -> np.ndarray:
        number = np.zeros(len(photos.faces), np.int64)
        with (
            suppress(OSError, ValueError, IndexError),
            (self.out / UNKNOWN_FILE).open(encoding="utf-8", newline="") as file,
        ):
            rows = csv.reader(file)
            header = next(rows, [])
            name, photo_id, index = map(header.index, ("unknown", "photo_id", "face_index"))
            starts, number_of = photos.starts.tolist(), cache(unknown_number)
            for row in rows:
                for photo in self.photos_of.get(row[photo_id], ()):
                    face = starts[photo] + int(row[index])
                    if face < starts[photo + 1]:
                        number[face] = number_of(row[name])
        return number


def _blocks(root: Path, photos: pa.Table, store: FaceStore, bundle: Bundle) -> list[PhotoBlock]:
    """Return the photos of these rows of the records with what `store` knows of them."""
    above = root.as_posix().rstrip("/")
    ids, texts = photos["photo_id"].to_pylist(), photos["photo_path"].to_pylist()
    reasons = photos["reason"].to_pylist()
    has_faces = (numbers(photos["face_index"], -1) >= 0).tolist()
    size, thresholds = bundle.release.embedding_size, bundle.release.thresholds
    blocks = []
    for start in range(0, len(ids), KNOWN_AT_ONCE):
        block = range(start, min(start + KNOWN_AT_ONCE, len(ids)))
        found = store.load([ids[row] for row in block if ids[row]])
        extractions = []
        for row in block:
            stored = found.get(ids[row] or "")
            if stored is None or stored.crops:
                reason = None if has_faces[row] or not reasons[row] else Reason(reasons[row])
                photo = FoundPhoto(ids[row], reason)
            else:
                photo = stored.photo
            extractions.append(Extraction(f"{above}/{texts[row]}", None, photo))
        blocks.append(PhotoBlock.of(extractions, size, thresholds))
    return blocks


def capture_time(run: LatestRun, text: str) -> datetime | None:
    """Return when the photo at the path `text` was taken, None if its file does not say it.

    Camera raw files and JPEG XL are not asked: opening them is slow.
    """
    if PurePosixPath(text).suffix.lower() not in WITHOUT_PACKETS:
        for path in paths_shown_as(run.root, text):
            with suppress(FaceOpsError):
                return read_header(path, run.summary.limits).taken
    return None


def common_rows(starts: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the faces that photos have in two lists of faces, int64 (K,) each.

    `starts`, `other` int64 (P + 1,): the first row of each photo in either list. Where one has more
    faces of a photo, the others come after the common ones.
    """
    counts = np.minimum(np.diff(starts), np.diff(other))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts[:-1], counts) + within, np.repeat(other[:-1], counts) + within
