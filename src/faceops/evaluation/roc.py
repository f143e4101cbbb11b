"""The receiver operating characteristic of pair scores, exact also with tied scores.

A pair is accepted when its score is at least the threshold, and TAR at a FAR is taken at the
threshold rule of `faceops.verification.threshold_at`: the lowest threshold that keeps the FAR,
no interpolation between points. Only the number of pairs of two people below each pair of one
person enters, so all that and the area under the curve are exact without any other score kept.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from faceops.embedding.accept_rates import allowed_false_accepts

POINTS = 200


@dataclass(frozen=True)
class Roc:
    """Where the scores of pairs of one person, (G,), stand among those of two people."""

    genuine: np.ndarray  # float32, rising
    below: np.ndarray  # int64: pairs of two people with a lower score
    upto: np.ndarray  # int64: with a lower score or the same
    impostors: int  # pairs of two people

    @property
    def auc(self) -> float:
        """Area under the curve: P(genuine > impostor) + P(equal) / 2; NaN without both kinds."""
        pairs = 2.0 * self.impostors * len(self.genuine)
        return float((self.below + self.upto).sum(dtype=np.float64) / pairs) if pairs else np.nan

    @cached_property
    def _at_or_above(self) -> np.ndarray:
        falling: np.ndarray = (self.impostors - self.below)[::-1]
        return falling

    def tar(self, far: float) -> float:
        """Return the true accept rate where at most a share `far` of impostors passes."""
        return float(self._tar(np.array([allowed_false_accepts(far, self.impostors)]))[0])

    def curve(self, points: int = POINTS) -> tuple[np.ndarray, np.ndarray]:
        """Return (far, tar), float64 (P,), rising, at false accept rates evenly spaced by log.

        From one pair of two people to all of them.
        """
        allowed = np.unique(np.geomspace(1, self.impostors, points).round().astype(np.int64))
        return allowed / self.impostors, self._tar(allowed)

    def _tar(self, allowed: np.ndarray) -> np.ndarray:
        passed = np.searchsorted(self._at_or_above, allowed, side="right")
        rates: np.ndarray = passed / max(len(self.genuine), 1)
        return rates


def roc(genuine: np.ndarray, impostor: np.ndarray) -> Roc:
    """Return the curve of scores (N,) of pairs of one person and (M,) of two."""
    genuine, impostor = (np.sort(np.asarray(part, np.float32)) for part in (genuine, impostor))
    below, upto = (np.searchsorted(impostor, genuine, side) for side in ("left", "right"))
    return Roc(genuine, below.astype(np.int64), upto.astype(np.int64), len(impostor))


def roc_auc(genuine: np.ndarray, impostor: np.ndarray) -> float:
    """Return the area under the curve of scores (N,) of one kind and (M,) of the other."""
    return roc(genuine, impostor).auc


def tar_at_far(genuine: np.ndarray, impostor: np.ndarray, far: float) -> float:
    """Return the true accept rate where at most a share `far` of impostors passes."""
    return roc(genuine, impostor).tar(far)
