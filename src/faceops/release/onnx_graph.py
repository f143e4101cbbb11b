"""Helpers for ONNX graphs of embedders."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from faceops.faces.align import CROP_SIZE

# The newest that every supported version of onnx and onnxruntime reads.
IR_VERSION = 10


def embedder_model(
    nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], size: int, opset: int
) -> onnx.ModelProto:
    """Return the model "crops" uint8 (batch, 112, 112, 3) -> "embeddings" (batch, `size`)."""
    crops = helper.make_tensor_value_info(
        "crops", TensorProto.UINT8, ["batch", CROP_SIZE, CROP_SIZE, 3]
    )
    embeddings = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", size])
    graph = helper.make_graph(list(nodes), "embedder", [crops], [embeddings], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version, model.producer_name = IR_VERSION, "faceops"
    onnx.checker.check_model(model, full_check=True)
    return model


def embedding_size(model: onnx.ModelProto) -> int:
    """Return D of a model whose output is "embeddings" (batch, D)."""
    return model.graph.output[0].type.tensor_type.shape.dim[1].dim_value


def constants_of(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return the initialisers by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def replace_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Put `nodes` in the place of the nodes of `graph`."""
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)


def rename_inputs(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Let the nodes of `graph` read other values; `names` has the new name of each old one."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def rename_values(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename what the nodes of `graph` read and write; `names` has the new name of each old one."""
    rename_inputs(graph, names)
    for node in graph.node:
        node.output[:] = [names.get(name, name) for name in node.output]


def remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and constants of `graph` that no output depends on."""
    wanted, kept = {output.name for output in graph.output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    replace_nodes(graph, reversed(kept))
    constants = [tensor for tensor in graph.initializer if tensor.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def canonical_onnx(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy without anything that differs between two exports of one model.

    The exporter writes stack traces, file paths and object addresses into doc strings, metadata
    and names. They are removed, because the contract id is a hash of the file's bytes.
    """
    clean = deepcopy(model)
    clean.producer_name, clean.producer_version = "faceops", ""
    clean.ir_version = min(clean.ir_version, IR_VERSION)
    graph = clean.graph
    graph.name = "embedder"
    # New names of inner values, numbered in the order in which they are defined.
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    inner = [tensor.name for tensor in graph.initializer]
    inner += [name for node in graph.node for name in node.output]
    inner = [name for name in dict.fromkeys(inner) if name not in kept]
    names = {name: f"v{number}" for number, name in enumerate(inner)}
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
    rename_values(graph, names)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del graph.value_info[:]
    for part in (clean, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return clean
