"""The embedder as an ONNX graph, with preprocessing inside and reproducible bytes."""

import logging
import warnings
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.faces.quality import FACE
from faceops.release.onnx_graph import canonical_onnx, constants_of, remove_unused, replace_nodes

# As in `faceops.embedding.embedder.ClippedHighlights`, of which a test compares the results.
CLIPPED, MOST_CLIPPED = 249.0, 1632.5 / 5440


def replace_prelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with x + relu((slope - 1) * x) for each PRelu of constant slopes.

    ONNX Runtime's PRelu kernel is scalar on a CPU and breaks the blocked layout (NCHWc) of the
    convolutions around it: it took half of SFace's time. The product is a depthwise 1 x 1
    convolution: the Relu behind it is free, and int8 has a scale for each of its weights. Where a
    slope is above 1 it is x + (1 - slope) * relu(-x), with two such convolutions. Outputs agree
    within rounding (3e-7 for SFace).

    ONNX Runtime computes the weights once, at loading: the copy has none of its own but -1. A PRelu
    without one slope for each channel of an image stays.
    """
    changed = deepcopy(model)
    graph, make = changed.graph, helper.make_node
    constants = constants_of(graph)
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, values: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(values, name))
        return name

    def scale(value: str, weight: str, channels: int) -> str:
        output = f"{weight}_product"
        nodes.append(make("Conv", [value, weight], [output], group=channels, kernel_shape=[1, 1]))
        return output

    one = constant("one", np.array(1, np.float32))
    shape = constant("per_channel", np.array([-1, 1, 1, 1]))
    for node in graph.node:
        slopes = constants.get(node.input[1]) if node.op_type == "PRelu" else None
        if slopes is None or slopes.shape[-2:] != (1, 1) or slopes.size == 1:
            nodes.append(node)
            continue
        (value, slope), output, channels = node.input, node.output[0], slopes.size
        rest, weight, below = (f"{output}_{what}" for what in ("rest", "weight", "below"))
        inverted = slopes.max() > 1
        nodes += [
            make("Sub", [one, slope] if inverted else [slope, one], [rest]),
            make("Reshape", [rest, shape], [weight]),
        ]
        before = weight
        if inverted:
            before = constant(f"{output}_minus", np.full((channels, 1, 1, 1), -1, np.float32))
        nodes.append(make("Relu", [scale(value, before, channels)], [below]))
        added = scale(below, weight, channels) if inverted else below
        nodes.append(make("Add", [value, added], [output]))
    replace_nodes(graph, nodes)
    remove_unused(graph)
    return changed


class CropsToEmbeddings(torch.nn.Module):
    """uint8 (B, 112, 112, 3) RGB crops -> float32 (B, D) embeddings by `embedder`."""

    def __init__(self, embedder: torch.nn.Module) -> None:
        super().__init__()
        self.embedder = embedder

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return self.embedder(crops.to(torch.float32).permute(0, 3, 1, 2))


def export_embedder(embedder: torch.nn.Module, opset: int) -> onnx.ModelProto:
    """Return the ONNX model "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, D).

    `embedder` takes float32 (B, 3, 112, 112) RGB 0-255 and is on the CPU. The same model gives
    the same bytes.

    Raises:
        FaceOpsError: the exporter wrote another opset than `opset`.
    """
    module = CropsToEmbeddings(embedder).eval()
    example = torch.zeros(2, 112, 112, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            module,
            (example,),
            input_names=["crops"],
            output_names=["embeddings"],
            opset_version=opset,
            dynamic_shapes={"crops": {0: torch.export.Dim("batch", min=1)}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise FaceOpsError("torch.onnx.export gave no model; use the pinned torch version.")
    model = canonical_onnx(replace_prelu(program.model_proto))
    written = {entry.domain: entry.version for entry in model.opset_import}
    if written.get("", opset) != opset:
        raise FaceOpsError(
            f"the exporter wrote ONNX opset {written['']}, not {opset}; set export.opset to it."
        )
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class Parity:
    """How closely two embeddings of the same crops agree."""

    crops: int
    max_difference: float  # of any value
    min_cosine: float


def measure_parity(torch_embeddings: np.ndarray, onnx_embeddings: np.ndarray) -> Parity:
    """Compare float32 (N, D) L2-normalised embeddings of the same N crops."""
    a, b = torch_embeddings.astype(np.float64), onnx_embeddings.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosine = (a * b).sum(1) / np.maximum(lengths, 1e-12)
    return Parity(len(a), float(np.abs(a - b).max()), float(cosine.min()))


def require_parity(parity: Parity, max_difference: float) -> None:
    """Raise FaceOpsError if the embeddings differ by more than `max_difference` or are NaN."""
    if not parity.max_difference <= max_difference:
        raise FaceOpsError(
            f"torch and ONNX differ by {parity.max_difference:.2g} on {parity.crops} crops, more "
            f"than export.max_difference = {max_difference:g} (smallest cosine "
            f"{parity.min_cosine:.6f}); do not release this export."
        )


def _clipped_highlights(graph: onnx.GraphProto, value: str, output: str) -> list[onnx.NodeProto]:
    """Return the nodes of `ClippedHighlights` from `value` to `output`; add their constants."""

    def constant(name: str, numbers: object, dtype: type = np.float32) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(numbers, dtype), name))
        return name

    starts = constant("face_starts", [part.start for part in FACE], np.int64)
    stops = constant("face_stops", [part.stop for part in FACE], np.int64)
    axes = constant("face_axes", [2, 3], np.int64)
    level, most = constant("clipped_above", CLIPPED), constant("clipped_at_most", MOST_CLIPPED)
    half, make = constant("half", 0.5), helper.make_node
    return [
        make("Slice", [value, starts, stops, axes], ["face"]),
        make("ReduceMax", ["face"], ["face_highest"], axes=[1], keepdims=1),
        make("Greater", ["face_highest", level], ["face_is_clipped"]),
        make("Cast", ["face_is_clipped"], ["face_clipped"], to=TensorProto.FLOAT),
        make("GlobalAveragePool", ["face_clipped"], ["clipped_share"]),
        make("Greater", ["clipped_share", most], ["overexposed"]),
        make("ReduceMin", [value], ["lowest"], axes=[1], keepdims=1),
        make("Add", [value, "lowest"], ["with_lowest"]),
        make("Mul", ["with_lowest", half], ["mixed"]),
        make("Where", ["overexposed", "mixed", value], [output]),
    ]


def adapt_embedder(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with "crops" uint8 (batch, 112, 112, 3) in, L2-normalised "embeddings" out.

    `model` takes one float32 (1, 3, 112, 112) RGB 0-255 image and returns (1, D), as the
    published SFace does; its own scaling stays inside. Before it stands `ClippedHighlights`, as
    in `build_sface`. Its weights stay as they are and in their order: `faceops.registry.published`
    takes them from the published file. Its opset is below 18.
    """
    adapted = replace_prelu(model)
    graph = adapted.graph
    constants = {tensor.name for tensor in graph.initializer}
    (source,) = [item for item in graph.input if item.name not in constants]
    (sink,) = graph.output
    size = sink.type.tensor_type.shape.dim[1].dim_value
    before = [
        helper.make_node("Cast", ["crops"], ["crops_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["crops_float"], ["planes"], perm=[0, 3, 1, 2]),
        *_clipped_highlights(graph, "planes", source.name),
    ]
    after = helper.make_node("LpNormalization", [sink.name], ["embeddings"], axis=1, p=2)
    replace_nodes(graph, [*before, *graph.node, after])
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.append(
        helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 112, 112, 3])
    )
    graph.output.append(
        helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", size])
    )
    onnx.checker.check_model(adapted, full_check=True)
    return adapted
