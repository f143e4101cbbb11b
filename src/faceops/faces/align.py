"""Align a face to a square crop: the one alignment of training and identification."""

import math

import numpy as np
from PIL import Image

from faceops.photos.pixels import part_of


def similarity_transform(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return float64 (2, 3): `target` ~ matrix[:, :2] @ point + matrix[:, 2], by least squares.

    Of `source` float (N, 2) and `target` float (N, 2), without reflection. Umeyama: "Least-squares
    estimation of transformation parameters between two point patterns", 1991; in two dimensions the
    rotation has a closed form. Source points that coincide (or are not finite) give a pure shift at
    scale 1.
    """
    source = np.asarray(source, dtype=np.float64)
    target = np.asarray(target, dtype=np.float64)
    to = target.mean(axis=0)
    if not np.isfinite(source).all():
        return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    start = source.mean(axis=0)
    a, b = source - start, target - to
    spread = float((a * a).sum())
    along = float((a * b).sum())  # scale * cos(angle) * spread
    across = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum())  # scale * sin(angle) * spread
    if spread < 1e-12 or along * along + across * across < 1e-12 * spread:
        turn = np.eye(2)
    else:
        turn = np.array([[along, -across], [across, along]]) / spread
    return np.column_stack([turn, to - turn @ start])


# Increase it with every change that alters the bytes of a crop: in the decoding of the detector's
# output, the landmarks or the alignment. A release of an earlier version keeps its own crops; see
# `Release.can_embed` too, which takes the crops of all versions for equally good.
# 1: overexposed photos are searched as they are, and O-Net sees each face once.
ALIGNMENT_VERSION = 2

CROP_SIZE = 112  # pixels, the side of every crop

# The five landmarks in a crop of 112 x 112 pixels, centre of the first pixel at 0: the usual
# template of ArcFace (Deng et al. 2019) and SFace.
TEMPLATE: np.ndarray = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)

_LARGEST_REDUCTION = 64


def align(pixels: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the face as uint8 (112, 112, 3) RGB; black outside the photo.

    `pixels` uint8 (H, W, 3) RGB, upright. A similarity transform by least squares maps `landmarks`
    float (5, 2), pixels of the photo, centre of the first pixel at 0, to the template; sampling is
    bilinear. A face larger than the crop is first averaged over blocks of n x n pixels, n being the
    integer part of the scale, so that it does not alias.
    """
    forward = similarity_transform(landmarks, TEMPLATE)
    linear = np.linalg.inv(forward[:, :2])
    # Pillow counts from the corner of the first pixel, the landmarks from its centre.
    shift = 0.5 - linear @ (forward[:, 2] + 0.5)
    inverse = np.column_stack([linear, shift])
    scale = math.sqrt(abs(np.linalg.det(linear)))  # photo pixels a crop pixel
    left, top, right, bottom = _covered(inverse, pixels.shape, margin=2 + math.ceil(scale))
    if left >= right or top >= bottom:
        return np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8)
    image = part_of(pixels, (left, top, right, bottom))
    inverse[:, 2] -= (left, top)
    reduction = min(int(scale), _LARGEST_REDUCTION, image.width, image.height)
    if reduction >= 2:
        image = image.reduce(reduction)
        inverse /= reduction
    matrix, size = tuple(inverse.ravel().tolist()), (CROP_SIZE, CROP_SIZE)
    crop = image.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(crop)


def _covered(inverse: np.ndarray, shape: tuple[int, ...], margin: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the part of the photo that the crop shows."""
    corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * [CROP_SIZE, CROP_SIZE, 1.0]
    places = corners @ inverse.T
    low = np.clip(np.floor(places.min(axis=0)) - margin, 0, [shape[1], shape[0]])
    high = np.clip(np.ceil(places.max(axis=0)) + margin, 0, [shape[1], shape[0]])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def square_crop(pixels: np.ndarray, left: float, top: float, side: float, size: int) -> np.ndarray:
    """Return a square of the photo as uint8 (size, size, 3), anti-aliased; black outside.

    `pixels` uint8 (H, W, 3) RGB; `left`, `top` and `side` in pixels; the first two may be negative,
    a side below 1 is 1.
    """
    side = max(side, 1.0)
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    x1, y1 = int(np.ceil(left + side)), int(np.ceil(top + side))
    window = part_of(pixels, (x0, y0, x1, y1))
    extent = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR, box=extent))
