"""Static quantisation of an embedder by ONNX Runtime: int8 weights and uint8 activations."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from faceops.base.errors import FaceOpsError
from faceops.release.embedder_graph import canonical_onnx
from faceops.release.int8.equalise import equalise, remove_unused_constants, scales_channels

_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Relu")
# Marks the graph as preprocessed; otherwise the quantiser warns that it is not.
_PREPROCESSED = {"onnx.quant.pre_process": "onnxruntime.quant"}


class CannotQuantise(FaceOpsError):
    """The quantiser does not support this graph; the release then offers float32 only."""


def quantise_embedder(
    embedder: onnx.ModelProto, crops: np.ndarray, float_layers: int
) -> onnx.ModelProto:
    """Return `embedder` in QDQ form: int8 weights per channel, uint8 activations per tensor.

    The same arguments give the same bytes. Scaling of pixels and the normalisation stay float32.

    Args:
        embedder: "crops" uint8 (batch, 112, 112, 3) in, L2-normalised "embeddings" out.
        crops: uint8 (N, 112, 112, 3), whose smallest and largest activations set the scales.
        float_layers: convolutions at the start that stay in float32: they see the pixels, are
            cheap, and lose the most.

    Raises:
        CannotQuantise: the quantiser fails, or writes an invalid graph.
    """
    try:
        ready = equalise(prelu_as_convolution(embedder), crops)
        for node in ready.graph.node:
            node.name = node.output[0]  # the quantiser refers to nodes by name
        model = canonical_onnx(_quantised(ready, crops, _leading(ready.graph, float_layers)))
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (OSError, MemoryError):  # not because of this graph
        raise
    except Exception as error:  # the quantiser's errors share no base class
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CannotQuantise(
            f"this embedder cannot be quantised ({reason}); the release offers float32 only."
        ) from error
    written = {entry.domain: entry.version for entry in model.opset_import}
    asked = {entry.domain: entry.version for entry in embedder.opset_import}
    if {domain: version for domain, version in written.items() if version} != asked:
        raise CannotQuantise(
            f"the quantiser wrote ONNX opsets {written}, not {asked}; the release offers float32 "
            "only."
        )
    if not any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise CannotQuantise("nothing in this embedder can be quantised; it stays in float32.")
    return model


def prelu_as_convolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with x + relu((slope - 1) * x) for each PReLU.

    `replace_prelu` left slope * x + (1 - slope) * relu(x), whose two products take as long in
    int8 as the convolutions, and round the constants with one scale for all channels. A depthwise
    1 x 1 convolution has a scale per channel, so that its one weight per channel is exact, and the
    Relu behind it is free. A PReLU with a slope above 1 stays: the new form holds up to 1.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        found = _find_prelu(node, producers, constants)
        if found is None or (found[1] > 1).any():
            nodes.append(node)
            continue
        (value, slope), output = found, node.output[0]
        weight = (slope - 1).astype(np.float32).reshape(-1, 1, 1, 1)
        graph.initializer.append(numpy_helper.from_array(weight, f"{output}_weight"))
        scaled, below = f"{output}_scaled", f"{output}_below"
        nodes += [
            helper.make_node(
                "Conv", [value, f"{output}_weight"], [scaled], name=scaled, group=len(slope),
                kernel_shape=[1, 1], pads=[0, 0, 0, 0], strides=[1, 1], dilations=[1, 1],
            ),
            helper.make_node("Relu", [scaled], [below], name=below),
            helper.make_node("Add", [value, below], [output], name=output),
        ]  # fmt: skip
    wanted, kept = {output.name for output in graph.output}, []
    for node in reversed(nodes):  # the nodes of a replaced PReLU lead to no output any more
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(reversed(kept))
    remove_unused_constants(graph)
    return changed


def _find_prelu(
    node: onnx.NodeProto, producers: dict[str, onnx.NodeProto], constants: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """Return x and slope (C,) if `node` is slope * x + (1 - slope) * relu(x), else None."""
    if node.op_type != "Add":
        return None
    products = [_find_product(producers.get(name), constants) for name in node.input]
    for linear, positive in (products, products[::-1]):
        if linear is None or positive is None or linear[1].size != positive[1].size:
            continue
        relu = producers.get(positive[0])
        if relu is None or relu.op_type != "Relu" or relu.input[0] != linear[0]:
            continue
        if np.abs(linear[1] + positive[1] - 1).max() <= 1e-5:  # float32 rounding
            return linear
    return None


def _find_product(
    node: onnx.NodeProto | None, constants: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """Return value and factors (C,) if `node` multiplies each channel by a constant."""
    if node is None or node.op_type != "Mul":
        return None
    for value, constant in (tuple(node.input), tuple(node.input)[::-1]):
        factor = constants.get(constant)
        if factor is not None and factor.ndim >= 3 and factor.shape[-2:] == (1, 1):
            return value, factor.reshape(-1)
    return None


class _Crops(CalibrationDataReader):
    """Crops one by one, in order."""

    def __init__(self, crops: np.ndarray) -> None:
        self._remaining = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        crop = next(self._remaining, None)
        return None if crop is None else {"crops": crop[None]}


def _leading(graph: onnx.GraphProto, convolutions: int) -> list[str]:
    """Return the names of the nodes before convolution number `convolutions` (from 0)."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.name for node in graph.node]
    layers = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and not scales_channels(node, constants)
    ]
    if convolutions >= len(layers):
        return names
    return names[: names.index(layers[convolutions])]


def _quantised(model: onnx.ModelProto, crops: np.ndarray, excluded: list[str]) -> onnx.ModelProto:
    helper.set_model_props(model, _PREPROCESSED)
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of choices that are intended
    try:
        with tempfile.TemporaryDirectory(prefix="faceops-int8-") as folder:
            source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
            onnx.save_model(model, source)
            quantize_static(
                source,
                target,
                _Crops(crops),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=excluded,
                calibrate_method=CalibrationMethod.MinMax,
            )
            return onnx.load(target)
    finally:
        logger.setLevel(level)
