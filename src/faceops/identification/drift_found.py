"""What a comparison with the calibration found; how it is made: `drift`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Drift:
    """One comparison.

    Attributes:
        what: that was compared.
        faces: how many faces were seen.
        expected, seen: shares in the bins, in order; they sum to 1.
        psi: the index.
        level: "none", "moderate" or "major".
        advice: what changed and what to do; empty where nothing did.
    """

    what: str
    faces: int
    expected: list[float]
    seen: list[float]
    psi: float
    level: str
    advice: str
