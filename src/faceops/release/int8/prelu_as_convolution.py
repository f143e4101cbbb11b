"""PReLU written in operations that ONNX Runtime runs fast in eight bits: x + relu((slope - 1) x).

`without_prelu` leaves slope * x + (1 - slope) * relu(x). In eight bits its two products by a
channel's constant take as long as the convolutions do, and each rounds the constants with one
scale for all channels. A 1 x 1 depthwise convolution has a scale a channel, which makes its one
weight a channel exact, and the Relu behind it costs nothing.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_ONE = 1e-5  # slope and rest add up to 1 within float32's rounding


def prelu_as_convolution(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of `model` with each PReLU of `without_prelu` in the other form.

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
