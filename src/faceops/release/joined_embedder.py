"""An embedder of two networks, SFace and dlib's ResNet, whose cosines are averaged.

Two networks that were trained on different photos err on different faces. Each normalises its
embedding; side by side, scaled by the square roots of their shares, they are one embedding of
length 1 whose cosines are the average of theirs. dlib's network takes a third of SFace's time.
SFace's embeddings are first averaged with those of mirrored crops, and centred.

dlib's ResNet (King 2017, the `face_recognition_resnet_model_v1` of dlib-models) is a ResNet-34 with
fewer layers and half the channels (He et al. 2016). It is written out here from the copy in the npm
package face-api, whose tensors are quantised to 8 bits.
"""

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceops.base.errors import FaceOpsError
from faceops.faces.align import CROP_SIZE, TEMPLATE
from faceops.release import onnx_graph
from faceops.verification.verifier import Part
from faceops.weights import weight_path

DLIB_SIZE = 128
CHIP = 150  # pixels, the side of dlib's input
# The middles of the eyes in a chip: the mean face of dlib's five-point model with a margin of a
# quarter of the face on each side, see `get_face_chip_details` in dlib.
_CHIP_EYES = np.array([[47.73, 47.13], [100.28, 47.13]])
_MEANS, _DIVISOR = (122.782, 117.001, 104.298), 256.0  # RGB
# The residual blocks between two that halve the sides, by their number of channels.
_BLOCKS = {32: 3, 64: 3, 128: 2, 256: 2}


