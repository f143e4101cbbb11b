"""Log odds of a probability: near 1 they tell apart what differences of probabilities cannot."""

import numpy as np

CLIP = 1e-7  # float32 probabilities hold no more


def clipped_log_odds(probability: np.ndarray | float) -> np.ndarray:
    """Return ln(p / (1 - p)), float64 of the same shape, of p clipped: -16.1 to 16.1."""
    clipped = np.clip(np.asarray(probability, np.float64), CLIP, 1 - CLIP)
    odds: np.ndarray = np.log(clipped / (1 - clipped))
    return odds
