"""Make YuNet's ONNX file, which has the fixed input 640 x 640, accept photos of any size.

A file of its own because it needs `onnx`, which detection itself does not.
"""

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper

from faceops.base.errors import FaceOpsError


def with_symbolic_size(model: bytes) -> bytes:
    """Return YuNet's ONNX file with symbolic height and width: (1, 3, height, width).

    The graph is fully convolutional up to the reshapes at its heads, and those are by -1; so it
    runs at any multiple of 32. The same bytes come out for the same bytes in.

    Raises:
        FaceOpsError: `model` is not an ONNX file, or another graph than YuNet's.
    """
    try:
        proto = onnx.load_model_from_string(model)
    except DecodeError as error:
        raise FaceOpsError(
            f"the detector's file is not an ONNX model ({error}); supply it again."
        ) from None
    graph = proto.graph
    constants = {item.name: item for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Reshape":
            shape = constants.get(node.input[1])
            if shape is None or -1 not in numpy_helper.to_array(shape):
                raise FaceOpsError(
                    f"the detector's operator {node.name} fixes a size; use YuNet 2023mar."
                )
    inputs = [item for item in graph.input if item.name not in constants]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise FaceOpsError("the detector must have one four-dimensional input; use YuNet 2023mar.")
    for axis, name in ((2, "height"), (3, "width")):
        inputs[0].type.tensor_type.shape.dim[axis].dim_param = name
    for output in graph.output:
        output.type.tensor_type.shape.dim[1].dim_param = f"anchors_{output.name.rsplit('_', 1)[1]}"
    del graph.value_info[:]  # the stale shapes of the fixed size
    onnx.checker.check_model(proto)
    return proto.SerializeToString(deterministic=True)
