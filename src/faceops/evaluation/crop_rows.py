"""Some rows of a table of crops that stays on disk until one is looked at."""

from dataclasses import dataclass

import numpy as np


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
