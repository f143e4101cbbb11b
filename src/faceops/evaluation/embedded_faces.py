"""The faces that protocols work on: embeddings, persons and paths of photos."""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np

from faceops.base.errors import UsageError
from faceops.verification.thresholds import Thresholds

NOT_CALIBRATED = "the embedder is not part of a release: nothing was calibrated"


def release_threshold(thresholds: Thresholds | None, far: float) -> tuple[float | None, str]:
    """Return the release's threshold for a false accept rate, or None and the reason."""
    if thresholds is None:
        return None, NOT_CALIBRATED
    try:
        return thresholds.for_pairs(far), ""
    except UsageError as error:
        return None, str(error)


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
        """The number of people."""
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
