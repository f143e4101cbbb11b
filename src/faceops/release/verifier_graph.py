"""The verifier as an ONNX graph: sigmoid(calibration(((a - b)^2) @ weight + bias))."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import VERIFIER
from faceops.verification.verifier import Calibration, Kind, Verifier

# The newest that every supported version of onnx and onnxruntime reads.
IR_VERSION = 10
METHOD_KEY = "calibration"  # of the model's metadata


def verifier_graph(verifier: Verifier, opset: int) -> onnx.ModelProto:
    """Return the model: `a`, `b` float32 (batch, D) -> `probability` float32 (batch,).

    `pair_verifier` reads the initialisers by name.
    """
    size = len(verifier.weight)
    isotonic = len(verifier.calibration.knots) > 0
    values = {"weight": verifier.weight, "bias": np.array(verifier.bias)}
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squared"]),
        helper.make_node("MatMul", ["squared", "weight"], ["evidence"]),
        helper.make_node("Add", ["evidence", "bias"], ["raw" if isotonic else "logit"]),
    ]
    if isotonic:
        nodes += _calibration_nodes()
        values |= _calibration_values(verifier.calibration)
    nodes.append(helper.make_node("Sigmoid", ["logit"], ["probability"]))
    initialisers = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in values.items()]
    if isotonic:
        initialisers.append(numpy_helper.from_array(np.array([1], np.int64), "last_axis"))
    graph = helper.make_graph(
        nodes,
        "verifier",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name in ("a", "b")
        ],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
        initialisers,
    )
    model = helper.make_model(
        graph, producer_name="faceops", opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METHOD_KEY: verifier.calibration.method})
    onnx.checker.check_model(model, full_check=True)
    return model


def _calibration_values(calibration: Calibration) -> dict[str, np.ndarray]:
    knots, log_odds = (np.asarray(v, np.float32) for v in (calibration.knots, calibration.log_odds))
    return {
        "first_knot": knots[0],
        "last_knot": knots[-1],
        "first_log_odds": log_odds[0],
        "starts": knots[:-1],
        "widths": np.diff(knots),
        "rises": np.diff(log_odds),
        "zero": np.array(0),
        "one": np.array(1),
    }


def _calibration_nodes() -> list[onnx.NodeProto]:
    """Return the nodes from "raw" (batch,) to "logit" (batch,): a piecewise linear function.

    Each interval between two knots adds its rise times the share of it below the raw logit. All
    terms have one sign, so that float32 loses no precision, unlike a sum of changes of slope.
    """
    return [
        helper.make_node("Clip", ["raw", "first_knot", "last_knot"], ["inside"]),
        helper.make_node("Sub", ["raw", "inside"], ["outside"]),
        helper.make_node("Unsqueeze", ["inside", "last_axis"], ["column"]),
        helper.make_node("Sub", ["column", "starts"], ["past"]),
        helper.make_node("Div", ["past", "widths"], ["part"]),
        helper.make_node("Clip", ["part", "zero", "one"], ["share"]),
        helper.make_node("MatMul", ["share", "rises"], ["risen"]),
        helper.make_node("Add", ["risen", "first_log_odds"], ["between"]),
        helper.make_node("Add", ["between", "outside"], ["logit"]),
    ]


MAX_DIFFERENCE = 1e-5  # of a probability
_RESOLUTION = float(np.finfo(np.float32).eps)
_PAIRS = 4096


def pair_verifier(bundle: Bundle) -> Verifier:
    """Return the verifier that `bundle`'s verifier.onnx computes.

    It is compared with the graph, run by ONNX Runtime, on random pairs at all distances.

    Raises:
        FaceOpsError: the file is not a verifier of this project, or computes something else.
    """
    path = bundle.folder / VERIFIER
    verifier = _read(path, bundle.release.verifier_kind)
    if len(verifier.weight) != bundle.release.embedding_size:
        raise FaceOpsError(
            f"{path} compares embeddings of {len(verifier.weight)} numbers, release.json says "
            f"{bundle.release.embedding_size}; export the bundle again."
        )
    difference = largest_difference(verifier, bundle.verify)
    # With large weights, float32 itself is coarser: unit vectors are up to 2 apart.
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
    """Return the largest difference in probability of `verify` from `verifier`.

    On seeded pairs of unit vectors, from identical to unrelated; `verifier` computes them row by
    row and as a matrix.
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
    try:
        model = onnx.load(path)
        values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
        # Older files have no method: all calibrations were Platt's.
        method = {p.key: p.value for p in model.metadata_props}.get(METHOD_KEY, "platt")
        knots = log_odds = np.zeros(0, np.float32)
        if "rises" in values:
            knots = np.append(values["starts"], values["last_knot"])
            rises = values["rises"].astype(np.float64)
            log_odds = values["first_log_odds"] + np.append(0, np.cumsum(rises))
        calibration = Calibration(method, knots, log_odds.astype(np.float32))
        return Verifier(values["weight"], float(values["bias"]), kind, calibration)
    except (OSError, DecodeError, KeyError, ValueError, TypeError) as error:
        raise FaceOpsError(
            f"{path} is not a pair verifier of this project ({type(error).__name__}: {error}); "
            "export the bundle again."
        ) from None