class _Graph:
    """Nodes and constants under construction; each value's name starts with `prefix`."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: np.ndarray) -> str:
        name = f"{self.prefix}c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
        names = [self.constant(one) if isinstance(one, np.ndarray) else one for one in inputs]
        output = f"{self.prefix}v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [output], **attributes))
        return output


class _Tensors:
    """The tensors of a file of tfjs, as nodes that compute them from the file's own bytes.

    ONNX Runtime computes them once, at loading. So the graph holds the published bytes, which is
    what `faceops.registry.published` needs, and is a quarter of the size.
    """

    def __init__(self, content: bytes, manifest: bytes, graph: _Graph) -> None:
        self._content, self._graph = content, graph
        self._places: dict[str, tuple[int, dict[str, Any]]] = {}
        start = 0
        for entry in json.loads(manifest)[0]["weights"]:
            self._places[entry["name"]] = start, entry
            itemsize = np.dtype(entry.get("quantization", entry)["dtype"]).itemsize
            start += int(np.prod(entry["shape"])) * itemsize
        if start != len(content):
            raise ValueError(f"{start} bytes are described, there are {len(content)}")

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._places[name][1]["shape"])

    def __getitem__(self, name: str) -> str:
        start, entry = self._places[name]
        known, graph = entry.get("quantization"), self._graph
        dtype, count = (known or entry)["dtype"], int(np.prod(entry["shape"]))
        values = np.frombuffer(self._content, dtype, count, start).reshape(entry["shape"])
        if known is None:
            return graph.constant(values)
        floats = graph.add("Cast", values, to=TensorProto.FLOAT)
        scaled = graph.add("Mul", floats, np.array(known["scale"], np.float32))
        return graph.add("Add", scaled, np.array(known["min"], np.float32))


def dlib_graph(content: bytes, manifest: bytes, opset: int) -> onnx.ModelProto:
    """Return the ONNX model "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, 128).

    The crop is resampled to dlib's own alignment, which shows the chin's lower edge too: below the
    crop its last row is repeated.

    Args:
        content: `face_recognition_model.bin`.
        manifest: the JSON that names its tensors.

    Raises:
        FaceOpsError: the files do not belong together or are of another network.
    """
    graph = _Graph("dlib_")
    try:
        tensors = _Tensors(content, manifest, graph)
        output = _network(graph, tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise FaceOpsError(
            f"the weights dlib and dlib_manifest do not fit together ({error}); fetch them again "
            "with `faceops weights fetch`."
        ) from None
    graph.nodes.append(helper.make_node("LpNormalization", [output], ["embeddings"], axis=1, p=2))
    return onnx_graph.embedder_model(graph.nodes, graph.constants, DLIB_SIZE, opset)


def _network(graph: _Graph, tensors: _Tensors) -> str:
    across, down = _chip_samples()
    value = graph.add("Cast", "crops", to=TensorProto.FLOAT)
    value = graph.add("Transpose", value, perm=[0, 3, 1, 2])
    value = graph.add("MatMul", graph.add("MatMul", down, value), across.T)
    value = graph.add("Sub", value, np.array(_MEANS, np.float32).reshape(1, 3, 1, 1))
    value = graph.add("Mul", value, np.array(1 / _DIVISOR, np.float32))
    value = _convolution(graph, tensors, value, "conv32_down", stride=2, relu=True)
    value = graph.add("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2])
    side = (((CHIP - 7) // 2 + 1) - 3) // 2 + 1
    for channels, blocks in _BLOCKS.items():
        if channels > 32:
            value, side = _halved(graph, tensors, value, f"conv{channels}_down", side)
        for number in range(1, blocks + 1):
            name = f"conv{channels}_{number}"
            mapped = _convolution(graph, tensors, value, f"{name}/conv1", relu=True)
            mapped = _convolution(graph, tensors, mapped, f"{name}/conv2")
            value = graph.add("Relu", graph.add("Add", mapped, value))
    value, side = _halved(graph, tensors, value, "conv256_down_out", side)
    value = graph.add("Flatten", graph.add("GlobalAveragePool", value))
    return graph.add("MatMul", value, tensors["fc"])


def _convolution(
    graph: _Graph, tensors: _Tensors, value: str, name: str, *, stride: int = 1, relu: bool = False
) -> str:
    """Convolution and the scale per channel that dlib keeps of batch normalisation."""
    scale = tensors[f"{name}/scale/weights"]
    kernel = graph.add("Mul", tensors[f"{name}/conv/filters"], scale)  # (H, W, in, out)
    kernel = graph.add("Transpose", kernel, perm=[3, 2, 0, 1])
    bias = graph.add("Mul", tensors[f"{name}/conv/bias"], scale)
    bias = graph.add("Add", bias, tensors[f"{name}/scale/biases"])
    side = tensors.shape(f"{name}/conv/filters")[0]
    margin = side // 2 if stride == 1 else 0
    value = graph.add(
        "Conv", value, kernel, bias,
        kernel_shape=[side, side], strides=[stride, stride], pads=[margin] * 4,
    )  # fmt: skip
    return graph.add("Relu", value) if relu else value


def _halved(graph: _Graph, tensors: _Tensors, value: str, name: str, side: int) -> tuple[str, int]:
    """A residual block that halves the sides; its shortcut averages and has zeros as new channels.

    Without padding the convolution may give one row and column less than the average; they are 0.
    """
    mapped = _convolution(graph, tensors, value, f"{name}/conv1", stride=2, relu=True)
    mapped = _convolution(graph, tensors, mapped, f"{name}/conv2")
    lacking = (side // 2) - ((side - 3) // 2 + 1)
    if lacking:
        mapped = graph.add("Pad", mapped, np.array([0, 0, 0, 0, 0, 0, lacking, lacking]))
    shortcut = graph.add("AveragePool", value, kernel_shape=[2, 2], strides=[2, 2])
    *_, inputs, outputs = tensors.shape(f"{name}/conv1/conv/filters")
    if outputs > inputs:
        shortcut = graph.add("Pad", shortcut, np.array([0, 0, 0, 0, 0, outputs - inputs, 0, 0]))
    return graph.add("Relu", graph.add("Add", shortcut, mapped)), side // 2


def _chip_samples() -> tuple[np.ndarray, np.ndarray]:
    """Return float32 (150, 112) twice: what each column and row of a chip takes of a crop's."""
    eyes = TEMPLATE[:2].astype(np.float64)
    scale = (_CHIP_EYES[1, 0] - _CHIP_EYES[0, 0]) / (eyes[1, 0] - eyes[0, 0])
    places = (np.arange(CHIP)[:, None] - _CHIP_EYES.mean(axis=0)) / scale + eyes.mean(axis=0)
    places = places.clip(0, CROP_SIZE - 1)
    columns = np.arange(CROP_SIZE)
    across, down = (
        np.maximum(1 - np.abs(axis[:, None] - columns), 0).astype(np.float32) for axis in places.T
    )
    return across, down


