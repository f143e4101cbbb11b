"""The aligned crops of enrolled faces: one PNG each, below crops/, named by its SHA-256.

They lie apart from the embeddings, so that renaming or searching people never reads them and
enrolling writes only the new ones.
"""

import hashlib
import io
import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from faceops.base.errors import shortage
from faceops.base.files import write_file
from faceops.faces.align import CROP_SIZE

CROPS_FOLDER = "crops"
_OUR_FILE = re.compile(r"(?P<id>[0-9a-f]{64})\.png|\.[0-9a-f]{64}\.png\.tmp")  # or half written
FORMAT_1_ROWS = 256  # read at once from a gallery of format 1, about 20 kB each


def crop_path(gallery: Path, crop_id: str) -> Path:
    """Return the path of the crop."""
    return gallery / CROPS_FOLDER / crop_id[:2] / f"{crop_id}.png"


def encode_crop(crop: np.ndarray) -> bytes:
    """Return uint8 (112, 112, 3) RGB as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return buffer.getvalue()


def store_png(gallery: Path, png: bytes) -> str:
    """Store the bytes of a crop; return its crop id, "" of no bytes."""
    if not png:
        return ""
    crop_id = hashlib.sha256(png).hexdigest()
    path = crop_path(gallery, crop_id)
    if not path.is_file():
        write_file(path, png)
    return crop_id


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


def unused_crops(gallery: Path, used: Collection[str]) -> list[Path]:
    """Return every crop, finished or half written, whose id is not in `used`; no other file."""
    found = []
    for folder in (gallery / CROPS_FOLDER).glob("??"):
        with suppress(OSError), os.scandir(folder) as files:  # no `Path`: there may be a million
            for file in files:
                match = _OUR_FILE.fullmatch(file.name)
                if match and match["id"] not in used and file.is_file():
                    found.append(Path(file.path))
    return found


def format_1_crops(faces: Path) -> Iterator[bytes]:
    """Yield the PNG of each row of a faces.parquet of format 1, which held the crops itself."""
    with pq.ParquetFile(faces) as file:
        for batch in file.iter_batches(FORMAT_1_ROWS, columns=["crop"]):
            yield from (crop or b"" for crop in batch["crop"].to_pylist())
