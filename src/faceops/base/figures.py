"""Figures of error rates: the receiver operating characteristic, and rounding for JSON.

A pair is accepted when its score is at least the threshold, and TAR at a FAR is taken at the lowest
threshold that keeps the FAR, without interpolation; tied scores are accepted or rejected together.
Only the ranks of genuine scores among impostor scores are needed, so millions of pairs are counted
in blocks (scikit-learn's curves hold all scores).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


def allowed_false_accepts(far: float, impostors: int) -> int:
    """Return how many of `impostors` pairs may be accepted at the false accept rate `far`."""
    # The product may be rounded, such as 2.9999999999999996 for 3.
    return math.floor(far * impostors + 1e-9)


def threshold_at(impostor_descending: np.ndarray, far: float) -> float:
    """Return the smallest float32 that at most a share `far` of the impostors reaches.

    `impostor_descending` is float32 (N,), sorted from high to low; equal scores stay together.
    """
    allowed = allowed_false_accepts(far, len(impostor_descending))
    if allowed >= len(impostor_descending):
        return 0.0
    return float(np.nextafter(np.float32(impostor_descending[allowed]), np.float32(np.inf)))


POINTS = 200


@dataclass(frozen=True)
class Roc:
    """The ranks of the G genuine scores among the impostor scores."""

    genuine: np.ndarray  # float32 (G,), rising
    below: np.ndarray  # int64 (G,): impostor pairs with a lower score
    upto: np.ndarray  # int64 (G,): with a lower or equal score
    impostors: int  # impostor pairs

    @property
    def auc(self) -> float:
        """Area under the curve: P(genuine > impostor) + P(equal) / 2; NaN without both kinds."""
        pairs = 2.0 * self.impostors * len(self.genuine)
        return float((self.below + self.upto).sum(dtype=np.float64) / pairs) if pairs else np.nan

    def tar(self, far: float) -> float:
        """Return the true accept rate where at most a share `far` of impostor pairs passes."""
        return float(self._tar(np.array([allowed_false_accepts(far, self.impostors)]))[0])

    def curve(self, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Return (FAR, TAR), float64 (P,), rising; FAR evenly spaced by log, from one pair up."""
        allowed = np.unique(np.geomspace(1, self.impostors, points).round().astype(np.int64))
        return allowed / self.impostors, self._tar(allowed)

    @cached_property
    def _at_or_above(self) -> np.ndarray:
        return (self.impostors - self.below)[::-1]

    def _tar(self, allowed: np.ndarray) -> np.ndarray:
        passed = np.searchsorted(self._at_or_above, allowed, side="right")
        return passed / max(len(self.genuine), 1)


def roc(genuine: np.ndarray, impostor: np.ndarray) -> Roc:
    """Return the curve of the scores (G,) of genuine pairs and (M,) of impostor pairs."""
    genuine, impostor = (np.sort(np.asarray(part, np.float32)) for part in (genuine, impostor))
    below, upto = (np.searchsorted(impostor, genuine, side) for side in ("left", "right"))
    return Roc(genuine, below.astype(np.int64), upto.astype(np.int64), len(impostor))


def rounded(value: Any) -> Any:
    """Return nested dictionaries and lists with every float at six digits; NaN becomes None."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
