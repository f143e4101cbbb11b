"""Cached features equal the frozen layers, continue after an interruption, and are never stale."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.locks import file_lock
from faceops.embedding.backbones.layers import InputStage
from faceops.embedding.embedder import Embedder, embed_crops
from faceops.embedding.training import feature_cache
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.inputs import FeatureInputs
from tests.embedding.faces_for_training import coloured_people

CPU = torch.device("cpu")
FACES = coloured_people(3, 2)


@pytest.fixture
def model() -> Embedder:
    torch.manual_seed(0)
    trunk = nn.Sequential(InputStage(), nn.Conv2d(3, 4, 8, stride=8))
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 14 * 14, 16))
    return Embedder("tiny", 16, trunk, head).eval()


def test_the_head_on_features_equals_the_model_on_crops(model: Embedder, tmp_path: Path) -> None:
    features = cached_features(model, FACES, True, tmp_path, "train", CPU)
    inputs = FeatureInputs(FACES, FACES, {"train": features, "val": features[:, 1:]}, CPU)
    whole = embed_crops(model, FACES.crops)
    assert np.abs(inputs.embed_plain(model, "train") - whole).max() < 2e-3
    mirrored = embed_crops(model, FACES.crops[:, :, ::-1])
    assert np.abs(inputs.embed_plain(model, "val") - mirrored).max() < 2e-3


@pytest.mark.parametrize("flip", [False, True])
def test_an_interrupted_pass_continues_where_it_stopped(
    model: Embedder, tmp_path: Path, flip: bool
) -> None:
    faces, folder = coloured_people(35, 2), tmp_path / "interrupted"
    whole = cached_features(model, faces, flip, tmp_path / "whole", "train", CPU)
    views, seen = 1 + flip, list[int]()

    def stop_in_the_second(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.append(len(inputs[0]))
        if len(seen) == 1 + views + 1:  # the first call is for the shape
            raise KeyboardInterrupt

    model.trunk.register_forward_pre_hook(stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        cached_features(model, faces, flip, folder, "train", CPU)
    (path,) = folder.glob("features-*")
    with path.open("ab") as file:
        file.write(b"half of a row")
    features = cached_features(model, faces, flip, folder, "train", CPU)
    assert seen[1 + views + 1 :] == [1, *[32] * views, *[6] * views]
    assert np.array_equal(features, whole)
    seen.clear()
    cached_features(model, faces, flip, folder, "train", CPU)
    assert seen == [1]


def test_features_that_another_process_computes_are_refused(
    model: Embedder, tmp_path: Path
) -> None:
    with file_lock(tmp_path / ".features-train.lock", "they are being computed"):
        with pytest.raises(FaceOpsError, match=r"features of train .* by another faceops process"):
            cached_features(model, FACES, False, tmp_path, "train", CPU)
        cached_features(model, FACES, False, tmp_path, "val", CPU)


@pytest.mark.parametrize("change", ["crops", "order", "weights", "flip", "version"])
def test_stale_features_are_replaced(
    model: Embedder, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_features(model, FACES, False, tmp_path, "train", CPU)
    (before,) = tmp_path.glob("features-*")
    faces = FACES
    if change == "crops":
        faces = replace(FACES, crops=FACES.crops.copy())
        faces.crops[0, 0, 0, 0] ^= 1
    if change == "order":
        faces = replace(FACES, rows=FACES.rows[::-1])
    if change == "weights":
        next(model.trunk.parameters()).data[0] += 1
    if change == "version":
        monkeypatch.setattr(feature_cache, "FEATURES_VERSION", 99)
    cached_features(model, faces, change == "flip", tmp_path, "train", CPU)
    (after,) = tmp_path.glob("features-*")
    assert after != before
