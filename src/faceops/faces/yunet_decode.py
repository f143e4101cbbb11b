"""From YuNet's output maps to boxes, landmarks and scores.

YuNet: Wu, Peng, Yu: "YuNet: A Tiny Millisecond-level Face Detector", 2023. Every cell of the
maps at strides 8, 16 and 32 holds a class score, an objectness score, a box as offset of its
centre and logarithm of its sides, and five landmarks as offsets, all in units of the stride.
"""

from collections.abc import Mapping

import numpy as np

STRIDES = (8, 16, 32)


def decode(
    maps: Mapping[str, np.ndarray], width: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the candidates that score `threshold` or more, in the order of the cells.

    Args:
        maps: `cls_S` and `obj_S` float32 (1, cells, 1), `bbox_S` (1, cells, 4), `kps_S`
            (1, cells, 10) for each stride S, row by row.
        width: of the net's input in pixels, a multiple of 32.
        threshold: smallest score, the root of class score times objectness.

    Returns:
        boxes float32 (N, 4) x, y, width, height; landmarks float32 (N, 5, 2); scores float32 (N,);
        in pixels of the net's input.
    """
    boxes, landmarks, scores = [], [], []
    for stride in STRIDES:
        score = np.sqrt(
            np.clip(maps[f"cls_{stride}"][0, :, 0], 0, 1)
            * np.clip(maps[f"obj_{stride}"][0, :, 0], 0, 1)
        )
        cells = np.flatnonzero(score >= threshold)
        corner = np.stack([cells % (width // stride), cells // (width // stride)], axis=1)
        box = maps[f"bbox_{stride}"][0, cells]  # (n, 4)
        centre = (corner + box[:, :2]) * stride
        sides = np.exp(box[:, 2:]) * stride
        points = maps[f"kps_{stride}"][0, cells].reshape(-1, 5, 2)
        boxes.append(np.concatenate([centre - sides / 2, sides], axis=1))
        landmarks.append((corner[:, None, :] + points) * stride)
        scores.append(score[cells])
    return (
        np.concatenate(boxes).astype(np.float32),
        np.concatenate(landmarks).astype(np.float32),
        np.concatenate(scores).astype(np.float32),
    )
