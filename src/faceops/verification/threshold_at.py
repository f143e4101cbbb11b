"""The threshold that keeps a false accept rate on measured scores, exact also with ties."""

import numpy as np

from faceops.embedding.accept_rates import allowed_false_accepts


def threshold_at(impostor_descending: np.ndarray, far: float) -> float:
    """Return the smallest float32 at or above which at most a share `far` of impostors lies.

    `impostor_descending` is float32 (N,), sorted from high to low; ties fall together.
    """
    allowed = allowed_false_accepts(far, len(impostor_descending))
    if allowed >= len(impostor_descending):
        return 0.0
    first_refused = np.float32(impostor_descending[allowed])
    return float(np.nextafter(first_refused, np.float32(np.inf)))
