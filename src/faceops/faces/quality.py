"""How suitable a face is for recognition: measures, and a figure that predicts errors.

The exponents of `overall` were fitted to how well a photo matches the other photos of its person,
on people of Pins, Families in the Wild and LFW's DevTrain and on degraded copies of their photos
(docs/figures.md). A share can only lower the figure.

A face that is embedded has one more measure: the length of its embedding before it is normalised. A
network that is trained on normalised embeddings gives faces of poor quality embeddings of a small
length (Ranjan et al. 2017, "L2-constrained Softmax Loss"; Meng et al. 2021, "MagFace"). It
predicts errors better than any measure of the crop, on another scale for each network: each release
states the scale of its own, measured on its validation faces.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

QUALITY_VERSION = 3  # raise it with every change of a measure

# The measure at which its share is one half.
_HALF_DETAIL = 60.0
_HALF_SIZE = 24.0  # pixels
_SURE_SCORE = 0.95  # of the detector, in the best photos
_OVEREXPOSED = 235  # grey value
FACE = slice(28, 108), slice(22, 90)  # rows and columns of the face in a crop of 112 pixels


@dataclass(frozen=True)
class Quality:
    # Variance of the Laplacian of the aligned crop's grey values (0-255), 0 upwards
    sharpness: float
    brightness: float  # mean grey value, 0 to 1
    contrast: float  # standard deviation of the grey values, 0 to .5
    # 0 looking into the camera, 1 in profile: how far the nose is from the middle between the eyes,
    # along the line through them, in half eye distances
    pose: float
    size_px: float  # shorter side of the box, pixels of the photo
    # Variance of the Laplacian of the middle of the crop at half its size, where neither noise nor
    # JPEG artefacts pass for sharpness, 0 upwards
    detail: float
    glare: float  # share of overexposed pixels in the middle of the crop, 0 to 1
    score: float  # the detector's, 0 to 1; 1 where none was asked
    # 0 to 1, the product of four shares, each 1 at its best: (detail / (detail + 60))^.3, (size /
    # (size + 24))^.4, (1 - .98 glare)^.4 and min(1, score / .95)^4; of an embedded face, see
    # `Thresholds.quality_after`
    overall: float


def measure(crop: np.ndarray, pose: float, size_px: float, score: float = 1.0) -> Quality:
    """Return the quality of a face, of its `crop` uint8 (112, 112, 3) RGB, aligned.

    `pose` 0 to 1, see `yaw`; `size_px`: shorter side of the face's box, pixels of the photo;
    `score`, 0 to 1, is the detector's.
    """
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    middle = grey[FACE]
    height, width = middle.shape
    detail = _laplacian_variance(middle.reshape(height // 2, 2, width // 2, 2).mean((1, 3)))
    glare = float((middle > _OVEREXPOSED).mean())
    overall = (
        (detail / (detail + _HALF_DETAIL)) ** 0.3
        * (size_px / (size_px + _HALF_SIZE)) ** 0.4
        * (1 - 0.98 * glare) ** 0.4
        * min(1.0, score / _SURE_SCORE) ** 4
    )
    return Quality(
        _laplacian_variance(grey),
        float(grey.mean()) / 255,
        float(grey.std()) / 255,
        pose,
        size_px,
        detail,
        glare,
        score,
        overall,
    )


def yaw(landmarks: np.ndarray) -> float:
    """Return 0 (frontal) to 1 (profile) from the landmarks, float (5, 2)."""
    points = landmarks.astype(np.float64)
    eyes = points[1] - points[0]
    length = float(eyes @ eyes)
    if not math.isfinite(length) or length < 1e-9:
        return 1.0  # one eye behind the other, or no landmarks at all
    along = float((points[2] - points[0]) @ eyes) / length
    return min(1.0, abs(2 * along - 1)) if math.isfinite(along) else 1.0


def _laplacian_variance(grey: np.ndarray) -> float:
    """Return the variance of the four-neighbour Laplacian of `grey`, float (H, W)."""
    if min(grey.shape) < 3:
        return 0.0
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * grey[1:-1, 1:-1]).var())


_LOW = 0.05  # quantile
_MEDIAN_ODDS, _LOW_ODDS = 2.0, 0.8


class LengthScale(BaseModel):
    """The lengths of the raw embeddings of one embedder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float = Field(gt=0, description="5 % of the validation faces have a smaller length")
    median: float = Field(gt=0, description="of the validation faces")

    @classmethod
    def of(cls, lengths: np.ndarray) -> Self | None:
        """Measure `lengths` float32 (N,); None where they give no scale: NaN, or all alike."""
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
