"""Parity: what was fitted and what is released must agree on real crops."""

from dataclasses import dataclass

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.verification.verifier import Verifier, Verify


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


def verifier_difference(
    verifier: Verifier, verify: Verify, embeddings: np.ndarray, max_difference: float
) -> float:
    """Return the largest difference of `verify` (verifier.onnx) from `verifier` on all pairs.

    `embeddings` are float32 (N, D); each row is paired with each, itself included.

    Raises:
        FaceOpsError: a probability differs by more than `max_difference`, or is NaN.
    """
    rows = np.arange(len(embeddings))
    first, second = embeddings[np.repeat(rows, len(rows))], embeddings[np.tile(rows, len(rows))]
    difference = float(np.abs(verify(first, second) - verifier.probability(first, second)).max())
    if not difference <= max_difference:
        raise FaceOpsError(
            f"verifier.json and verifier.onnx differ by {difference:.2g} in probability on pairs "
            f"of {len(rows)} crops, more than export.max_difference = {max_difference:g}; do not "
            "release this export."
        )
    return difference
