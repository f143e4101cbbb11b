"""Embeddings of simulated people."""

from functools import cache

import numpy as np

from faceops.verification.measure_thresholds import measure_normalisation
from faceops.verification.normalisation import Normalisation
from faceops.verification.thresholds import TailPoint
from faceops.verification.verifier import Verifier


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


SIZE = 64
VERIFIER = Verifier(np.full(SIZE, -10, np.float32), 12.0, "distance")
TAIL = [TailPoint(rate=0.1, probability=0.1), TailPoint(rate=5e-6, probability=0.88)]


def album(
    seed: int, people: int, photos: int, alike: float = 0.0, noise: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Return embeddings float32 (N, SIZE) and persons; the more `alike`, the nearer strangers."""
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(people, SIZE))
    centres[:, :8] += alike * np.sqrt(SIZE / 8) * draw.gamma(4, 0.25, (people, 1))
    persons = np.repeat(np.arange(people), photos)
    rows = centres[persons] + noise * draw.normal(size=(len(persons), SIZE))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), np.char.add("P", persons.astype(str))


@cache
def normalisation(*alike: float, people: int = 300) -> Normalisation:
    """Return the normalisation measured on simulated sets, one for each of `alike`."""
    rows, persons, names = calibration_sets(*alike, people=people)
    known = measure_normalisation(rows, persons, VERIFIER, TAIL, names)
    assert known is not None
    return known


def calibration_sets(*alike: float, people: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return embeddings, persons and sets of people with four photos, a set for each of `alike`."""
    sets = [album(100 + number, people, 4, one) for number, one in enumerate(alike)]
    persons = [np.char.add(f"{number}", who) for number, (_, who) in enumerate(sets)]
    names = np.repeat([f"alike {one:g}" for one in alike], people * 4)
    return np.concatenate([rows for rows, _ in sets]), np.concatenate(persons), names
