"""How suitable a face is for recognition, by interpretable measures."""

import math
from dataclasses import dataclass

import numpy as np

# The measure at which its share is one half.
_HALF_SHARPNESS = 60.0  # variance of the Laplacian
_HALF_CONTRAST = 0.06
_HALF_SIZE = 24.0  # pixels


@dataclass(frozen=True)
class Quality:
    """Measures of one face.

    Attributes:
        sharpness: variance of the Laplacian of the aligned crop's grey values (0-255), 0 upwards.
        brightness: mean grey value, 0 to 1.
        contrast: standard deviation of the grey values, 0 to .5.
        pose: 0 looking into the camera, 1 in profile: how far the nose is from the middle between
            the eyes, along the line through them, in half eye distances.
        size_px: shorter side of the box, pixels of the photo.
        overall: 0 to 1, the geometric mean of five shares, each 1 at its best:
            sharpness / (sharpness + 60), contrast / (contrast + .06), size / (size + 24),
            1 - |2 brightness - 1|^3 and 1 - .98 pose^2
            (above 0 in profile, so that faces in profile still differ).
    """

    sharpness: float
    brightness: float
    contrast: float
    pose: float
    size_px: float
    overall: float


def measure(crop: np.ndarray, pose: float, size_px: float) -> Quality:
    """Return the quality of a face.

    Args:
        crop: uint8 (H, W, 3) RGB, aligned.
        pose: 0 to 1, see `yaw`.
        size_px: shorter side of the face's box, pixels of the photo.
    """
    grey = crop.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    sharpness = _laplacian_variance(grey)
    brightness = float(grey.mean()) / 255
    contrast = float(grey.std()) / 255
    shares = (
        sharpness / (sharpness + _HALF_SHARPNESS),
        contrast / (contrast + _HALF_CONTRAST),
        size_px / (size_px + _HALF_SIZE),
        1 - abs(2 * brightness - 1) ** 3,
        1 - 0.98 * pose**2,
    )
    overall = math.prod(max(share, 0.0) for share in shares) ** (1 / len(shares))
    return Quality(sharpness, brightness, contrast, pose, size_px, overall)


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
