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
def test_a_stored_model_embeds_as_before(
    name: str, size: int, colour: str, drop: tuple[str, ...], tmp_path: Path
) -> None:
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
def test_a_damaged_or_outdated_model_must_be_trained_again(
    changes: dict[str, str | None], message: str, tmp_path: Path
) -> None:
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
