"""The verifier as an ONNX graph: sigmoid(((a - b)^2) @ weight + bias)."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceops.verification.verifier import Verifier

# The newest one that every supported onnx and onnxruntime reads.
IR_VERSION = 10


def verifier_graph(verifier: Verifier, opset: int) -> onnx.ModelProto:
    """Return the model: `a`, `b` float32 (batch, D) -> `probability` float32 (batch,)."""
    size = len(verifier.weight)
    nodes = [
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["squared"]),
        helper.make_node("MatMul", ["squared", "weight"], ["evidence"]),
        helper.make_node("Add", ["evidence", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "verifier",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name in ("a", "b")
        ],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
        [
            numpy_helper.from_array(verifier.weight.astype(np.float32), "weight"),
            numpy_helper.from_array(np.array(verifier.bias, np.float32), "bias"),
        ],
    )
    model = helper.make_model(
        graph, producer_name="faceops", opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model
