"""Changes of a crop that leave the person the same: mirror, shift, brightness, contrast."""

import numpy as np

MAX_SHIFT = 16  # pixels, at jitter 1


def augment(crops: np.ndarray, draw: np.random.Generator, flip: bool, jitter: float) -> np.ndarray:
    """Return changed copies of `crops`, uint8 (B, 112, 112, 3) RGB.

    Args:
        crops: aligned faces.
        draw: source of all randomness.
        flip: mirror each with probability one half.
        jitter: 0..1; at 1 a crop is shifted by up to 16 pixels (edges repeated), its brightness
            and its contrast are changed by up to one half.
    """
    count, height, width, _ = crops.shape
    if flip:
        mirrored = draw.random((count, 1, 1, 1)) < 0.5
        crops = np.where(mirrored, crops[:, :, ::-1], crops)
    if jitter == 0:
        return np.ascontiguousarray(crops)
    reach = round(MAX_SHIFT * jitter)
    shifts = draw.integers(-reach, reach, size=(2, count, 1), endpoint=True)
    rows = np.clip(np.arange(height) + shifts[0], 0, height - 1)  # (B, H)
    columns = np.clip(np.arange(width) + shifts[1], 0, width - 1)  # (B, W)
    moved = crops[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    gain, contrast = 1 + jitter / 2 * draw.uniform(-1, 1, size=(2, count, 1, 1, 1))
    pixels = moved.astype(np.float32)
    mean = pixels.mean(axis=(1, 2, 3), keepdims=True)
    changed = (mean + (pixels - mean) * contrast) * gain
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)
