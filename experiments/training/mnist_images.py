"""MNIST (LeCun et al. 1998): 70,000 handwritten digits in four IDX files, gzipped or not."""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceops.errors import FaceOpsError, UsageError

_UINT8 = 8  # the only type of value in MNIST's files


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
            read_idx(_file(folder, f"{part}-images-idx3-ubyte"), 3),
            read_idx(_file(folder, f"{part}-labels-idx1-ubyte"), 1).astype(np.int64),
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


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Return the array in an IDX file of bytes: uint8, of so many `dimensions`.

    The file is two zero bytes, the type, the number of dimensions, each size as a big-endian
    uint32, then the values.

    Raises:
        FaceOpsError: the file is cut off, or is no such file.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            raise FaceOpsError(f"{path} is cut off or no gzip file; get it anew.") from None
    if content[:4] != bytes([0, 0, _UINT8, dimensions]):
        raise FaceOpsError(
            f"{path} is no IDX file of bytes in {dimensions} dimensions; get it anew."
        )
    start = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    values = np.frombuffer(content[start:], np.uint8)
    if len(content) < start or len(values) != math.prod(sizes):
        raise FaceOpsError(
            f"{path} says {' x '.join(map(str, sizes))} values but holds {len(values)}: it is cut"
            " off; get it anew."
        )
    return values.reshape(sizes)
