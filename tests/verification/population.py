"""Embeddings of simulated people."""

import numpy as np


def unit_rows(
    seed: int, people: int, photos: int, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors float32 around a centre per person, and the persons.

    `spread` (D,) is the standard deviation in each dimension.
    """
    draw = np.random.default_rng(seed)
    centres = np.repeat(draw.normal(size=(people, len(spread))), photos, axis=0)
    rows = centres + draw.normal(size=centres.shape) * spread
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.repeat([f"P{i:03}" for i in range(people)], photos)
