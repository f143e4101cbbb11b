"""The aligned crops of enrolled faces: one PNG each, named by its SHA-256.

They are separate from the embeddings: renaming and searching never read them, and enrolling writes
only the new ones.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from faceops.base.errors import shortage
from faceops.faces.align import CROP_SIZE

FORMAT_1_ROWS = 256  # read at once from a gallery of format 1, about 20 kB each


def encode_crop(crop: np.ndarray) -> bytes:
    """Return uint8 (112, 112, 3) RGB as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return buffer.getvalue()


def load_crop(png: Callable[[str], bytes], crop_id: str) -> np.ndarray:
    """Return a crop, uint8 (112, 112, 3) RGB; raise a ValueError if it is missing or damaged.

    `png` returns the bytes of a crop, see `GalleryStorage.png`.
    """
    try:
        content = png(crop_id)
        if hashlib.sha256(content).hexdigest() != crop_id:
            raise ValueError("its SHA-256 differs")
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if (image.mode, image.size) != ("RGB", (CROP_SIZE, CROP_SIZE)):  # before decoding it
                raise ValueError(f"an image of {image.width} x {image.height}, {image.mode}")
            return np.asarray(image)
    except FileNotFoundError:
        raise ValueError("missing") from None
    except Exception as error:  # noqa: BLE001  Pillow raises many kinds for a damaged file
        if lack := shortage(error):
            raise lack from None
        raise ValueError(f"damaged ({error})") from None


def format_1_crops(faces: Path) -> Iterator[bytes]:
    """Yield the PNG of each row of a faces.parquet of format 1, which held the crops itself."""
    with pq.ParquetFile(faces) as file:
        for batch in file.iter_batches(FORMAT_1_ROWS, columns=["crop"]):
            yield from (crop or b"" for crop in batch["crop"].to_pylist())
