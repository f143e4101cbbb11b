"""The pair verifier: the probability that two embeddings are of the same person."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_json

# none: the raw logit is the log odds. platt and temperature are affine and are part of the
# verifier's weight and bias; isotonic also has knots. See `calibration`.
Method = Literal["none", "platt", "temperature", "isotonic"]
METHODS: tuple[Method, ...] = ("none", "platt", "temperature", "isotonic")


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing, piecewise linear map: it keeps the ranking.

    `knots` float32 (K,) are raw logits, `log_odds` float32 (K,) their calibrated values, both
    strictly rising; K is 0 (the identity) or at least 2. Outside the knots the slope is 1.

    Raises ValueError: the knots are not such a map.
    """

    method: Method = "none"
    knots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    log_odds: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        pair = (self.knots, self.log_odds)
        if self.method not in METHODS:
            raise ValueError(f"calibration method {self.method!r} is unknown: {', '.join(METHODS)}")
        if any(a.ndim != 1 or len(a) != len(self.knots) for a in pair) or len(self.knots) == 1:
            raise ValueError("a calibration has no knots, or at least two with a value each")
        if any(not np.isfinite(a).all() or (np.diff(a) <= 0).any() for a in pair):
            raise ValueError("a calibration's knots and values must be finite and strictly rising")

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Return the log odds, float32 of the shape of `raw` (float32 logits)."""
        raw = np.asarray(raw, np.float32)
        if not len(self.knots):
            return raw
        inside = np.interp(raw, self.knots, self.log_odds)
        outside = raw - np.clip(raw, self.knots[0], self.knots[-1])
        return (inside + outside).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, exact in float32."""
        knots, log_odds = self.knots.tolist(), self.log_odds.tolist()
        return {"method": self.method, "knots": knots, "log_odds": log_odds}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Calibration":
        """Read what `to_json` returned; KeyError, TypeError or ValueError if it is damaged."""
        knots, values = (np.array(content[key], np.float32) for key in ("knots", "log_odds"))
        return cls(content["method"], knots, values)


Kind = Literal["linear", "distance"]
# Probabilities float32 (N,) for rows of two tables of embeddings float32 (N, D).
Verify = Callable[[np.ndarray, np.ndarray], np.ndarray]
_CHUNK = 1 << 20  # float64 logits at a time: 8 MB


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logit)), without overflow, as float32 of the same shape."""
    logit = np.asarray(logit)
    flat = logit.reshape(-1)
    result = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK].astype(np.float64)
        small = np.exp(-np.abs(part))
        result[start : start + _CHUNK] = np.where(part >= 0, 1.0, small) / (1.0 + small)
    return result.reshape(logit.shape)


def reaches(scores: np.ndarray | float, threshold: float) -> np.ndarray:
    """Return whether each score is at or above `threshold`, bool of the shape of `scores`.

    The comparison is in float64 wherever faces are named or evaluated: NumPy would round a Python
    float to the float32 of the scores, which accepts scores just below the threshold.
    """
    return np.greater_equal(scores, np.float64(threshold))


class Part(NamedTuple):
    """The numbers of one network in an embedding in which those of several are side by side."""

    size: int
    share: float  # their squared length, and the network's weight in normalised scores


def columns_of(parts: Sequence[Part], size: int) -> list[tuple[slice, float]]:
    """Return columns and share of each network in embeddings of `size` numbers.

    No `parts` are one network.
    """
    columns, end = [], 0
    for part in parts or [Part(size, 1.0)]:
        columns.append((slice(end, end + part.size), part.share))
        end += part.size
    return columns


@dataclass(frozen=True)
class Verifier:
    """A linear layer on the element-wise squared differences of two embeddings, calibrated.

    `weight` is float32 (D,), with entries that were fitted ("linear") or are all the same
    ("distance": the squared distance). `calibration` maps the layer's raw logit to log odds. The
    probabilities assume equal priors: as many genuine as impostor pairs. `parts` are those of the
    embeddings, in order; none if they come from one network.
    """

    weight: np.ndarray
    bias: float
    kind: Kind
    calibration: Calibration = field(default_factory=Calibration)
    parts: tuple[Part, ...] = ()

    def logit(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds, float32, for `a` and `b` (..., D), broadcast over rows."""
        difference = np.asarray(a, np.float32) - np.asarray(b, np.float32)
        return self.calibration((difference * difference) @ self.weight + np.float32(self.bias))

    def probability(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the probability of a genuine pair, float32 in 0..1, for `a` and `b` (..., D)."""
        return sigmoid(self.logit(a, b))

    def logit_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds float32 (N, M) of every row of `a` (N, D) with every row of `b`.

        One matrix product: w . (a - b)^2 = w . a^2 + w . b^2 - 2 (w a) . b. The result takes
        4 N M bytes; pass blocks of rows where that is too much.
        """
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        weight = self.weight.astype(np.float64)
        result = (-2 * self.weight * a) @ b.T
        result += (a.astype(np.float64) ** 2 @ weight + self.bias).astype(np.float32)[:, None]
        result += (b.astype(np.float64) ** 2 @ weight).astype(np.float32)
        return self.calibration(result)

    def probability_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the probabilities float32 (N, M) of rows `a` (N, D) with rows `b` (M, D)."""
        return sigmoid(self.logit_matrix(a, b))

    def save(self, path: Path) -> None:
        """Write the verifier as JSON; equal verifiers give equal bytes."""
        content = {
            "kind": self.kind,
            "bias": float(self.bias),
            "weight": self.weight.tolist(),
            "calibration": self.calibration.to_json(),
            "parts": [list(part) for part in self.parts],
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: Path) -> "Verifier":
        """Read what `save` wrote. Files of older versions name no calibration: it was Platt's.

        Raises FaceOpsError: the file is absent or not a verifier.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
            weight = np.array(content["weight"], np.float32)
            kind, bias = content["kind"], float(content["bias"])
            parts = tuple(Part(int(size), float(share)) for size, share in content.get("parts", []))
            saved = content.get("calibration")
            calibration = Calibration.from_json(saved) if saved else Calibration("platt")
            if kind not in ("linear", "distance"):
                raise ValueError(f"kind {kind!r} is not linear or distance")
            if weight.ndim != 1 or not len(weight) or not np.isfinite([*weight, bias]).all():
                raise ValueError("weight and bias are not finite numbers")
        except FileNotFoundError:
            raise FaceOpsError(f"{path} does not exist; run the verify stage.") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FaceOpsError(
                f"{path} is not a verifier ({type(error).__name__}: {error}); "
                "run the verify stage again."
            ) from None
        return cls(weight, bias, kind, calibration, parts)


CLIP = 1e-7  # the resolution of float32 probabilities


def clipped_log_odds(probability: np.ndarray | float) -> np.ndarray:
    """Return ln(p / (1 - p)), float64 of the same shape, clipped to -16.1 to 16.1."""
    clipped = np.clip(np.asarray(probability, np.float64), CLIP, 1 - CLIP)
    return np.log(clipped / (1 - clipped))
