"""For each face the template of another person that it is likest."""

import numpy as np

from faceops.base.progress import track
from faceops.verification.verifier import Verifier

_BLOCK = 1 << 22  # scores at a time: 16 MB


def nearest_other(
    faces: np.ndarray,
    person: np.ndarray,
    templates: np.ndarray,
    owner: np.ndarray,
    verifier: Verifier,
    block: int = _BLOCK,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the likest template of another person: rows int64 (N,) and log odds float32 (N,).

    -1 and -inf where there is no other person. Memory: `block` scores, whatever N and M.

    Args:
        faces: float32 (N, D), L2-normalised.
        person: int64 (N,), whose they are labelled to be.
        templates: float32 (M, D), L2-normalised.
        owner: int64 (M,), whose the templates are.
        verifier: scores pairs.
        block: scores held at once.
    """
    row = np.full(len(faces), -1, np.int64)
    best = np.full(len(faces), -np.inf, np.float32)
    if not len(templates):
        return row, best
    step = max(block // len(templates), 1)
    for start in track(range(0, len(faces), step), "comparing with other people"):
        part = slice(start, start + step)
        scores = verifier.logit_matrix(faces[part], templates)
        scores[person[part, None] == owner[None]] = -np.inf
        row[part] = scores.argmax(1)
        best[part] = scores.max(1)
    row[np.isneginf(best)] = -1
    return row, best
