"""The map from a verifier's raw logit to calibrated log odds."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

# none: the raw logit is taken for log odds. platt (Platt 1999) and temperature (Guo et al. 2017)
# are affine and live in the verifier's weight and bias; isotonic has knots besides.
Method = Literal["none", "platt", "temperature", "isotonic"]
METHODS: tuple[Method, ...] = ("none", "platt", "temperature", "isotonic")


def _no_knots() -> np.ndarray:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing, piecewise linear map: it changes no ranking.

    `knots` float32 (K,) are raw logits, `log_odds` float32 (K,) their calibrated values, both
    strictly rising; K is 0 (the identity) or at least 2. Below the first and above the last knot
    the slope is 1, so that the order survives where nothing was measured.

    Raises:
        ValueError: the knots are no such map.
    """

    method: Method = "none"
    knots: np.ndarray = field(default_factory=_no_knots)
    log_odds: np.ndarray = field(default_factory=_no_knots)

    def __post_init__(self) -> None:
        pair = (self.knots, self.log_odds)
        if self.method not in METHODS:
            raise ValueError(f"calibration method {self.method!r} is none of {', '.join(METHODS)}")
        if any(a.ndim != 1 or len(a) != len(self.knots) for a in pair) or len(self.knots) == 1:
            raise ValueError("a calibration has no knots, or two or more with a value each")
        if any(not np.isfinite(a).all() or (np.diff(a) <= 0).any() for a in pair):
            raise ValueError("a calibration's knots and their values are finite and rise strictly")

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return the log odds, float32 of the shape of `raw` (float32 logits)."""
        raw = np.asarray(raw, np.float32)
        if not len(self.knots):
            return raw
        inside = np.interp(raw, self.knots, self.log_odds)
        outside = raw - np.clip(raw, self.knots[0], self.knots[-1])
        result: np.ndarray = (inside + outside).astype(np.float32)
        return result

    def to_json(self) -> dict[str, Any]:
        """Return plain values, exact in float32."""
        return {
            "method": self.method,
            "knots": [float(value) for value in self.knots],
            "log_odds": [float(value) for value in self.log_odds],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Calibration":
        """Read what `to_json` gave; KeyError, TypeError or ValueError where it is damaged."""
        knots, values = (np.array(content[key], np.float32) for key in ("knots", "log_odds"))
        return cls(content["method"], knots, values)
