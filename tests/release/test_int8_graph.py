"""Quantisation of a small net: equalisation, int8, equal bytes."""

import subprocess
import sys
from copy import deepcopy

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from faceops.release.embedder_graph import replace_prelu
from faceops.release.export import serialise
from faceops.release.int8_graph import (
    CannotQuantise,
    equalise,
    find_links,
    fold_constants,
    quantise_embedder,
)

CROPS = np.random.default_rng(3).integers(0, 256, (6, 112, 112, 3), np.uint8)


def small_net(opset: int = 18) -> onnx.ModelProto:
    """Return crops -> Conv, PRelu, depthwise Conv, PRelu, Conv, Relu, Gemm -> unit vectors.

    Channels differ a hundredfold in range, as those of trained depthwise nets do.
    """
    draw = np.random.default_rng(0)
    spread = np.geomspace(0.1, 10, 8, dtype=np.float32)[:, None, None, None]
    constants = {
        "w1": draw.normal(0, 0.01, (8, 3, 3, 3)) * spread,
        "w2": draw.normal(0, 0.3, (8, 1, 3, 3)) * spread[::-1],
        "w3": draw.normal(0, 0.3, (16, 8, 1, 1)),
        "b1": draw.normal(0, 0.1, 8),
        "b2": draw.normal(0, 0.1, 8),
        "b3": draw.normal(0, 0.1, 16),
        "s1": draw.uniform(-0.5, 0.9, (1, 8, 1, 1)),
        "s2": draw.uniform(-0.5, 1.5, (1, 8, 1, 1)),
        "w4": draw.normal(0, 0.02, (32, 16 * 14 * 14)),
        "b4": draw.normal(0, 0.1, 32),
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["crops"], ["pixels"], to=TensorProto.FLOAT),
        node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        node("Conv", ["planes", "w1", "b1"], ["c1"], strides=[4, 4], pads=[1, 1, 1, 1]),
        node("PRelu", ["c1", "s1"], ["p1"]),
        node("Conv", ["p1", "w2", "b2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1], group=8),
        node("PRelu", ["c2", "s2"], ["p2"]),
        node("Conv", ["p2", "w3", "b3"], ["c3"]),
        node("Relu", ["c3"], ["r3"]),
        node("Flatten", ["r3"], ["flat"]),
        node("Gemm", ["flat", "w4", "b4"], ["raw"], transB=1),
        node("LpNormalization", ["raw"], ["embeddings"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 112, 112, 3])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 32])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    return replace_prelu(helper.make_model(graph, opset_imports=imports, ir_version=10))


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray], threads: int = 1) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(serialise(model), options).run(None, inputs)[0]


def embed(model: onnx.ModelProto, crops: np.ndarray = CROPS, threads: int = 1) -> np.ndarray:
    return run(model, {"crops": crops}, threads)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum(1).min())


def test_equalised_channels_change_nothing_but_their_ranges():
    net = fold_constants(small_net())
    changed = equalise(net, CROPS)
    onnx.checker.check_model(changed, full_check=True)
    np.testing.assert_allclose(embed(changed), embed(net), atol=1e-5)

    def spread(model: onnx.ModelProto) -> float:
        watched = deepcopy(model)
        watched.graph.output.insert(0, helper.make_empty_tensor_value_info("c1"))
        ranges = np.abs(run(watched, {"crops": CROPS})).max((0, 2, 3))
        return float(ranges.max() / ranges.min())

    assert spread(net) > 20 > 3 > spread(changed)


def test_links_end_where_something_else_reads_the_channels():
    linked = fold_constants(small_net()).graph
    assert [link.source.output[0] for link in find_links(linked)] == ["c1", "c2"]
    assert [link.readers[0].output[0] for link in find_links(linked)] == ["c2", "c3"]
    linked.output.append(helper.make_empty_tensor_value_info("p1"))
    assert [link.source.output[0] for link in find_links(linked)] == ["c2"]


def test_int8_is_close_small_and_runs_on_any_batch_and_threads():
    net = small_net()
    model = quantise_embedder(net, CROPS, float_layers=1)
    embeddings = embed(model)
    assert cosine(embeddings, embed(net)) > 0.99
    assert len(serialise(model)) < len(serialise(net)) / 2
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    for threads in (1, 2):
        one_by_one = np.concatenate([embed(model, crop[None], threads) for crop in CROPS])
        np.testing.assert_allclose(one_by_one, embeddings, atol=1e-6)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert not any(tensor.data_location for tensor in model.graph.initializer)
    weights = {t.name: t for t in model.graph.initializer}
    kinds = {
        weights[node.input[0]].data_type
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in weights
    }
    assert kinds == {TensorProto.INT8, TensorProto.INT32}  # weights and biases


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(repository):
    code = (
        "import sys; from tests.release.test_int8_graph import *; "
        "sys.stdout.buffer.write(serialise(quantise_embedder(small_net(), CROPS, 1)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=repository
    )
    assert done.stdout == serialise(quantise_embedder(small_net(), CROPS, 1))


@pytest.mark.parametrize(
    ("opset", "float_layers", "sentence"),
    [
        (18, 3, "nothing in this embedder can be quantised"),
        (11, 1, "cannot be quantised .* the release offers float32 only"),
    ],
)
def test_what_cannot_be_quantised_is_one_sentence(opset, float_layers, sentence):
    with pytest.raises(CannotQuantise, match=sentence) as caught:
        quantise_embedder(small_net(opset), CROPS, float_layers)
    assert "\n" not in str(caught.value)
