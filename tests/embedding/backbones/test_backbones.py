"""Every network fulfils the contract, in colour and grey, and has the size stated in its paper."""

import copy
import json

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.build import (
    BACKBONES,
    build_backbone,
    load_model,
    save_model,
    weights_sha256,
)
from faceops.embedding.backbones.inception import L2Pool
from faceops.embedding.backbones.mobilefacenet import load_sface
from faceops.embedding.embedder import choose_device, embed_crops
from tests.embedding.faces_for_training import coloured_people

CROPS = coloured_people(3, 2).crops[:3]
UNTRAINED = [name for name in BACKBONES if name != "pretrained"]  # of any input
SFACE = "face_recognition_sface_2021dec.onnx"
# Published totals at 1000 classes (torchvision's documentation), less that classifier, and less
# what a 3 x 3 stem saves on a 7 x 7 one; resnet18's first stage gets a projection for its stride.
STEM = 64 * 3 * (7 * 7 - 3 * 3)


@pytest.mark.parametrize("name", UNTRAINED)
def test_every_parameter_gets_a_gradient_in_grey_at_80_pixels(name):
    torch.manual_seed(0)
    model = build_backbone(name, 24, 80, "grey")
    embeddings = model(torch.from_numpy(CROPS).permute(0, 3, 1, 2).float())
    assert embeddings.shape == (3, 24)
    assert embeddings.norm(dim=1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    (embeddings @ torch.randn(24)).pow(2).sum().backward()
    for parameter, value in model.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all() and value.grad.any(), parameter


@pytest.mark.parametrize(
    ("name", "side", "size", "published", "rounding"),
    [
        ("resnet18", 4, 128, 11_689_512 - 513_000 - STEM + 64 * 64 + 128, 0),
        ("resnet50", 4, 128, 25_557_032 - 2_049_000 - STEM, 0),
        ("resnext50_32x4d", 4, 128, 25_028_904 - 2_049_000 - STEM, 0),
        ("mobilefacenet", 7, 128, 0.99e6, 0.015),
        ("inception_resnet_v1", 2, 512, 23.5e6, 0.015),
    ],
)
def test_parameters_are_those_published(name, side, size, published, rounding):
    with torch.device("meta"):  # shapes alone: nothing is computed
        model = build_backbone(name, size)
        features = model.trunk[1:](torch.empty(2, 3, 112, 112))
        assert model(torch.empty(2, 3, 112, 112)).shape == (2, size)
    assert features.shape[2:] == (side, side)
    counted = model if rounding else model.trunk  # rounded totals are those with the embedding
    count = sum(value.numel() for value in counted.parameters())
    assert count == pytest.approx(published, rel=rounding)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg", 128), r"train.backbone = 'vgg' is unknown; .*resnet18"),
        (("pretrained", 64), r"embedding_size = 128, .*, not 64, 112 and rgb"),
        (("pretrained", 128, 80, "grey"), r"colour = rgb, not 128, 80 and grey"),
        (("inception_resnet_v1", 128, 74), r"input_size = 74 is too small"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, message):
    with pytest.raises(FaceOpsError, match=message):
        build_backbone(*arguments)


def test_the_smallest_input_of_inception_resnet_leaves_one_pixel():
    with torch.device("meta"):
        trunk = build_backbone("inception_resnet_v1", 8, 75).trunk
        assert trunk[1:](torch.empty(2, 3, 75, 75)).shape == (2, 1792, 1, 1)


def test_pretrained_start_agrees_with_its_file_in_onnx_runtime(weights_dir):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession((weights_dir / SFACE).resolve(), options)
    pixels = CROPS.transpose(0, 3, 1, 2).astype(np.float32)
    raw = np.concatenate([session.run(None, {"data": one[None]})[0] for one in pixels])
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    found = embed_crops(load_sface(weights_dir / SFACE), CROPS, batch=4)
    assert np.abs(found - expected).max() < 1e-5


def test_another_onnx_file_is_refused(weights_dir, tmp_path):
    with pytest.raises(FaceOpsError, match=r"onet.onnx lacks conv_1_conv2d_weight"):
        load_sface(weights_dir / "onet.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(FaceOpsError, match=r"text\.onnx"):
        load_sface(tmp_path / "text.onnx")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_asking_for_an_absent_gpu_is_an_error():
    assert choose_device("auto").type == "cpu"
    with pytest.raises(FaceOpsError, match=r"train.device = cuda"):
        choose_device("cuda")


# NN2 is the network of FaceNet's table 2 (Schroff et al. 2015).
# Layer; side and channels of its output at 224 pixels; parameters as printed, with the error
# that the paper's rounding leaves (half of the last digit; 545.5 K is printed as 545 K).
TABLE_2 = [
    *(("conv1", 112, 64, 9_000), ("pool1", 56, 64, 0), ("inception2", 56, 192, 115_000)),
    *(("pool2", 28, 192, 0), ("inception3a", 28, 256, 164_000), ("inception3b", 28, 320, 228_000)),
    *(("inception3c", 14, 640, 398_000), ("inception4a", 14, 640, 545_000)),
    *(("inception4b", 14, 640, 595_000), ("inception4c", 14, 640, 654_000)),
    *(("inception4d", 14, 640, 722_000), ("inception4e", 7, 1024, 717_000)),
    *(("inception5a", 7, 1024, 1_600_000), ("inception5b", 7, 1024, 1_600_000)),
]


def as_the_paper_counts(layer: nn.Module) -> int:
    """Return the weights, and one bias per output, which is in the normalisation here."""
    total = 0
    for part in layer.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            total += part.weight.numel() + part.weight.shape[0]
    return total


def test_layers_and_parameters_are_those_of_table_2():
    with torch.device("meta"):  # shapes alone: nothing is computed
        model = build_backbone("facenet_nn2", 128, 224)
        features = torch.empty(2, 3, 224, 224)
        layers = dict(model.trunk.named_children())
        assert list(layers) == ["input", *(name for name, *_ in TABLE_2)]
        for name, side, channels, printed in TABLE_2:
            features = layers[name](features)
            assert features.shape == (2, channels, side, side), name
            rounding = 50_000 if printed >= 1_000_000 else 600
            found = as_the_paper_counts(layers[name])
            assert found == pytest.approx(printed, abs=rounding), name
        assert model.head[0](features).shape == (2, 1024, 1, 1)
        assert model.head(features).shape == (2, 128)
    assert as_the_paper_counts(model.head) == pytest.approx(131_000, abs=600)
    assert as_the_paper_counts(model) == pytest.approx(7_500_000, abs=50_000)
    pools = {name for name, layer in layers.items() if L2Pool in map(type, layer.modules())}
    assert pools == {f"inception{row}" for row in ("3b", "4a", "4b", "4c", "4d", "5a")}


def test_l2_pooling_is_the_norm_of_each_window():
    features = torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    found = L2Pool()(features)
    assert found.shape == features.shape
    for image, channel, row, column in torch.cartesian_prod(*map(torch.arange, features.shape)):
        window = features[
            image, channel, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2
        ]
        expected = float(window.pow(2).sum().sqrt())
        assert float(found[image, channel, row, column]) == pytest.approx(expected, abs=2e-5)


def test_gradients_of_l2_pooling_at_zero_are_zero():
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)
    L2Pool()(features).sum().backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(1, 1, 4, 4))


