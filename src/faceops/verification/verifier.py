"""The pair verifier: how probable it is that two embeddings show one person."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from faceops.errors import FaceOpsError

Kind = Literal["linear", "distance"]


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logit)), without overflow, as float32 of the same shape."""
    logit = np.asarray(logit, np.float64)
    small = np.exp(-np.abs(logit))
    return (np.where(logit >= 0, 1.0, small) / (1.0 + small)).astype(np.float32)


@dataclass(frozen=True)
class Verifier:
    """A linear layer on the element-wise squared differences of two embeddings.

    `weight` is float32 (D,), not above 0; `kind` says whether its entries were fitted one by
    one ("linear") or are all the same ("distance": the plain squared distance, calibrated).
    Probabilities are calibrated for as many pairs of one person as of two.
    """

    weight: np.ndarray
    bias: float
    kind: Kind

    def logit(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the log odds, float32, for `a` and `b` (..., D), broadcast over rows."""
        difference = np.asarray(a, np.float32) - np.asarray(b, np.float32)
        return (difference * difference) @ self.weight + np.float32(self.bias)

    def probability(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the probability of one person, float32 in 0..1, for `a` and `b` (..., D)."""
        return sigmoid(self.logit(a, b))

    def save(self, path: Path) -> None:
        """Write the verifier as JSON; the same verifier gives the same bytes."""
        content = {
            "kind": self.kind,
            "bias": float(self.bias),
            "weight": [float(value) for value in self.weight],
        }
        temporary = path.with_name(path.name + ".tmp")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Verifier":
        """Read what `save` wrote.

        Raises:
            FaceOpsError: the file is absent, no JSON, or not a verifier.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text("utf-8"))
            weight = np.array(content["weight"], np.float32)
            kind: Kind = "linear" if content["kind"] == "linear" else "distance"
            bias = float(content["bias"])
        except FileNotFoundError:
            raise FaceOpsError(f"{path} does not exist; run the verify stage.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise FaceOpsError(
                f"{path} is not a verifier ({type(error).__name__}: {error}); "
                "run the verify stage again."
            ) from None
        if weight.ndim != 1 or not np.isfinite(weight).all():
            raise FaceOpsError(f"{path} is not a verifier; run the verify stage again.")
        return cls(weight, bias, kind)
