"""One picture of what was kept and what was rejected, for a person to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from faceops.faces.tile_sheet import BAD, GOOD, SIDE, Section, Tile, draw_sections
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo

_MOST = 60  # thumbnails of each kind


def draw_contact_sheet(
    table: pa.Table, crops: np.ndarray, data_root: Path, limits: PhotoLimits
) -> Image.Image:
    """Return a sheet: kept faces with person and quality, rejected photos with their reason.

    At most 60 of each, evenly spread over the table, so equal input gives an equal sheet.

    Args:
        table: as `faces_table.SCHEMA`.
        crops: uint8 (N, 112, 112, 3).
        data_root: the folder that the table's paths start from.
        limits: for opening rejected photos.
    """
    rows = table.to_pylist()
    kept = [row for row in rows if row["crop"] >= 0]
    rejected = [row for row in rows if row["crop"] < 0]
    shown_kept, shown_rejected = _spread(kept), _spread(rejected)
    good = [
        Tile(
            Image.fromarray(crops[row["crop"]]),
            row["person"],
            f"quality {row['quality']:.2f}",
            GOOD,
        )
        for row in shown_kept
    ]
    bad = [
        Tile(_thumbnail(data_root / row["path"], limits), row["person"], row["reason"], BAD)
        for row in shown_rejected
    ]
    return draw_sections(
        [
            Section(f"Kept: {_how_many(shown_kept, kept)}", good),
            Section(f"Rejected: {_how_many(shown_rejected, rejected)}", bad),
        ]
    )


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most `_MOST` of `rows`, evenly spaced, in their order."""
    if len(rows) <= _MOST:
        return list(rows)
    return [rows[i * len(rows) // _MOST] for i in range(_MOST)]


def _how_many(shown: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(of)}" if len(shown) == len(of) else f"{len(shown)} of {len(of)}"


def _thumbnail(path: Path, limits: PhotoLimits) -> Image.Image | None:
    """Return the photo within 112 x 112, None when it cannot be opened."""
    try:
        image = Image.fromarray(open_photo(path, limits).pixels)
    except PhotoError:
        return None
    image.thumbnail((SIDE, SIDE))
    return image
