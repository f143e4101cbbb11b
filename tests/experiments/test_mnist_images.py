"""MNIST's files are read exactly, and what is wrong with one is told in a sentence."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.training.mnist_images import read_mnist
from experiments.training.mnist_inputs import bend
from faceops.base.errors import FaceOpsError, UsageError

PARTS = {"train": 6, "t10k": 4}


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    for part, count in PARTS.items():
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        packed = gzip.compress(idx(labels))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(packed)
    return tmp_path


def test_values_and_labels_are_read_as_they_were_written(mnist: Path) -> None:
    train, test = read_mnist(mnist)
    draw = np.random.default_rng(0)
    for digits, count in ((train, 6), (test, 4)):
        written = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        assert np.array_equal(digits.images, written)
        assert digits.labels.tolist() == list(range(count))


def test_a_missing_file_is_named(mnist: Path) -> None:
    (mnist / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UsageError, match=r"holds no t10k-labels-idx1-ubyte.gz; .* --mnist"):
        read_mnist(mnist)


@pytest.mark.parametrize("left", [2, 10, 500])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"])
def test_a_file_that_is_cut_off_is_refused(mnist: Path, name: str, left: int) -> None:
    whole = (mnist / name).read_bytes()
    (mnist / name).write_bytes(whole[: min(left, len(whole) - 1)])
    with pytest.raises(FaceOpsError, match=f"{name} .*download it again"):
        read_mnist(mnist)


def test_another_files_bytes_and_unequal_numbers_are_refused(mnist: Path) -> None:
    images = mnist / "t10k-images-idx3-ubyte"
    whole = images.read_bytes()
    images.write_bytes(idx(np.arange(4, dtype=np.uint8)))
    with pytest.raises(FaceOpsError, match="magic number 0x00000801, not 0x00000803"):
        read_mnist(mnist)
    images.write_bytes(whole)
    labels = (mnist / "train-labels-idx1-ubyte.gz").read_bytes()
    (mnist / "t10k-labels-idx1-ubyte.gz").write_bytes(labels)
    with pytest.raises(FaceOpsError, match="4 test images and 6 labels"):
        read_mnist(mnist)


def test_digits_are_bent_by_the_seed_and_not_at_all_at_strength_0() -> None:
    digits = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 255
    same, bent, again = (
        bend(digits, np.random.default_rng(4), strength) for strength in (0.0, 1.0, 1.0)
    )
    assert torch.allclose(same, digits, atol=1e-2)
    assert torch.equal(bent, again)
    assert (bent - digits).abs().mean() > 10
    assert bent.min() >= 0 and bent.max() <= digits.max() + 1e-3
