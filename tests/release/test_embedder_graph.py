"""An exported embedder equals the torch model."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from faceops.embedding.backbones.inception import Branches, L2Pool
from faceops.embedding.backbones.mobilefacenet import Bottleneck, load_sface
from faceops.embedding.embedder import (
    ClippedHighlights,
    Embedder,
    InputStage,
    conv_unit,
    embed_crops,
)
from faceops.release.contract import raw_output
from faceops.release.embedder_graph import (
    adapt_embedder,
    export_embedder,
    measure_parity,
    replace_prelu,
    require_parity,
)
from faceops.release.export import serialise
from faceops.release.joined_embedder import raw_embedding


@pytest.fixture(scope="module")
def exported() -> tuple[torch.nn.Module, bytes]:
    """A small network of every kind of layer that the backbones have: a whole one takes long.

    The stage tests export a resnet18, twice, to the same bytes.
    """
    torch.manual_seed(0)
    trunk = nn.Sequential(
        ClippedHighlights(),
        InputStage(40, "grey"),
        conv_unit(1, 8, 3, stride=2, padding=1, prelu=True),
        Branches(L2Pool(), nn.MaxPool2d(3, 1, 1), conv_unit(8, 8, (1, 7), padding=(0, 3))),
        Bottleneck(24, 24, 48, stride=1),
    )
    head = nn.Sequential(
        Branches(nn.Conv2d(24, 24, 20, groups=24), nn.AdaptiveAvgPool2d(1)),
        nn.BatchNorm2d(48),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(48, 16, bias=False),
        nn.BatchNorm1d(16),
    )
    model = Embedder("", 16, trunk, head, 40, "grey")
    for _ in range(3):  # so that the running statistics do something
        model(torch.rand(4, 3, 112, 112) * 255)
    return model.eval(), serialise(export_embedder(model, 18))


@pytest.mark.slow
def test_onnx_agrees_with_torch_on_any_batch_and_holds_no_traces(exported, repository):
    model, content = exported
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in (1, 5):
        crops = np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), np.uint8)
        crops[-1, :, :, 0] = 255  # overexposed
        found = session.run(None, {"crops": crops})[0]
        parity = measure_parity(embed_crops(model, crops), found)
        require_parity(parity, 1e-5)
        assert parity.min_cosine > 0.99999 and parity.crops == count
        raw = raw_embedding(onnx.load_from_string(content))
        further = onnxruntime.InferenceSession(content + raw_output(raw))
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
        expected = model.head(model.trunk(pixels)).detach().numpy()
        np.testing.assert_allclose(further.run(None, {"crops": crops})[1], expected, atol=1e-4)
    for trace in (str(repository).encode(), b"torch_export.py", b"stack_trace", b"0x7f"):
        assert trace not in content


@pytest.mark.slow
def test_the_published_sface_gives_its_own_embeddings_normalised(weights_dir):
    file = weights_dir / "face_recognition_sface_2021dec.onnx"
    published = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    adapted = onnxruntime.InferenceSession(
        serialise(adapt_embedder(onnx.load(file))), providers=["CPUExecutionProvider"]
    )
    crops = np.random.default_rng(1).integers(0, 256, (2, 112, 112, 3), np.uint8)
    for crop, embedding in zip(crops, adapted.run(None, {"crops": crops})[0], strict=True):
        planes = crop.astype(np.float32).transpose(2, 0, 1)[None]
        raw = published.run(None, {"data": planes})[0][0]
        np.testing.assert_allclose(embedding, raw / np.linalg.norm(raw), atol=1e-5)


@pytest.mark.slow
def test_overexposed_crops_are_seen_alike_by_both_sfaces(weights_dir):
    file = weights_dir / "face_recognition_sface_2021dec.onnx"
    model, published = load_sface(file), onnxruntime.InferenceSession(file)
    crops = np.random.default_rng(2).integers(0, 250, (3, 112, 112, 3), np.uint8)
    # 1,632 of the 5,440 pixels of the face are the most that is left alone.
    for crop, clipped in zip(crops, (1632, 1633, 5440), strict=True):
        face = crop[28:108, 22:90].reshape(-1, 3)
        face[:clipped, 0] = 250
        crop[28:108, 22:90] = face.reshape(80, 68, 3)
    seen = crops.astype(np.float32)
    seen[1:] = (seen[1:] + seen[1:].min(axis=3, keepdims=True)) / 2
    raw = [published.run(None, {"data": one.transpose(2, 0, 1)[None]})[0][0] for one in seen]
    expected = np.array(raw) / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(embed_crops(model, crops), expected, atol=1e-5)
    session = onnxruntime.InferenceSession(serialise(adapt_embedder(onnx.load(file))))
    np.testing.assert_allclose(session.run(None, {"crops": crops})[0], expected, atol=1e-5)


def prelu(slopes: list[float], *, constant: bool = True) -> onnx.ModelProto:
    """Return y = PReLU(x), with the slopes as a constant or as an input."""
    shape = ["n", len(slopes), 3, 3]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    values = np.array(slopes, np.float32).reshape(1, -1, 1, 1)
    if not constant:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, values.shape))
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"])],
        "one",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(values, "slope")] if constant else [],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


SLOPES = [-0.8, 0.0, 0.25, 1.0, 1.5]


@pytest.mark.parametrize("slopes", [SLOPES[:4], SLOPES], ids=["up to 1", "above 1"])
def test_the_function_stays_the_same_for_slopes_of_either_sign(slopes):
    x = np.random.default_rng(1).normal(0, 50, (7, len(slopes), 3, 3)).astype(np.float32)
    changed = replace_prelu(prelu(slopes))
    onnx.checker.check_model(changed, full_check=True)
    assert "PRelu" not in {node.op_type for node in changed.graph.node}
    session = onnxruntime.InferenceSession(changed.SerializeToString())
    expected = np.where(x > 0, x, np.array(slopes, np.float32)[:, None, None] * x)
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [prelu(SLOPES, constant=False), prelu([0.5])])
def test_a_computed_slope_or_one_for_all_channels_is_left_alone(model):
    assert replace_prelu(model).SerializeToString() == model.SerializeToString()
