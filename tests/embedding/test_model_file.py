"""A model on disk is the model, or is refused with the reason."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.embedder import embed_crops
from faceops.embedding.model_file import load_model, save_model, weights_sha256
from tests.embedding.faces_for_training import coloured_people

CROPS = coloured_people(3, 2).crops[:3]


def test_a_stored_model_embeds_as_before(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone("mobilefacenet", 16)
    save_model(model, tmp_path / "a")
    loaded = load_model(tmp_path / "a")
    assert not loaded.training
    assert np.array_equal(embed_crops(loaded, CROPS), embed_crops(model, CROPS))
    save_model(loaded, tmp_path / "b")
    for name in ("model.safetensors", "model.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_damaged_model_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FaceOpsError, match=r"model.json does not exist"):
        load_model(tmp_path)
    torch.manual_seed(0)
    save_model(build_backbone("mobilefacenet", 8), tmp_path)
    weights = bytearray((tmp_path / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    with pytest.raises(FaceOpsError, match=r"is not what model.json describes"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"backbone": "resnet18"}))
    with pytest.raises(FaceOpsError, match=r"model.json is damaged"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["facenet_nn2", "mobilefacenet"])
def test_a_grey_network_is_the_same_from_disk(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone(name, 48, 80, "grey").eval()
    save_model(model, tmp_path)
    loaded = load_model(tmp_path)
    assert (loaded.backbone, loaded.input_size, loaded.colour) == (name, 80, "grey")
    assert np.array_equal(embed_crops(loaded, CROPS), embed_crops(model, CROPS))


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ("pretrained", r"does not fit a pretrained; run the train stage"),
        ("descriptors", r"names no known backbone: 'descriptors'; run the train stage"),
    ],
)
def test_a_stored_model_that_cannot_be_built_must_be_trained_again(
    backbone: str, message: str, tmp_path: Path
) -> None:
    save_model(build_backbone("mobilefacenet", 8), tmp_path)
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps(description | {"backbone": backbone}))
    with pytest.raises(FaceOpsError, match=message):
        load_model(tmp_path)


def test_a_model_stored_before_inputs_were_a_choice_still_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build_backbone("mobilefacenet", 8)
    save_model(model, tmp_path)
    path = tmp_path / "model.json"
    description = json.loads(path.read_text())
    del description["input_size"], description["colour"]
    path.write_text(json.dumps(description))
    loaded = load_model(tmp_path)
    assert (loaded.input_size, loaded.colour) == (112, "rgb")
    assert np.array_equal(embed_crops(loaded, CROPS), embed_crops(model, CROPS))


def test_weights_sha256_depends_on_every_stored_name_and_value() -> None:
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
