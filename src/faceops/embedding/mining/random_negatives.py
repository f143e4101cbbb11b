"""Random faces of other people, to go with the hard ones of global mining."""

import numpy as np


def random_negatives(
    labels: np.ndarray, anchors: np.ndarray, count: int, draw: np.random.Generator
) -> np.ndarray:
    """Return int64 (A, count): for each anchor, rows drawn uniformly from those of other people.

    A row may come twice. Where there is no other person, -1 stands.

    Args:
        labels: int64 (N,), the person of each row.
        anchors: int64 (A,), rows.
    """
    by_person = np.argsort(labels, kind="stable")
    ordered = labels[by_person]
    who = labels[anchors][:, None]
    start = np.searchsorted(ordered, who)
    own = np.searchsorted(ordered, who, side="right") - start
    others = len(labels) - own  # (A, 1)
    place = draw.integers(0, np.maximum(others, 1), size=(len(anchors), count))
    place += np.where(place >= start, own, 0)  # pass over the anchor's own person
    return np.where(others > 0, by_person[place % max(len(labels), 1)], -1)
