"""The aligned crops of enrolled faces: one PNG each, below crops/, named by its SHA-256.

They lie apart from faces.parquet, so that renaming or searching people never reads them and
enrolling writes only the new ones.
"""

import hashlib
import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from faceops.base.files import write_file
from faceops.faces.align import CROP_SIZE

CROPS_FOLDER = "crops"
_OUR_FILE = re.compile(r"(?P<id>[0-9a-f]{64})\.png|\.[0-9a-f]{64}\.png\.tmp")  # or half written
FORMAT_1_ROWS = 256  # read at once from a gallery of format 1, about 20 kB each


def crop_path(gallery: Path, crop_id: str) -> Path:
    """Return the path of the crop."""
    return gallery / CROPS_FOLDER / crop_id[:2] / f"{crop_id}.png"


def store_crop(gallery: Path, crop: np.ndarray) -> str:
    """Store uint8 (112, 112, 3) RGB without loss; return its crop id."""
    buffer = io.BytesIO()
    Image.fromarray(crop).save(buffer, "PNG")
    return store_png(gallery, buffer.getvalue())


def store_png(gallery: Path, png: bytes) -> str:
    """Store the bytes of a crop; return its crop id, "" of no bytes."""
    if not png:
        return ""
    crop_id = hashlib.sha256(png).hexdigest()
    path = crop_path(gallery, crop_id)
    if not path.is_file():
        write_file(path, png)
    return crop_id


def load_crop(gallery: Path, crop_id: str) -> np.ndarray:
    """Return a crop, uint8 (112, 112, 3) RGB; raise a ValueError if it is missing or damaged."""
    try:
        with Image.open(crop_path(gallery, crop_id), formats=["PNG"]) as image:
            crop = np.asarray(image)
    except Exception as error:  # noqa: BLE001  Pillow raises many kinds for a damaged file
        raise ValueError(f"not a readable PNG ({error})") from None
    if crop.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise ValueError(f"an image of shape {crop.shape}")
    return crop


def remove_unused_crops(gallery: Path, used: Collection[str]) -> None:
    """Delete every crop, finished or half written, whose id is not in `used`; no other file."""
    for path in (gallery / CROPS_FOLDER).glob("??/*"):
        match = _OUR_FILE.fullmatch(path.name)
        if match and match["id"] not in used and path.is_file():
            path.unlink()


def format_1_crops(faces: Path) -> Iterator[bytes]:
    """Yield the PNG of each row of a faces.parquet of format 1, which held the crops itself."""
    with pq.ParquetFile(faces) as file:
        for batch in file.iter_batches(FORMAT_1_ROWS, columns=["crop"]):
            yield from (crop or b"" for crop in batch["crop"].to_pylist())
