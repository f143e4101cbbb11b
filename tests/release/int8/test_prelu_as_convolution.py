"""PReLU as a depthwise convolution computes what it did."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from faceops.release.embedder_graph import replace_prelu
from faceops.release.int8.quantise import prelu_as_convolution


def prelu(slopes: list[float]) -> onnx.ModelProto:
    """Return y = PReLU(x), as `replace_prelu` writes it."""
    channels = len(slopes)
    slope = np.array(slopes, np.float32).reshape(1, channels, 1, 1)
    shape = ["n", channels, 3, 3]
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"])],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(slope, "slope")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return replace_prelu(made)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("slopes", "operations"),
    [
        ([-0.8, 0.0, 0.25, 1.0], {"Conv", "Relu", "Add"}),
        ([-0.8, 0.25, 1.2], {"Relu", "Mul", "Add"}),  # above 1: as it was
    ],
)
def test_the_function_stays_the_same(slopes: list[float], operations: set[str]) -> None:
    before = prelu(slopes)
    after = prelu_as_convolution(before)
    onnx.checker.check_model(after, full_check=True)
    assert {node.op_type for node in after.graph.node} == operations
    x = np.random.default_rng(1).normal(0, 50, (7, len(slopes), 3, 3)).astype(np.float32)
    np.testing.assert_allclose(run(after, x), run(before, x), rtol=1e-5, atol=1e-5)


def test_a_sum_that_is_no_prelu_is_left_alone() -> None:
    model = prelu([0.5, 0.2])
    for tensor in model.graph.initializer:
        if tensor.name.endswith("_rest"):
            other = numpy_helper.to_array(tensor) * 2
            tensor.CopyFrom(numpy_helper.from_array(other, tensor.name))
    assert prelu_as_convolution(model).SerializeToString() == model.SerializeToString()
