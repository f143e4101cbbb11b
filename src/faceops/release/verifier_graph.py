"""The verifier as an ONNX graph: sigmoid(calibration(((a - b)^2) @ weight + bias))."""

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.release.bundle import Bundle
from faceops.release.contract import VERIFIER
from faceops.verification.verifier import Calibration, Verifier

# The newest that every supported version of onnx and onnxruntime reads.
IR_VERSION = 10
METHOD_KEY = "calibration"  # in the metadata


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


def pair_verifier(bundle: Bundle) -> Verifier:
    """Return the verifier that `bundle`'s verifier.onnx computes.

    Raises:
        FaceOpsError: the file is not a verifier of this project, or not for these embeddings.
    """
    path = bundle.folder / VERIFIER
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
        known = bundle.release.thresholds.normalisation
        verifier = Verifier(
            values["weight"],
            float(values["bias"]),
            bundle.release.verifier_kind,
            Calibration(method, knots, log_odds.astype(np.float32)),
            tuple(known.parts) if known else (),
        )
    except (OSError, DecodeError, KeyError, ValueError, TypeError) as error:
        raise FaceOpsError(
            f"{path} is not a pair verifier of this project ({type(error).__name__}: {error}); "
            "export the bundle again."
        ) from None
    if len(verifier.weight) != bundle.release.embedding_size:
        raise FaceOpsError(
            f"{path} compares embeddings of {len(verifier.weight)} numbers, release.json says "
            f"{bundle.release.embedding_size}; export the bundle again."
        )
    return verifier
