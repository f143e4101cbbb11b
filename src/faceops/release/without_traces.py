"""A graph without anything that differs from one writing of it to the next."""

import onnx

from faceops.release.verifier_graph import IR_VERSION


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with nothing that differs from export to export.

    The exporter writes stack traces, file paths and object addresses into doc strings, metadata
    and node names; the contract id is a hash of the bytes, so they must go.
    """
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    clean.ClearField("doc_string")
    clean.ClearField("metadata_props")
    clean.producer_name, clean.producer_version = "faceops", ""
    clean.ir_version = min(clean.ir_version, IR_VERSION)
    graph = clean.graph
    graph.name = "embedder"
    graph.ClearField("doc_string")
    graph.ClearField("metadata_props")
    names = _short_names(graph)
    for number, node in enumerate(graph.node):
        node.name = f"{node.op_type.lower()}_{number}"
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
        tensor.ClearField("doc_string")
        tensor.ClearField("metadata_props")
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        value.ClearField("doc_string")
        value.ClearField("metadata_props")
    return clean


def _short_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Return new names for the values inside: numbered in the order of their first use."""
    kept = {value.name for value in (*graph.input, *graph.output)} | {""}
    inside = [tensor.name for tensor in graph.initializer]
    inside += [name for node in graph.node for name in node.output]
    names: dict[str, str] = {}
    for name in inside:
        if name not in kept and name not in names:
            names[name] = f"v{len(names)}"
    return names
