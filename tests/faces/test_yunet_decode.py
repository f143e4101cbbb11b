"""The vectorised decoding and suppression against plain loops."""

import math

import numpy as np
import pytest

from faceops.faces.detector import decode, non_maximum_suppression


def random_maps(rng: np.random.Generator, width: int, height: int) -> dict[str, np.ndarray]:
    maps = {}
    for stride in (8, 16, 32):
        cells = (width // stride) * (height // stride)
        for name, depth in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            values = rng.random((1, cells, depth))
            if depth > 1:
                values = values * 2 - 0.5
            maps[f"{name}_{stride}"] = values.astype(np.float32)
    return maps


@pytest.mark.parametrize("seed", range(3))
def test_decoding_equals_a_plain_loop(seed: int) -> None:
    width, height = 128, 96
    maps = random_maps(np.random.default_rng(seed), width, height)
    boxes, landmarks, scores = decode(maps, width, 0.6)
    expected = []
    for stride in (8, 16, 32):
        cell = 0
        for row in range(height // stride):
            for column in range(width // stride):
                score = math.sqrt(
                    maps[f"cls_{stride}"][0, cell, 0] * maps[f"obj_{stride}"][0, cell, 0]
                )
                if score >= 0.6:
                    dx, dy, dw, dh = maps[f"bbox_{stride}"][0, cell].tolist()
                    w, h = math.exp(dw) * stride, math.exp(dh) * stride
                    x, y = (column + dx) * stride - w / 2, (row + dy) * stride - h / 2
                    points = maps[f"kps_{stride}"][0, cell].tolist()
                    flat = []
                    for i in range(5):
                        flat += [
                            (points[2 * i] + column) * stride,
                            (points[2 * i + 1] + row) * stride,
                        ]
                    expected.append([x, y, w, h, *flat, score])
                cell += 1
    found = np.concatenate([boxes, landmarks.reshape(-1, 10), scores[:, None]], axis=1)
    assert len(expected) > 20
    np.testing.assert_allclose(found, np.array(expected), rtol=1e-4, atol=1e-3)


def test_nothing_above_the_threshold_gives_empty_arrays() -> None:
    maps = random_maps(np.random.default_rng(0), 64, 64)
    boxes, landmarks, scores = decode(maps, 64, 2.0)
    assert boxes.shape == (0, 4) and landmarks.shape == (0, 5, 2) and scores.shape == (0,)
    assert non_maximum_suppression(boxes, scores, 0.3).shape == (0,)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    return wide * high / (a[2] * a[3] + b[2] * b[3] - wide * high)


@pytest.mark.parametrize("limit", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(5))
def test_suppression_equals_a_plain_loop(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.random((80, 2)) * 60, 5 + rng.random((80, 2)) * 40], axis=1)
    scores = np.round(rng.random(80), 1)  # with ties
    kept: list[int] = []
    for index in sorted(range(80), key=lambda i: (-scores[i], i)):
        if all(overlap(boxes[index], boxes[other]) <= limit for other in kept):
            kept.append(index)
    assert non_maximum_suppression(boxes, scores, limit).tolist() == kept
