"""Cross-layer equalisation: channels of a tensor get similar ranges, so one int8 scale fits all.

ReLU and PReLU commute with a positive factor per channel, so a convolution's output channel can
be divided by it and the next convolution's input channel multiplied: the net computes the same.
Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias Correction".
On SFace the mean cosine of int8 to float32 rises from .991 to .997.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

# Weight of the activations' ranges against those of the weights that read them (SmoothQuant's
# alpha): .5 gives a mean cosine of .9951 on SFace, .75 .9963, 1 .9961.
_ALPHA = 0.75
_MAX_RATIO = 1e3  # limits the factor of a channel that is never used


@dataclass(frozen=True)
class Link:
    """A convolution, the `readers` of its channels, and the `values` between them.

    `values` are the tensors that will be quantised: not one that only a Relu reads.
    """

    source: onnx.NodeProto
    readers: list[onnx.NodeProto]
    values: list[str]


def equalise(model: onnx.ModelProto, crops: np.ndarray) -> onnx.ModelProto:
    """Return a copy of `model` that computes the same, with balanced ranges of channels.

    Args:
        model: "crops" uint8 (batch, 112, 112, 3) in; two-dimensional convolutions.
        crops: uint8 (N, 112, 112, 3), on which the ranges are measured.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    links = find_links(graph)
    largest = _channel_maxima(changed, [value for link in links for value in link.values], crops)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    # Keyed by the convolution's output: two convolutions may share one constant.
    weights = {node.output[0]: constants[node.input[1]].copy() for node in convolutions}
    biases = {
        node.output[0]: constants[node.input[2]].copy()
        for node in convolutions
        if len(node.input) > 2
    }
    factors = [
        _factors(
            np.max([largest[value] for value in link.values], axis=0),
            [weights[reader.output[0]] for reader in link.readers],
        )
        for link in links
    ]
    for link, factor in zip(links, factors, strict=True):
        name = link.source.output[0]
        weights[name] /= factor[:, None, None, None]
        if name in biases:
            biases[name] /= factor
        for reader in link.readers:
            weight = weights[reader.output[0]]
            weight *= factor.reshape((-1, 1, 1, 1) if _is_depthwise(weight) else (-1, 1, 1))
    for node in convolutions:
        node.input[1] = _add_constant(graph, f"{node.output[0]}_w", weights[node.output[0]])
        if len(node.input) > 2:
            node.input[2] = _add_constant(graph, f"{node.output[0]}_b", biases[node.output[0]])
    remove_unused_constants(graph)
    return changed


def find_links(graph: onnx.GraphProto) -> list[Link]:
    """Return the convolutions whose channels only convolutions read, through Relu and PReLU."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}
    links = []
    for node in graph.node:
        if node.op_type == "Conv" and not scales_channels(node, constants):
            link = _link(node, graph, constants)
            if link is not None and not outputs.intersection(link.values):
                links.append(link)
    return links


def _link(
    source: onnx.NodeProto, graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]
) -> Link | None:
    """Follow the channels of `source` to the convolutions that mix them; None if others do."""
    values: dict[str, list[str]] = {source.output[0]: []}  # operators that read each
    readers = []
    for node in graph.node:  # in the order of execution
        read = [name for name in dict.fromkeys(node.input) if name in values]
        if not read:
            continue
        for name in read:
            values[name].append(node.op_type)
        conv = node.op_type == "Conv"
        per_channel = node.op_type == "Relu" or (conv and scales_channels(node, constants))
        if per_channel or (node.op_type == "Add" and set(node.input) <= values.keys()):
            values[node.output[0]] = []
        elif conv and _reads_channels(node, constants):
            readers.append(node)
        else:
            return None
    if not readers:
        return None
    return Link(source, readers, [name for name, by in values.items() if by != ["Relu"]])


def scales_channels(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a Conv only scales each channel, as `prelu_as_convolution` writes it."""
    weight = constants.get(node.input[1])
    return weight is not None and len(node.input) == 2 and list(weight.dims[1:]) == [1, 1, 1]


def remove_unused_constants(graph: onnx.GraphProto) -> None:
    """Remove the initialisers that no node reads."""
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _reads_channels(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a Conv with constant weights is ungrouped or depthwise."""
    weight = constants.get(node.input[1])
    group = next((item.i for item in node.attribute if item.name == "group"), 1)
    return weight is not None and (group == 1 or (weight.dims[1] == 1 and group == weight.dims[0]))


def _is_depthwise(weight: np.ndarray) -> bool:
    return weight.shape[1] == 1


def _factors(largest: np.ndarray, readers: list[np.ndarray]) -> np.ndarray:
    """Return the divisor of each channel, float32 (C,), with geometric mean 1.

    `largest` (C,) are the largest activations, `readers` the weights that read the channels.
    """
    if any(_is_depthwise(weight) for weight in readers):
        factor = largest.astype(np.float64)  # its weights have a scale per channel already
    else:
        reading = np.max([np.abs(weight).max((0, 2, 3)) for weight in readers], axis=0)
        factor = largest**_ALPHA / np.maximum(reading, 1e-8) ** (1 - _ALPHA)
    factor = np.maximum(factor, factor.max() / _MAX_RATIO)
    if not factor.max() > 0:
        return np.ones(len(largest), np.float32)
    result: np.ndarray = (factor / np.exp(np.log(factor).mean())).astype(np.float32)
    return result


def _channel_maxima(
    model: onnx.ModelProto, names: list[str], crops: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the largest magnitude per channel, float32 (C,), of each tensor over `crops`."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    maxima: dict[str, np.ndarray] = {}
    for crop in crops:  # one by one: all tensors of a batch would take a gigabyte
        for name, value in zip(names, session.run(names, {"crops": crop[None]}), strict=True):
            largest = np.abs(value).max((0, 2, 3))
            maxima[name] = np.maximum(maxima.get(name, largest), largest)
    return maxima


def _add_constant(graph: onnx.GraphProto, name: str, value: np.ndarray) -> str:
    graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
    return name
