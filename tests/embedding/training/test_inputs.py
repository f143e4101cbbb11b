"""The inputs of a step: crops of any size or cached features; the seed fixes both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from faceops.base.errors import FaceOpsError
from faceops.base.files import file_lock
from faceops.config.sections import Train
from faceops.embedding.backbones.mobilefacenet import ConvUnit
from faceops.embedding.embedder import Embedder, InputStage, embed_crops
from faceops.embedding.training import inputs as inputs_module
from faceops.embedding.training.augmentation import augment
from faceops.embedding.training.inputs import (
    FaceDataset,
    FeatureInputs,
    PixelInputs,
    cached_features,
)
from tests.embedding.faces_for_training import coloured_people

CPU = torch.device("cpu")
POSITIONS = np.array([5, 0, 3])
SIX = coloured_people(3, 2)


def tiny_model() -> Embedder:
    torch.manual_seed(0)
    unit = ConvUnit(3, 4, 8, 8, 1)
    nn.init.normal_(unit.batchnorm.running_mean)
    trunk = nn.Sequential(InputStage(), unit, nn.AdaptiveAvgPool2d(2))
    return Embedder("tiny", 8, trunk, nn.Sequential(nn.Flatten(), nn.Linear(16, 8))).eval()


@pytest.fixture
def faces(tmp_path: Path) -> FaceDataset:
    """150 faces of 28 pixels, in another order than on disk."""
    draw = np.random.default_rng(0)
    np.save(tmp_path / "crops.npy", draw.integers(0, 256, (160, 28, 28, 3), np.uint8))
    crops = np.load(tmp_path / "crops.npy", mmap_mode="r")
    rows = draw.permutation(160)[:150]
    persons = [f"Person_{number % 50}" for number in range(150)]
    return FaceDataset.of(crops, rows, persons, np.zeros(150, bool))


def test_crops_are_read_as_they_are_and_changed_by_the_seed(faces):
    settings, model = Train(flip=True, jitter=0.5), tiny_model()
    inputs = PixelInputs(faces, faces, CPU, settings)
    loaded = inputs.load(POSITIONS)
    assert loaded.dtype == torch.uint8
    assert np.array_equal(loaded.numpy(), faces.crops[faces.rows[POSITIONS]])
    embeddings = inputs.embed(model, loaded, seed=7)
    pixels = loaded.permute(0, 3, 1, 2).float()
    # Convolutions of another batch may add in another order.
    torch.testing.assert_close(embeddings, model(augment(pixels, settings, 7)))
    assert embeddings.requires_grad
    torch.testing.assert_close(inputs.embed(model, loaded[1:], 7, first=1), embeddings[1:])
    assert not torch.allclose(inputs.embed(model, loaded, seed=8), embeddings, atol=1e-3)
    plain = inputs.embed_plain(model, "val")  # unchanged and in order
    pixels = torch.from_numpy(faces.crops[faces.rows]).permute(0, 3, 1, 2).float()
    assert plain.dtype == np.float32
    assert np.allclose(plain, model(pixels).detach().numpy(), atol=1e-6)


def test_frozen_units_are_fused_and_have_no_gradient(faces):
    settings = [Train(flip=True, frozen_units=units) for units in (0, 2)]
    whole, frozen = (PixelInputs(faces, faces, CPU, one) for one in settings)
    model, loaded = tiny_model(), frozen.load(np.arange(20))
    embeddings = frozen.embed(model, loaded, seed=7)
    torch.testing.assert_close(embeddings, whole.embed(model, loaded, seed=7), rtol=0, atol=1e-5)
    norms = [part for part in frozen._frozen.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not norms
    embeddings[:, 0].sum().backward()
    given = {name: weight.grad is not None for name, weight in model.named_parameters()}
    assert all(given[name] == name.startswith("head") for name in given)


def test_features_are_seen_from_a_view_that_the_seed_draws():
    draw = np.random.default_rng(1)
    features = draw.normal(size=(40, 2, 4, 2, 2)).astype(np.float16)
    faces = FaceDataset(features, np.arange(40), np.arange(40), np.zeros(40, bool))
    model = tiny_model()
    inputs = FeatureInputs(faces, faces, CPU, {"train": features, "val": features})
    loaded = inputs.load(np.arange(40))
    assert loaded.dtype == torch.float16
    assert loaded.shape == (40, 2, 4, 2, 2)
    seen = inputs.embed(model, loaded, seed=3)
    assert torch.equal(inputs.embed(model, loaded, seed=3), seen)
    assert torch.equal(inputs.embed(model, loaded[10:], 3, first=10), seen[10:])
    views = [model.embed_features(loaded[:, view].float()) for view in (0, 1)]
    first, second = (
        [torch.equal(*both) for both in zip(seen, view, strict=True)] for view in views
    )
    assert 8 < sum(first) < 32 and [not one for one in first] == second
    assert np.allclose(inputs.embed_plain(model, "val"), views[0].detach().numpy(), atol=1e-6)


def test_the_head_on_features_equals_the_model_on_crops(tmp_path):
    model = tiny_model()
    features = cached_features(model, SIX, True, tmp_path, "train", CPU)
    inputs = FeatureInputs(SIX, SIX, CPU, {"train": features, "val": features[:, 1:]})
    whole = embed_crops(model, SIX.crops)
    assert np.abs(inputs.embed_plain(model, "train") - whole).max() < 2e-3
    mirrored = embed_crops(model, SIX.crops[:, :, ::-1])
    assert np.abs(inputs.embed_plain(model, "val") - mirrored).max() < 2e-3


@pytest.mark.parametrize("flip", [False, True])
def test_an_interrupted_pass_continues_where_it_stopped(tmp_path, flip):
    model = tiny_model()
    faces, folder = coloured_people(35, 2), tmp_path / "interrupted"
    whole = cached_features(model, faces, flip, tmp_path / "whole", "train", CPU)
    views, seen = 1 + flip, list[int]()

    def stop_in_the_third(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        seen.append(len(inputs[0]))
        if len(seen) == 1 + 2 * views + 1:  # the first call is for the shape
            raise KeyboardInterrupt

    hook = model.trunk.register_forward_pre_hook(stop_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        cached_features(model, faces, flip, folder, "train", CPU)
    (path,) = folder.glob("features-*")
    hook.remove()
    model.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    done = path.stat().st_size * len(faces) // whole.nbytes
    with path.open("ab") as file:
        file.write(b"half of a row")
    for left in (len(faces) - done, 0):
        seen.clear()
        features = cached_features(model, faces, flip, folder, "train", CPU)
        assert sum(seen) == 1 + views * left
        assert np.array_equal(features, whole)


def test_features_that_another_process_computes_are_refused(tmp_path):
    model = tiny_model()
    with file_lock(tmp_path / ".features-train.lock", "they are being computed"):
        with pytest.raises(FaceOpsError, match=r"features of train .* by another faceops process"):
            cached_features(model, SIX, False, tmp_path, "train", CPU)
        cached_features(model, SIX, False, tmp_path, "val", CPU)


@pytest.mark.parametrize("change", ["crops", "order", "weights", "flip", "version"])
def test_stale_features_are_replaced(tmp_path, change, monkeypatch):
    model = tiny_model()
    cached_features(model, SIX, False, tmp_path, "train", CPU)
    (before,) = tmp_path.glob("features-*")
    faces = SIX
    if change == "crops":
        faces = replace(SIX, crops=SIX.crops.copy())
        faces.crops[0, 0, 0, 0] ^= 1
    if change == "order":
        faces = replace(SIX, rows=SIX.rows[::-1])
    if change == "weights":
        next(model.trunk.parameters()).data[0] += 1
    if change == "version":
        monkeypatch.setattr(inputs_module, "FEATURES_VERSION", 99)
    cached_features(model, faces, change == "flip", tmp_path, "train", CPU)
    (after,) = tmp_path.glob("features-*")
    assert after != before
