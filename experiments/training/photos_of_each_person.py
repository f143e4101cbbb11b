"""A closed set: the same people train and test, by different photos."""

import numpy as np

LEAST = 10  # photos a person, else they are left out
VAL, TEST = 0.2, 0.2  # shares of each person's photos


def split_photos(persons: np.ndarray, seed: int, least: int = LEAST) -> np.ndarray:
    """Return text (N,): "train", "val" or "test" for each photo, "" of people with fewer photos.

    Each person's photos are drawn at random, so photos of one occasion may stand on both sides:
    a closed set is easier than telling strangers apart.
    """
    draw = np.random.default_rng(seed)
    splits = np.full(len(persons), "", dtype="<U5")
    for person in np.unique(persons):
        rows = draw.permutation(np.flatnonzero(persons == person))
        if len(rows) < least:
            continue
        val, test = (max(1, round(share * len(rows))) for share in (VAL, TEST))
        splits[rows[:test]] = "test"
        splits[rows[test : test + val]] = "val"
        splits[rows[test + val :]] = "train"
    return splits
