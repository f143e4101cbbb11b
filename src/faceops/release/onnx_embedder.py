"""An embedder that is an ONNX file already, given this project's inputs and outputs."""

import onnx
from onnx import TensorProto, helper

from faceops.release.without_prelu import without_prelu


def adapt_embedder(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with "crops" uint8 (batch, 112, 112, 3) in, L2-normalised "embeddings" out.

    `model` takes one float32 (1, 3, 112, 112) RGB 0-255 image and gives (1, D), as SFace's
    published file does; its own scaling stays inside.
    """
    adapted = without_prelu(model)
    graph = adapted.graph
    constants = {tensor.name for tensor in graph.initializer}
    (source,) = [item for item in graph.input if item.name not in constants]
    (sink,) = graph.output
    size = sink.type.tensor_type.shape.dim[1].dim_value
    before = [
        helper.make_node("Cast", ["crops"], ["crops_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["crops_float"], [source.name], perm=[0, 3, 1, 2]),
    ]
    after = helper.make_node("LpNormalization", [sink.name], ["embeddings"], axis=1, p=2)
    nodes = [*before, *graph.node, after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.input.append(
        helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 112, 112, 3])
    )
    graph.output.append(
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", size])
    )
    onnx.checker.check_model(adapted, full_check=True)
    return adapted