CROPS = coloured_people(3, 2).crops[:3]


@pytest.mark.parametrize(
    ("name", "size", "colour", "drop"),
    [
        ("mobilefacenet", 112, "rgb", ()),
        (
            "mobilefacenet",
            112,
            "rgb",
            ("input_size", "colour"),
        ),  # stored before these were a choice
        ("mobilefacenet", 80, "grey", ()),
        ("facenet_nn2", 80, "grey", ()),
    ],
)
def test_a_stored_model_embeds_as_before(name, size, colour, drop, tmp_path):
    torch.manual_seed(0)
    model = build_backbone(name, 16, size, colour).eval()
    save_model(model, tmp_path / "a")
    save_model(load_model(tmp_path / "a"), tmp_path / "b")
    for file in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    description = json.loads((tmp_path / "a/model.json").read_text())
    kept = {key: value for key, value in description.items() if key not in drop}
    (tmp_path / "a/model.json").write_text(json.dumps(kept))
    loaded = load_model(tmp_path / "a")
    assert not loaded.training
    assert (loaded.backbone, loaded.input_size, loaded.colour) == (name, size, colour)
    assert np.array_equal(embed_crops(loaded, CROPS), embed_crops(model, CROPS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"is not what model.json describes"),
        ({"weights_sha256": None}, r"model.json is damaged"),
        ({"backbone": "pretrained"}, r"does not fit a pretrained; run the train stage"),
        ({"backbone": "old"}, r"names no known backbone: 'old'; run the train stage"),
    ],
)
def test_a_damaged_or_outdated_model_must_be_trained_again(changes, message, tmp_path):
    path, weights = tmp_path / "model.json", tmp_path / "model.safetensors"
    with pytest.raises(FaceOpsError, match=r"model.json does not exist"):
        load_model(tmp_path)
    save_model(build_backbone("mobilefacenet", 8), tmp_path)
    if not changes:
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    changed = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in changed.items() if value}))
    with pytest.raises(FaceOpsError, match=message):
        load_model(tmp_path)


def test_weights_sha256_depends_on_every_stored_name_and_value():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    known = weights_sha256(network)
    assert weights_sha256(copy.deepcopy(network)) == known
    assert weights_sha256(nn.Sequential(*network, nn.ReLU())) == known
    assert weights_sha256(nn.Sequential(nn.ReLU(), *network)) != known  # other names
    others = set()
    for name in network.state_dict():
        other = copy.deepcopy(network)
        other.state_dict()[name].add_(1)
        others.add(weights_sha256(other))
    assert len(others - {known}) == len(network.state_dict())
