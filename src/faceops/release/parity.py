"""Parity: torch and ONNX Runtime must agree on real crops."""

from dataclasses import dataclass

import numpy as np

from faceops.errors import FaceOpsError


@dataclass(frozen=True)
class Parity:
    """How closely two embeddings of the same crops agree."""

    crops: int
    max_difference: float  # of any value
    min_cosine: float


def measure_parity(torch_embeddings: np.ndarray, onnx_embeddings: np.ndarray) -> Parity:
    """Compare float32 (N, D) L2-normalised embeddings of the same N crops."""
    difference = np.abs(torch_embeddings - onnx_embeddings)
    cosine = (torch_embeddings.astype(np.float64) * onnx_embeddings).sum(1)
    lengths = np.linalg.norm(torch_embeddings, axis=1) * np.linalg.norm(onnx_embeddings, axis=1)
    return Parity(
        crops=len(torch_embeddings),
        max_difference=float(difference.max()),
        min_cosine=float((cosine / np.maximum(lengths, 1e-12)).min()),
    )


def require_parity(parity: Parity, max_difference: float) -> None:
    """Raise FaceOpsError where the embeddings differ by more than `max_difference` or are NaN."""
    if not parity.max_difference <= max_difference:
        raise FaceOpsError(
            f"torch and ONNX differ by {parity.max_difference:.2g} on {parity.crops} crops, more "
            f"than export.max_difference = {max_difference:g} (smallest cosine "
            f"{parity.min_cosine:.6f}); do not release this export."
        )
