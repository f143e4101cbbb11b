"""What a step is fed: crops of any size from a memory map, features, both by the seed alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

from faceops.embedding.backbones.layers import InputStage
from faceops.embedding.embedder import Embedder
from faceops.embedding.training.augmentation import Augmentation, augment
from faceops.embedding.training.dataset import FaceDataset
from faceops.embedding.training.inputs import FeatureInputs, PixelInputs

CPU = torch.device("cpu")
POSITIONS = np.array([5, 0, 3])


def tiny_model() -> Embedder:
    torch.manual_seed(0)
    trunk = torch.nn.Sequential(InputStage(), torch.nn.AdaptiveAvgPool2d(2))
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8))
    return Embedder("tiny", 8, trunk, head)


@pytest.fixture
def faces(tmp_path: Path) -> FaceDataset:
    """150 faces of 28 pixels, in another order than on disk."""
    draw = np.random.default_rng(0)
    np.save(tmp_path / "crops.npy", draw.integers(0, 256, (160, 28, 28, 3), np.uint8))
    crops = np.load(tmp_path / "crops.npy", mmap_mode="r")
    rows = draw.permutation(160)[:150]
    persons = [f"Person_{number % 50}" for number in range(150)]
    return FaceDataset.of(crops, rows, persons, np.zeros(150, bool))


def test_crops_are_read_as_they_are_and_changed_by_the_seed(faces: FaceDataset) -> None:
    settings, model = Augmentation(flip=True, jitter=0.5), tiny_model()
    inputs = PixelInputs(faces, faces, settings, CPU)
    loaded = inputs.load(POSITIONS)
    assert loaded.dtype == torch.uint8
    assert np.array_equal(loaded.numpy(), faces.crops[faces.rows[POSITIONS]])
    embeddings = inputs.embed(model, loaded, seed=7)
    pixels = loaded.permute(0, 3, 1, 2).float()
    assert torch.equal(embeddings, model(augment(pixels, settings, 7)))
    assert embeddings.requires_grad
    assert torch.equal(inputs.embed(model, loaded[1:], 7, first=1), embeddings[1:])
    assert not torch.equal(inputs.embed(model, loaded, seed=8), embeddings)


def test_features_are_seen_from_a_view_that_the_seed_draws() -> None:
    draw = np.random.default_rng(1)
    features = draw.normal(size=(40, 2, 3, 2, 2)).astype(np.float16)
    faces = FaceDataset(features, np.arange(40), np.arange(40), np.zeros(40, bool))
    model = tiny_model()
    inputs = FeatureInputs(faces, faces, {"train": features, "val": features}, CPU)
    loaded = inputs.load(np.arange(40))
    assert loaded.dtype == torch.float16
    assert loaded.shape == (40, 2, 3, 2, 2)
    seen = inputs.embed(model, loaded, seed=3)
    assert torch.equal(inputs.embed(model, loaded, seed=3), seen)
    assert torch.equal(inputs.embed(model, loaded[10:], 3, first=10), seen[10:])
    views = [model.embed_features(loaded[:, view].float()) for view in (0, 1)]
    first = [torch.equal(*pair) for pair in zip(seen, views[0], strict=True)]
    second = [torch.equal(*pair) for pair in zip(seen, views[1], strict=True)]
    assert 8 < sum(first) < 32
    assert [not one for one in first] == second
    plain = inputs.embed_plain(model, "val")
    assert np.allclose(plain, views[0].detach().numpy(), atol=1e-6)


def test_all_faces_are_embedded_unchanged_and_in_order(faces: FaceDataset) -> None:
    model = tiny_model()
    inputs = PixelInputs(faces, faces, Augmentation(flip=True, jitter=1), CPU)
    plain = inputs.embed_plain(model, "val")
    pixels = torch.from_numpy(faces.crops[faces.rows]).permute(0, 3, 1, 2).float()
    assert plain.dtype == np.float32
    assert np.allclose(plain, model(pixels).detach().numpy(), atol=1e-6)
