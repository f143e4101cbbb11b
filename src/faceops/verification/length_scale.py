"""The length of an embedding before it is normalised, as a figure of the face's quality.

A network that is trained on normalised embeddings gives those of faces that it makes out badly a
small length (Ranjan et al. 2017, "L2-constrained Softmax Loss"; Meng et al. 2021, "MagFace"). The
length predicts errors better than any measure of the crop, in another scale for each network:
each release states that of its own, measured on its validation faces.
"""

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

_LOW = 0.05  # quantile
_MEDIAN_ODDS, _LOW_ODDS = 2.0, 0.8


class LengthScale(BaseModel):
    """The lengths of the raw embeddings of one embedder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(gt=0, description="5 % of the validation faces have a smaller length")
    median: float = Field(gt=0, description="of the validation faces")

    @classmethod
    def of(cls, lengths: np.ndarray) -> Self | None:
        """Measure `lengths` float32 (N,); None where they say nothing: NaN, or all alike."""
        low, median = (float(f"{q:.4g}") for q in np.quantile(lengths, (_LOW, 0.5)))
        return cls(low=low, median=median) if 0 < low < median else None

    def share(self, lengths: np.ndarray) -> np.ndarray:
        """Return float64 (N,), 0 to 1, rising with `lengths` (N,); NaN stays.

        length^p / (length^p + half^p), which is .67 at the median and .44 at the low quantile.
        """
        power = np.log(_MEDIAN_ODDS / _LOW_ODDS) / np.log(self.median / self.low)
        with np.errstate(over="ignore"):  # where the lengths of an embedder are nearly alike
            odds = _MEDIAN_ODDS * (lengths.astype(np.float64) / self.median) ** power
        return np.asarray(1 - 1 / (1 + odds))
