"""Static quantisation of an embedder: eight-bit weights and activations, float32 in and out.

PReLU written in operations that ONNX Runtime runs fast in eight bits: x + relu((slope - 1) x).

`replace_prelu` leaves slope * x + (1 - slope) * relu(x). In eight bits its two products by a
channel's constant take as long as the convolutions do, and each rounds the constants with one
scale for all channels. A 1 x 1 depthwise convolution has a scale a channel, which makes its one
weight a channel exact, and the Relu behind it costs nothing.
"""

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
from faceops.release.int8.equalise import equalise, multiplies_channels

_ONE = 1e-5  # slope and rest add up to 1 within float32's rounding


def prelu_as_convolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with each PReLU of `replace_prelu` in the other form.

    One with a slope above 1 in some channel stays as it is: the form holds up to 1.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}
    in_place: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        found = _slope_of(node, made, constants)
        if found is not None and (found[1] <= 1).all():
            value, slope = found
            weight = numpy_helper.from_array(
                (slope - 1).astype(np.float32).reshape(-1, 1, 1, 1), f"{node.output[0]}_weight"
            )
            graph.initializer.append(weight)
            in_place[node.output[0]] = _form(value, weight.name, len(slope), node.output[0])
    nodes = [new for node in graph.node for new in in_place.get(node.output[0], [node])]
    del graph.node[:]
    graph.node.extend(_used(nodes, {output.name for output in graph.output}))
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return changed


def _slope_of(
    node: onnx.NodeProto, made: dict[str, onnx.NodeProto], constants: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """Return x and slope (C,) where `node` is slope * x + (1 - slope) * relu(x), else None."""
    if node.op_type != "Add":
        return None
    parts = [_product(made.get(name), constants) for name in node.input]
    for linear, positive in (parts, parts[::-1]):
        if linear is None or positive is None or linear[1].size != positive[1].size:
            continue
        relu = made.get(positive[0])
        if relu is None or relu.op_type != "Relu" or relu.input[0] != linear[0]:
            continue
        if np.abs(linear[1] + positive[1] - 1).max() <= _ONE:
            return linear[0], linear[1]
    return None


def _product(
    node: onnx.NodeProto | None, constants: dict[str, np.ndarray]
) -> tuple[str, np.ndarray] | None:
    """Return value and factors (C,) where `node` multiplies each channel by a constant."""
    if node is None or node.op_type != "Mul":
        return None
    for value, constant in (tuple(node.input), tuple(node.input)[::-1]):
        factor = constants.get(constant)
        if factor is not None and factor.ndim >= 3 and factor.shape[-2:] == (1, 1):
            return value, factor.reshape(-1)
    return None


def _form(value: str, weight: str, channels: int, output: str) -> list[onnx.NodeProto]:
    scaled, below = f"{output}_scaled", f"{output}_below"
    return [
        helper.make_node(
            "Conv",
            [value, weight],
            [scaled],
            name=scaled,
            group=channels,
            kernel_shape=[1, 1],
            pads=[0, 0, 0, 0],
            strides=[1, 1],
            dilations=[1, 1],
        ),
        helper.make_node("Relu", [scaled], [below], name=below),
        helper.make_node("Add", [value, below], [output], name=output),
    ]


def _used(nodes: list[onnx.NodeProto], outputs: set[str]) -> list[onnx.NodeProto]:
    """Return those of `nodes` (in the order of running) that lead to one of `outputs`."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return kept[::-1]


_QUANTISED = ("Conv", "Gemm", "MatMul", "Add", "Relu")
# Says that the graph is ready for the quantiser, which otherwise warns that it is not.
_READY = {"onnx.quant.pre_process": "onnxruntime.quant"}


class CannotQuantise(FaceOpsError):
    """The quantiser does not take this graph; the release can go out without int8."""


def quantise_embedder(
    embedder: onnx.ModelProto, crops: np.ndarray, float_layers: int
) -> onnx.ModelProto:
    """Return `embedder` in QDQ form: int8 weights a channel, uint8 activations a tensor.

    Args:
        embedder: "crops" uint8 (batch, 112, 112, 3) in, L2-normalised "embeddings" out.
        crops: uint8 (N, 112, 112, 3), whose smallest and largest activations set the scales.
        float_layers: so many convolutions at the start stay in float32: they see the pixels,
            cost little, and lose the most.

    The same arguments give the same bytes. Scaling of pixels and the normalisation stay float32.

    Raises:
        CannotQuantise: the quantiser fails, or writes what ONNX or this project does not take.
    """
    try:
        ready = equalise(prelu_as_convolution(embedder), crops)
        named = _named(ready)
        model = canonical_onnx(_quantised(named, crops, _leading(named.graph, float_layers)))
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (OSError, MemoryError):  # of this machine now, not of this graph
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


class _Crops(CalibrationDataReader):
    """Crops one by one, in their order."""

    def __init__(self, crops: np.ndarray) -> None:
        self._left = iter(crops)

    def get_next(self) -> dict[str, np.ndarray] | None:
        crop = next(self._left, None)
        return None if crop is None else {"crops": crop[None]}


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` with a name for each node: the quantiser knows nodes by their names."""
    for node in model.graph.node:
        node.name = node.output[0]
    helper.set_model_props(model, _READY)
    return model


def _leading(graph: onnx.GraphProto, convolutions: int) -> list[str]:
    """Return the names of the nodes before convolution number `convolutions` (from 0)."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.name for node in graph.node]
    layers = [
        node.name
        for node in graph.node
        if node.op_type == "Conv" and not multiplies_channels(node, constants)
    ]
    if convolutions >= len(layers):
        return names
    return names[: names.index(layers[convolutions])]


def _quantised(model: onnx.ModelProto, crops: np.ndarray, excluded: list[str]) -> onnx.ModelProto:
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of choices that are made here on purpose
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
