"""MNIST (LeCun et al. 1998): 70,000 handwritten digits in four IDX files, gzipped or not."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.dataset.sources.mnist import IMAGES, LABELS, read_idx


@dataclass(frozen=True)
class Digits:
    """Images uint8 (N, 28, 28), white on black, and the digit of each, int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


def read_mnist(folder: Path) -> tuple[Digits, Digits]:
    """Return the 60,000 training and the 10,000 test digits of `folder`.

    Raises:
        UsageError: a file is not there.
        FaceOpsError: a file is damaged, or images and labels are not of one number.
    """
    train, test = (
        Digits(
            read_idx(_file(folder, f"{part}-images-idx3-ubyte"), IMAGES),
            read_idx(_file(folder, f"{part}-labels-idx1-ubyte"), LABELS).astype(np.int64),
        )
        for part in ("train", "t10k")
    )
    for name, digits in (("training", train), ("test", test)):
        if len(digits.images) != len(digits.labels):
            raise FaceOpsError(
                f"{folder} has {len(digits.images)} {name} images and {len(digits.labels)} labels;"
                " get MNIST's four files anew."
            )
    return train, test


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise UsageError(f"{folder} holds no {name}.gz; name the folder of MNIST's files by --mnist.")