def mirror_embedder(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with the mean of each crop's raw embedding and that of its mirror image.

    It takes twice the time; pose and light, in which the two views differ, cancel in part.

    Args:
        model: "crops" in, L2-normalised "embeddings" (batch, D) out; neither centred nor joined.

    Raises:
        ValueError: the value that `model` normalises is not found, see `raw_embedding`.
    """
    raw = raw_embedding(model)
    if raw is None:
        raise ValueError("the network's last operators do not normalise its embeddings")
    mirrored = deepcopy(model)
    graph, make, both = mirrored.graph, helper.make_node, f"{raw}_both"
    shape = [2, -1, onnx_graph.embedding_size(model)]
    constants = {"columns": np.arange(CROP_SIZE)[::-1], "shape": shape, "plain": 0, "mirrored": 1}
    for name, values in constants.items():
        tensor = numpy_helper.from_array(np.array(values, np.int64), f"mirror_{name}")
        graph.initializer.append(tensor)
    names = {"crops": "crops_both", raw: both, "embeddings": "embeddings_both"}
    onnx_graph.rename_values(graph, names)
    onnx_graph.replace_nodes(graph, [
        make("Gather", ["crops", "mirror_columns"], ["crops_mirrored"], axis=2),
        make("Concat", ["crops", "crops_mirrored"], ["crops_both"], axis=0),
        *graph.node,
        make("Reshape", [both, "mirror_shape"], [f"{raw}_halves"]),
        make("Gather", [f"{raw}_halves", "mirror_plain"], [f"{raw}_plain"], axis=0),
        make("Gather", [f"{raw}_halves", "mirror_mirrored"], [f"{raw}_mirrored"], axis=0),
        make("Mean", [f"{raw}_plain", f"{raw}_mirrored"], [raw]),
        make("LpNormalization", [raw], ["embeddings"], axis=1, p=2),
    ])  # fmt: skip
    onnx_graph.remove_unused(graph)
    onnx.checker.check_model(mirrored, full_check=True)
    return mirrored


def without_mirror(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` without what `mirror_embedder` added, or an equal copy if it added nothing.

    It takes half the time. `model` may be centred and joined since.
    """
    once = deepcopy(model)
    for node in model.graph.node:
        if node.op_type == "Reshape" and node.input[1] == "mirror_shape":
            both, mean = node.input[0], node.input[0].removesuffix("_both")
            onnx_graph.rename_inputs(once.graph, {"crops_both": "crops", mean: both})
    onnx_graph.remove_unused(once.graph)
    onnx.checker.check_model(once, full_check=True)
    return once


CENTRE = "centre"  # the initialiser with the mean embedding


def centre_embeddings(model: onnx.ModelProto, mean: np.ndarray) -> onnx.ModelProto:
    """Return `model` with `mean` subtracted from its embeddings, which are L2-normalised again.

    A face that shows little, dark, blurred or covered, is embedded near the mean of all faces, and
    so near everybody. Without the mean, cosines count what distinguishes a face (Suzuki et al.
    2013, "Centering similarity measures to reduce hubs").

    Args:
        model: "crops" in, L2-normalised "embeddings" (batch, D) out.
        mean: (D,), the mean embedding of many people.
    """
    centred = deepcopy(model)
    graph, plain, shifted = centred.graph, "embeddings_plain", "embeddings_shifted"
    onnx_graph.rename_values(graph, {"embeddings": plain})
    graph.initializer.append(numpy_helper.from_array(mean.astype(np.float32), CENTRE))
    graph.node.append(helper.make_node("Sub", [plain, CENTRE], [shifted]))
    graph.node.append(helper.make_node("LpNormalization", [shifted], ["embeddings"], axis=1, p=2))
    onnx.checker.check_model(centred, full_check=True)
    return centred


def centre_of(model: onnx.ModelProto) -> np.ndarray | None:
    """Return the mean embedding (D,) that `model` subtracts; None if it subtracts none."""
    held = (tensor for tensor in model.graph.initializer if tensor.name == CENTRE)
    return next(map(numpy_helper.to_array, held), None)


def with_dlib(network: onnx.ModelProto, share: float) -> onnx.ModelProto:
    """Return `network` joined with dlib's ResNet, whose share in the cosine is `share`, 0 to 1.

    With a share of 0 it is `network` itself.

    Args:
        network: "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, D), L2-normalised. Its
            nodes and constants keep their names and order.

    Raises:
        FaceOpsError: the weights of dlib are not available.
    """
    if not share:
        return network
    opset = network.opset_import[0].version
    content, manifest = (weight_path(name).read_bytes() for name in ("dlib", "dlib_manifest"))
    return join_embedders([network, dlib_graph(content, manifest, opset)], [1 - share, share])


def parts_of(network: onnx.ModelProto, share: float) -> tuple[Part, ...]:
    """Return the parts of the embeddings of `with_dlib`; none if they come from one network."""
    if not share:
        return ()
    return Part(onnx_graph.embedding_size(network), 1 - share), Part(DLIB_SIZE, share)


_NORMALISES = ("LpNormalization", "Div")


def raw_embedding(model: onnx.ModelProto) -> str | None:
    """Return the value that the first network of `model` normalises; None where it is not found.

    Its length is a measure of the face's quality, see `faceops.faces.quality.LengthScale`.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    node = producers.get("embeddings")
    while node is not None and node.op_type in ("Concat", "Mul"):  # of `join_embedders`
        node = producers.get(node.input[0])
    if node is None or node.op_type not in _NORMALISES:
        return None
    shift = producers.get(node.input[0])
    if shift is not None and shift.op_type == "Sub":  # of `centre_embeddings`
        plain = producers.get(shift.input[0])
        if plain is not None and plain.op_type in _NORMALISES:
            node = plain
    return node.input[0]


def join_embedders(models: Sequence[onnx.ModelProto], shares: Sequence[float]) -> onnx.ModelProto:
    """Return one model of `models`, the cosines of whose embeddings are the average by `shares`.

    Args:
        models: "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, D), L2-normalised, of the
            same opset; all values but these two have different names in each.
        shares: one a model, above 0, with the sum 1.
    """
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    parts, size = [], 0
    for number, (model, share) in enumerate(zip(models, shares, strict=True)):
        graph = deepcopy(model.graph)
        part = f"embeddings_{number}"
        onnx_graph.rename_values(graph, {"embeddings": part})
        root = numpy_helper.from_array(np.array(share**0.5, np.float32), f"{part}_scale")
        nodes += [*graph.node, helper.make_node("Mul", [part, root.name], [f"{part}_scaled"])]
        constants += [*graph.initializer, root]
        parts.append(f"{part}_scaled")
        size += onnx_graph.embedding_size(model)
    nodes.append(helper.make_node("Concat", parts, ["embeddings"], axis=1))
    (opset,) = {model.opset_import[0].version for model in models}
    return onnx_graph.embedder_model(nodes, constants, size, opset)
