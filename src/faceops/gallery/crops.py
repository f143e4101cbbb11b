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
from faceops.base.shortage import shortage
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
        return _decode(crop_path(gallery, crop_id).read_bytes())
    except OSError as error:
        raise ValueError(f"not readable ({error})") from None


def _decode(png: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            crop = np.asarray(image)
    except Exception as error:  # noqa: BLE001  Pillow raises many kinds for a damaged file
        if lack := shortage(error):
            raise lack from None
        raise ValueError(f"not a readable PNG ({error})") from None
    if crop.shape != (CROP_SIZE, CROP_SIZE, 3):
        raise ValueError(f"an image of shape {crop.shape}")
    return crop


def crop_problem(png: bytes, crop_id: str = "") -> str:
    """Return what is wrong with the bytes of a crop, "" if nothing; its id is not checked if ""."""
    if not png:
        return "missing"
    if crop_id and hashlib.sha256(png).hexdigest() != crop_id:
        return "damaged (its SHA-256 differs)"
    try:
        _decode(png)
    except ValueError as error:
        return f"damaged ({error})"
    return ""


def stored_crops(gallery: Path) -> dict[str, Path]:
    """Return the finished crops below crops/ by their ids."""
    found = ((_OUR_FILE.fullmatch(path.name), path) for path in _crop_files(gallery))
    return {match["id"]: path for match, path in found if match and match["id"]}


def _crop_files(gallery: Path) -> Iterator[Path]:
    return (gallery / CROPS_FOLDER).glob("??/*")


def remove_unused_crops(gallery: Path, used: Collection[str]) -> None:
    """Delete every crop, finished or half written, whose id is not in `used`; no other file."""
    for path in _crop_files(gallery):
        match = _OUR_FILE.fullmatch(path.name)
        if match and match["id"] not in used and path.is_file():
            path.unlink()


def format_1_crops(faces: Path) -> Iterator[bytes]:
    """Yield the PNG of each row of a faces.parquet of format 1, which held the crops itself."""
    with pq.ParquetFile(faces) as file:
        for batch in file.iter_batches(FORMAT_1_ROWS, columns=["crop"]):
            yield from (crop or b"" for crop in batch["crop"].to_pylist())
