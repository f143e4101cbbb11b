"""The verifier as an ONNX graph: sigmoid(calibration(((a - b)^2) @ weight + bias))."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceops.verification.calibration import Calibration
from faceops.verification.verifier import Verifier

# The newest one that every supported onnx and onnxruntime reads.
IR_VERSION = 10
METHOD_KEY = "calibration"  # of the model's metadata


def verifier_graph(verifier: Verifier, opset: int) -> onnx.ModelProto:
    """Return the model: `a`, `b` float32 (batch, D) -> `probability` float32 (batch,).

    `pair_verifier` reads the initialisers back, by their names.
    """
    size = len(verifier.weight)
    knotted = len(verifier.calibration.knots) > 0
    values = {"weight": verifier.weight, "bias": np.array(verifier.bias)}
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squared"]),
        helper.make_node("MatMul", ["squared", "weight"], ["evidence"]),
        helper.make_node("Add", ["evidence", "bias"], ["raw" if knotted else "logit"]),
    ]
    if knotted:
        nodes += _calibration_nodes()
        values |= _calibration_values(verifier.calibration)
    nodes.append(helper.make_node("Sigmoid", ["logit"], ["probability"]))
    initialisers = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in values.items()]
    if knotted:
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
    """Return the nodes from "raw" (batch,) to "logit" (batch,).

    Each stretch between two knots adds its rise by the share of it that lies below the raw
    logit: all terms have one sign, so float32 loses nothing, as a sum of changes of slope would.
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
