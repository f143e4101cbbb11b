"""The latest run's results in memory: photos, faces and embeddings as columns."""

import csv
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.arrow import take_rows
from faceops.base.errors import FaceOpsError
from faceops.base.reasons import KINDS, REASONS, Reason
from faceops.identification.engine.decide import FaceDecisions
from faceops.identification.engine.extract import KNOWN_AT_ONCE
from faceops.identification.engine.verdicts import NOBODY
from faceops.identification.latest_run import LatestRun, latest_run
from faceops.identification.records.output_folder import FACES_FILE, STATE_FILE, UNKNOWN_FILE
from faceops.identification.state.face_store import FaceStore
from faceops.identification.state.photo_block import Extraction, FoundPhoto, PhotoBlock
from faceops.identification.state.schema import method_of
from faceops.identification.unknown.unknown_people import unknown_number
from faceops.release.bundle import Bundle

_COLUMNS = (
    *("photo_id", "photo_path", "face_index", "decision", "person", "probability", "runner_up"),
    *("runner_up_probability", "reason", "stranger_share"),
)
_NUMBER = {"int32": np.int32, "float": np.float32, "double": np.float64}


@dataclass(frozen=True, eq=False)
class Results:
    """The latest run into a folder.

    Attributes:
        store: the state, open, for pictures of faces.
        blocks: the photos in the order of the run, in blocks as of a run over known photos, with
            their faces and embeddings. Photos that are not in the state any more have no faces.
        starts: int64 (P + 1,), the first row of each photo in the records.
        records: the columns of the records that `recorded` needs.
    """

    run: LatestRun
    out: Path
    store: FaceStore
    blocks: list[PhotoBlock]
    starts: np.ndarray
    records: pa.Table

    @classmethod
    def load(cls, out: Path, bundle: Bundle) -> "Results":
        """Read the results in `out`, which `bundle` gave.

        Raises:
            UsageError: there are none.
            FaceOpsError: they are of another release, damaged, or without a state.
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
        texts: list[str] = take_rows(self.records["photo_path"], self.starts[:-1]).to_pylist()
        return texts

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

        Args:
            photos: all photos; their drawn faces may differ from those of the run.
            people: the possible names; others are replaced by nobody.

        Returns:
            the decisions, without a best person for unnamed faces, which the records do not have;
            and int64 (F,), the number of each face's unknown person, 0 for none.
        """
        source, target = common_rows(self.starts, photos.starts)
        taken = take_rows(self.records, source)
        columns = {
            "kind": codes(taken["decision"], list(map(str, KINDS))),
            "reason": codes(taken["reason"], list(map(str, REASONS))),
            "best": codes(taken["person"], people),
            "runner_up": codes(taken["runner_up"], people),
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
            starts, known = photos.starts.tolist(), dict[str, int]()
            for row in rows:
                for photo in self.photos_of.get(row[photo_id], ()):
                    face = starts[photo] + int(row[index])
                    if face < starts[photo + 1]:
                        if row[name] not in known:
                            known[row[name]] = unknown_number(row[name])
                        number[face] = known[row[name]]
        return number


def _blocks(root: Path, photos: pa.Table, store: FaceStore, bundle: Bundle) -> list[PhotoBlock]:
    """Return the photos of these rows of the records with what `store` knows of them."""
    above = root.as_posix().rstrip("/")
    ids, texts = photos["photo_id"].to_pylist(), photos["photo_path"].to_pylist()
    reasons = photos["reason"].to_pylist()
    has_faces = numbers(photos["face_index"], -1) >= 0
    blocks = []
    for start in range(0, len(ids), KNOWN_AT_ONCE):
        some = slice(start, start + KNOWN_AT_ONCE)
        found = store.load([photo_id for photo_id in ids[some] if photo_id])
        extractions = []
        for photo_id, text, reason, has in zip(
            ids[some], texts[some], reasons[some], has_faces[some].tolist(), strict=True
        ):
            stored = found.get(photo_id or "")
            if stored is None or stored.crops:
                known = None if has or not reason else Reason(reason)
                photo = FoundPhoto(photo_id, known)
            else:
                photo = stored.photo
            extractions.append(Extraction(f"{above}/{text}", None, photo))
        release = bundle.release
        blocks.append(PhotoBlock.of(extractions, release.embedding_size, release.thresholds))
    return blocks


# Arrow's own conversions to and from NumPy and lists load pandas, if that is installed.


def numbers(column: pa.ChunkedArray, missing: float) -> np.ndarray:
    """Return a column of numbers (N,), with `missing` where there is none."""
    array = column.combine_chunks()
    kind = _NUMBER[str(array.type)]
    values = np.frombuffer(array.buffers()[1] or b"", kind)[array.offset :][: len(array)]
    if not array.null_count:
        return values
    valid = np.from_dlpack(array.is_valid().cast(pa.uint8())) > 0
    result: np.ndarray = np.where(valid, values, np.array(missing, kind))
    return result


def codes(column: pa.ChunkedArray, values: list[str]) -> np.ndarray:
    """Return the place of each text in `values`, int64 (N,), -1 for others and for none."""
    places = {value: place for place, value in enumerate(values)}
    array = column.combine_chunks().dictionary_encode(null_encoding="encode")
    known = np.array([places.get(one, NOBODY) for one in array.dictionary.to_pylist()], np.int64)
    if not len(known):
        return np.zeros(0, np.int64)
    result: np.ndarray = known[np.from_dlpack(array.indices)]
    return result


def common_rows(starts: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the faces that photos have in two lists of faces, int64 (K,) each.

    Args:
        starts, other: int64 (P + 1,), the first row of each photo in either list. Where one has
            more faces of a photo, the others come after the common ones.
    """
    counts = np.minimum(np.diff(starts), np.diff(other))
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts[:-1], counts) + within, np.repeat(other[:-1], counts) + within
