"""The aligned crops of one split of the people."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import sha256_file
from faceops.dataset.importer import read_sources

_COLUMNS = ["crop", "path", "person", "split"]


@dataclass(frozen=True)
class SplitCrops:
    """Crops uint8 (N, 112, 112, 3) RGB, persons and paths str (N,), sorted by path.

    `paths` are relative to the data folder; empty where they are not known.
    """

    crops: np.ndarray
    persons: np.ndarray
    paths: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=str))


def read_split(crops_file: Path, faces_file: Path, split: str) -> SplitCrops:
    """Return the crops of the people whom `faces_file` (split's faces.parquet) puts in `split`.

    `crops_file` is crop's crops.npy; the rows of the split, and no others, are read into memory
    (37 kB each). People with one photo (negative_only) are among them: they serve as impostors.

    Raises:
        FaceOpsError: a file is absent or unreadable, one does not fit the other, or
            nobody is in `split`.
    """
    for file in (crops_file, faces_file):
        if not file.is_file():
            raise FaceOpsError(f"{file} does not exist; run `dvc repro` up to the split stage.")
    try:
        table = pq.read_table(faces_file, columns=_COLUMNS)
        crops = np.load(crops_file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise FaceOpsError(
            f"{crops_file} and {faces_file} cannot be read together ({reason}); run `dvc repro`."
        ) from None
    chosen = table.filter(pa.compute.equal(table["split"], split)).sort_by("path")
    if len(chosen) == 0:
        raise FaceOpsError(
            f"{faces_file} has no {split} people; raise split.{split} or give more people."
        )
    rows = chosen["crop"].to_numpy().astype(np.int64)
    if crops.ndim != 4 or rows.min() < 0 or rows.max() >= len(crops):
        raise FaceOpsError(
            f"{faces_file} names crops that {crops_file} does not hold; run `dvc repro`."
        )
    persons = np.array(chosen["person"].to_pylist(), dtype=str)
    paths = np.array(chosen["path"].to_pylist(), dtype=str)
    return SplitCrops(np.asarray(crops[rows]), persons, paths)


def evenly_spread(split: SplitCrops, count: int) -> np.ndarray:
    """Return `count` crops (fewer if there are fewer) evenly spread over the split."""
    rows = np.unique(np.linspace(0, len(split.crops) - 1, count).round().astype(int))
    return split.crops[rows]


def at_most(split: SplitCrops, faces: int, seed: int) -> SplitCrops:
    """Return whole people of `split`, drawn at random, with at most `faces` crops together.

    Two people are kept in any case, else there would be no pairs.
    """
    people, counts = np.unique(split.persons, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    fit = np.cumsum(counts[order]) <= faces
    fit[:2] = True
    kept = np.isin(split.persons, people[order[fit]])
    paths = split.paths[kept] if len(split.paths) else split.paths
    return SplitCrops(split.crops[kept], split.persons[kept], paths)


DATA = Path("data")


def data_seen(faces: Path, data: Path = DATA) -> dict[str, Any]:
    """Return what the model was trained on: sources, counts a split, the hash of its faces."""
    table = pq.read_table(faces, columns=["person", "split"])
    persons = np.array(table["person"].to_pylist(), dtype=str)
    split = np.array(table["split"].to_pylist(), dtype=str)
    counts = {
        name: {
            "people": len(np.unique(persons[split == name])),
            "photos": int((split == name).sum()),
        }
        for name in ("train", "val", "test")
    }
    seen: dict[str, Any] = {"faces_sha256": sha256_file(faces), "splits": counts}
    known = read_sources(data)
    return seen | ({"sources": known} if known else {})


def validation_people(people: int, data: Path = DATA) -> str:
    """Return in words whom thresholds were measured on: "20 validation people of synthetic"."""
    whence = " and ".join(sorted(read_sources(data))) or "data/photos"
    return f"{people:,} validation people of {whence}"
