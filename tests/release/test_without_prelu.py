"""A graph without PRelu computes what the one with it did."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from faceops.release.embedder_graph import replace_prelu

SLOPES = np.array([-0.8, 0.0, 0.25, 1.0, 1.5], np.float32).reshape(1, 5, 1, 1)


def _model(slope_is_constant: bool) -> onnx.ModelProto:
    shape = ["n", 5, 3, 3]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    slopes = [numpy_helper.from_array(SLOPES, "slope")]
    if not slope_is_constant:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, [1, 5, 1, 1]))
        slopes = []
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"])],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        slopes,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_the_function_stays_the_same_for_slopes_of_either_sign() -> None:
    x = np.random.default_rng(1).normal(0, 50, (7, 5, 3, 3)).astype(np.float32)
    changed = replace_prelu(_model(slope_is_constant=True))
    onnx.checker.check_model(changed, full_check=True)
    assert {node.op_type for node in changed.graph.node} == {"Relu", "Mul", "Add"}
    session = onnxruntime.InferenceSession(
        changed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    expected = np.where(x > 0, x, SLOPES * x)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)


def test_a_slope_that_is_computed_is_left_alone() -> None:
    model = _model(slope_is_constant=False)
    assert replace_prelu(model).SerializeToString() == model.SerializeToString()
