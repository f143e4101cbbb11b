"""Tables of faces: those of one split of the people, and their embeddings."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from faceops.base.errors import FaceOpsError
from faceops.base.files import stage_output


@dataclass(frozen=True)
class SplitFaces:
    """Faces of one split, sorted by path."""

    rows: np.ndarray  # int64 (N,), the row of each face in crops.npy and embeddings.npy
    persons: np.ndarray  # text (N,)
    paths: np.ndarray  # text (N,), relative to the data folder


def read_columns(file: Path, columns: list[str]) -> pa.Table:
    """Return `columns` of the Parquet file that a stage wrote.

    Raises FaceOpsError: the file is absent or damaged.
    """
    with stage_output(file):
        return pq.read_table(file, columns=columns)


def read_split(faces: Path, split: str) -> SplitFaces:
    """Return the faces that `faces` (faces.parquet of the split stage) assigns to `split`.

    People with one photo (negative_only) are included: they serve as impostors.

    Raises FaceOpsError: the file is absent or damaged, or nobody is in `split`.
    """
    table = read_columns(faces, ["crop", "path", "person", "split"])
    in_split = np.array(table["split"].to_pylist(), dtype=str) == split
    if not in_split.any():
        raise FaceOpsError(
            f"{faces} has no {split} people; raise split.{split} or give more people."
        )
    chosen = table.filter(pa.array(in_split)).sort_by("path")
    return SplitFaces(
        chosen["crop"].to_numpy().astype(np.int64),
        np.array(chosen["person"].to_pylist(), dtype=str),
        np.array(chosen["path"].to_pylist(), dtype=str),
    )


UNNAMED_SOURCE = "data/photos"


def photo_sources(manifest: Path, paths: np.ndarray) -> np.ndarray:
    """Return which source each of the photos `paths` (N,) was imported from, text (N,).

    `manifest` is that of the stage validate. Photos that no import brought are `UNNAMED_SOURCE`.

    Raises FaceOpsError: the file is absent or damaged.
    """
    table = read_columns(manifest, ["path", "source"])
    found = dict(zip(*table.to_pydict().values(), strict=True))
    return np.array([found.get(path) or UNNAMED_SOURCE for path in paths.tolist()], dtype=str)


def read_rows(file: Path, rows: np.ndarray) -> np.ndarray:
    """Return `rows` int (N,) of the array in `file` (.npy); no other row is read into memory.

    Raises FaceOpsError: the file is absent or damaged, or has too few rows.
    """
    with stage_output(file):
        table = np.load(file, mmap_mode="r", allow_pickle=False)
    if len(rows) and (rows.min() < 0 or rows.max() >= len(table)):
        raise FaceOpsError(f"{file} has {len(table)} rows, not {rows.max() + 1}; run `dvc repro`.")
    return np.asarray(table[rows])


def evenly_spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return `count` of `rows` (all if there are fewer), evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, count).round().astype(int))]


def at_most(split: SplitFaces, faces: int, seed: int) -> SplitFaces:
    """Return whole people of `split`, drawn at random, who have at most `faces` faces together.

    At least two people are kept, as otherwise there are no impostor pairs.
    """
    people, counts = np.unique(split.persons, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(people))
    fit = np.cumsum(counts[order]) <= faces
    fit[:2] = True
    kept = np.isin(split.persons, people[order[fit]])
    return SplitFaces(split.rows[kept], split.persons[kept], split.paths[kept])


@dataclass(frozen=True)
class EmbeddedFaces:
    """One row a photo with a usable face; `missing` are the photos without one."""

    embeddings: np.ndarray  # float32 (N, D), L2-normalised
    persons: np.ndarray  # text (N,)
    paths: np.ndarray  # text (N,), relative to the data folder; "" where unknown
    # uint8 (N, 112, 112, 3) RGB, possibly a memory map; None where no pictures are made
    crops: np.ndarray | None = None
    # Paths of photos in which no face was found or that could not be opened
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        rows = {len(self.embeddings), len(self.persons), len(self.paths)}
        if self.crops is not None:
            rows.add(len(self.crops))
        if len(rows) != 1:
            raise ValueError(f"tables of {sorted(rows)} rows do not describe the same faces")

    def __len__(self) -> int:
        return len(self.persons)

    @property
    def people(self) -> int:
        return len(np.unique(self.persons))

    @property
    def missing_persons(self) -> list[str]:
        """The person of each missing photo: the name of its folder."""
        return [PurePosixPath(path).parent.name for path in self.missing]

    def of(self, rows: np.ndarray) -> "EmbeddedFaces":
        """Return the faces of `rows`, indices int (M,) or a mask bool (N,)."""
        return replace(
            self,
            embeddings=self.embeddings[rows],
            persons=self.persons[rows],
            paths=self.paths[rows],
            crops=None if self.crops is None else self.crops[rows],
        )


def read_embedded(faces: Path, split: str, embeddings: Path, crops: Path) -> EmbeddedFaces:
    """Return the faces of `split`, of the files of these stages. Raises: as `read_split`."""
    chosen = read_split(faces, split)
    vectors, pictures = (read_rows(file, chosen.rows) for file in (embeddings, crops))
    return EmbeddedFaces(vectors, chosen.persons, chosen.paths, pictures)


@dataclass(frozen=True)
class CropRows:
    """`rows` int (N,) of `table` uint8 (M, 112, 112, 3), usually a memory map."""

    table: np.ndarray
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | np.integer) -> np.ndarray:
        """Return one crop, uint8 (112, 112, 3)."""
        return np.asarray(self.table[self.rows[index]])
