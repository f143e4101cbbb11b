"""Source mnist: handwritten digits in IDX files (LeCun et al.), a "person" a digit.

Not faces: for trying the pipeline on something small and known.
"""

import gzip
import zlib
from functools import partial
from pathlib import Path

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.dataset.sources.labelled_photo import LabelledPhoto, folders_to_depth, wrong_layout
from faceops.dataset.synthetic.encode import png

_PARTS = ("train", "t10k")
IMAGES, LABELS = 0x00000803, 0x00000801  # magic: uint8, three dimensions; uint8, one


def read_idx(path: Path, magic: int) -> np.ndarray:
    """Return the uint8 array in the IDX file `path`, gzipped or not.

    Raises:
        FaceOpsError: broken, another magic number, or a length that is not the header's.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise FaceOpsError(f"{path} cannot be read ({error}); download it again.") from None
    dimensions = magic & 0xFF
    found = int.from_bytes(content[:4], "big")
    if found != magic:
        raise FaceOpsError(
            f"{path} has the magic number {found:#010x}, not {magic:#010x}; it is not the IDX file "
            "that its name says, download it again."
        )
    header = 4 + 4 * dimensions
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4)]
    if len(content) - header != int(np.prod(sizes, dtype=object)):
        raise FaceOpsError(f"{path} has another length than its header says; download it again.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def _find(root: Path, name: str) -> Path | None:
    for folder in folders_to_depth(root, 2):
        for candidate in (name, name + ".gz", name.replace("-idx", ".idx")):
            if (folder / candidate).is_file():
                return folder / candidate
    return None


def list_mnist(root: Path) -> list[LabelledPhoto]:
    """Return every digit as a grey PNG of 28 x 28 pixels of the "person" digit_<digit>.

    Raises:
        FaceOpsError: no IDX files, one that is broken, or counts that differ.
    """
    photos = []
    for part in _PARTS:
        images_path = _find(root, f"{part}-images-idx3-ubyte")
        labels_path = _find(root, f"{part}-labels-idx1-ubyte")
        if images_path is None and labels_path is None:
            continue
        if images_path is None or labels_path is None:
            lacking = "images-idx3" if images_path is None else "labels-idx1"
            raise wrong_layout(root, "mnist", f"{part}-{lacking}-ubyte(.gz) is missing")
        images, labels = read_idx(images_path, IMAGES), read_idx(labels_path, LABELS)
        if len(images) != len(labels):
            raise FaceOpsError(
                f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels; "
                "download both again."
            )
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = f"{part}_{number:05d}.png"
            photos.append(LabelledPhoto(f"digit_{label}", file, file, partial(png, image)))
    if not photos:
        raise wrong_layout(root, "mnist", "train-images-idx3-ubyte(.gz) and the like are expected")
    return photos
