"""Cached features stand for the frozen layers, and are made afresh when stale."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.locks import file_lock
from faceops.embedding.backbones.build import build_backbone
from faceops.embedding.embedder import Embedder, embed_crops
from faceops.embedding.training import feature_cache as rows_so_far
from faceops.embedding.training.feature_cache import cached_features
from faceops.embedding.training.inputs import FeatureInputs
from tests.embedding.faces_for_training import coloured_people

CPU = torch.device("cpu")
FACES = coloured_people(3, 2)


@pytest.fixture
def model() -> Embedder:
    torch.manual_seed(0)
    return build_backbone("resnet18", 16).eval()


def test_the_head_on_features_is_the_model_on_crops(model: Embedder, tmp_path: Path) -> None:
    features = cached_features(model, FACES, True, tmp_path, "train", CPU)
    inputs = FeatureInputs(features, features, CPU)
    whole = embed_crops(model, FACES.crops)
    assert np.abs(inputs.embed_plain(model, False) - whole).max() < 2e-3
    mirrored = embed_crops(model, FACES.crops[:, :, ::-1])
    second = FeatureInputs(features[:, 1:], features, CPU)
    assert np.abs(second.embed_plain(model, False) - mirrored).max() < 2e-3


def test_features_are_computed_once(model: Embedder, tmp_path: Path) -> None:
    cached_features(model, FACES, False, tmp_path, "train", CPU)
    (path,) = tmp_path.glob("features-*")
    written = path.stat().st_mtime_ns
    cached_features(model, FACES, False, tmp_path, "train", CPU)
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize("flip", [False, True])
def test_an_interrupted_pass_goes_on_where_it_was(
    model: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flip: bool
) -> None:
    monkeypatch.setattr(rows_so_far, "SAVED_EVERY_S", -1)  # after every batch of 32
    faces, folder = coloured_people(35, 2), tmp_path / "interrupted"
    whole = cached_features(model, faces, flip, tmp_path / "whole", "train", CPU)
    views, seen = 1 + flip, list[int]()

    def stop_in_the_second(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.append(len(inputs[0]))
        if len(seen) == 1 + views + 1:  # the first tells the shape
            raise KeyboardInterrupt

    model.trunk.register_forward_pre_hook(stop_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        cached_features(model, faces, flip, folder, "train", CPU)
    features = cached_features(model, faces, flip, folder, "train", CPU)
    assert seen[1 + views + 1 :] == [1, *[32] * views, *[6] * views]
    assert np.array_equal(features, whole)
    assert len(list(folder.glob("features-*"))) == 1


def test_features_that_another_process_computes_are_not_computed_too(
    model: Embedder, tmp_path: Path
) -> None:
    with file_lock(tmp_path / ".features-train.lock", "they are being computed"):
        with pytest.raises(FaceOpsError, match=r"features of train .* by another faceops process"):
            cached_features(model, FACES, False, tmp_path, "train", CPU)
        cached_features(model, FACES, False, tmp_path, "val", CPU)


@pytest.mark.parametrize("change", ["crops", "weights", "flip"])
def test_stale_features_are_replaced(model: Embedder, tmp_path: Path, change: str) -> None:
    cached_features(model, FACES, False, tmp_path, "train", CPU)
    (before,) = tmp_path.glob("features-*")
    faces = FACES
    if change == "crops":
        faces = replace(FACES, crops=FACES.crops.copy())
        faces.crops[0, 0, 0, 0] ^= 1
    if change == "weights":
        next(model.trunk.parameters()).data[0] += 1
    cached_features(model, faces, change == "flip", tmp_path, "train", CPU)
    (after,) = tmp_path.glob("features-*")
    assert after != before
