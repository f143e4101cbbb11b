"""Read the pair verifier back from a bundle's verifier.onnx, to score all pairs by matrices."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import VERIFIER
from faceops.verification.calibration import Calibration
from faceops.verification.verifier import Kind, Verifier

MAX_DIFFERENCE = 1e-5  # of a probability
_RESOLUTION = float(np.finfo(np.float32).eps)
_PAIRS = 4096


def pair_verifier(bundle: Bundle) -> Verifier:
    """Return the verifier that `bundle`'s verifier.onnx computes.

    Held against the graph itself, run by ONNX Runtime, on random pairs of every closeness.

    Raises:
        FaceOpsError: the file holds no graph of this project's, or computes something else.
    """
    path = bundle.folder / VERIFIER
    verifier = _read(path, bundle.release.verifier_kind)
    if len(verifier.weight) != bundle.release.embedding_size:
        raise FaceOpsError(
            f"{path} compares embeddings of {len(verifier.weight)} numbers, release.json says "
            f"{bundle.release.embedding_size}; export the bundle again."
        )
    difference = largest_difference(verifier, bundle.verify)
    # Unit vectors are at most 2 apart: where weights are large, float32 itself is coarser.
    allowed = max(MAX_DIFFERENCE, 4 * _RESOLUTION * float(np.abs(verifier.weight).max()))
    if not difference <= allowed:
        raise FaceOpsError(
            f"{path} gives probabilities that differ by {difference:.2g} from those of the "
            f"weights read from it, more than {allowed:.2g}; export the bundle again."
        )
    return verifier


def largest_difference(
    verifier: Verifier, verify: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> float:
    """Return the largest difference in probability of `verify` from `verifier`, seeded.

    On pairs of unit vectors, from identical to unrelated, by rows and by the matrix product.
    """
    draw = np.random.default_rng(0)
    size = len(verifier.weight)
    a = draw.normal(size=(_PAIRS, size))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    towards = draw.normal(size=(_PAIRS, size))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    b = a + np.linspace(0, 3, _PAIRS)[:, None] * towards
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    a, b = a.astype(np.float32), b.astype(np.float32)
    by_graph = verify(a, b)
    rows = verifier.probability(a, b)
    block = slice(0, _PAIRS, 16)
    matrix = np.diagonal(verifier.probability_matrix(a[block], b[block]))
    differences = (np.abs(by_graph - rows).max(), np.abs(by_graph[block] - matrix).max())
    return float(np.max(differences))


def _read(path: Path, kind: Kind) -> Verifier:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import numpy_helper

    try:
        model = onnx.load(path)
        values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
        # Without the key, it is from when all calibrations were Platt's.
        method = {p.key: p.value for p in model.metadata_props}.get("calibration", "platt")
        knots = log_odds = np.zeros(0, np.float32)
        if "rises" in values:
            knots = np.append(values["starts"], values["last_knot"])
            rises = values["rises"].astype(np.float64)
            log_odds = values["first_log_odds"] + np.append(0, np.cumsum(rises))
        calibration = Calibration(method, knots, log_odds.astype(np.float32))
        return Verifier(values["weight"], float(values["bias"]), kind, calibration)
    except (OSError, DecodeError, KeyError, ValueError, TypeError) as error:
        raise FaceOpsError(
            f"{path} is not a pair verifier of this project's ({type(error).__name__}: {error}); "
            "export the bundle again."
        ) from None
