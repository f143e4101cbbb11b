"""One picture of what was kept and what was rejected, for a person to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo

_MOST = 60  # thumbnails of each kind
_COLUMNS = 10
_SIDE = 112
_GAP = 10
_CAPTION = 32
_TITLE = 46
_PAPER, _INK, _FAINT = (250, 250, 248), (30, 32, 36), (120, 124, 130)
_GOOD, _BAD, _EMPTY = (34, 120, 74), (176, 48, 40), (226, 226, 222)


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
    width = _COLUMNS * (_SIDE + _GAP) + _GAP
    height = _height(len(shown_kept)) + _height(len(shown_rejected)) + _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    below = _section(
        sheet,
        0,
        f"Kept: {_how_many(shown_kept, kept)}",
        [
            (Image.fromarray(crops[row["crop"]]), row["person"], f"quality {row['quality']:.2f}")
            for row in shown_kept
        ],
        _GOOD,
    )
    _section(
        sheet,
        below,
        f"Rejected: {_how_many(shown_rejected, rejected)}",
        [
            (_thumbnail(data_root / row["path"], limits), row["person"], row["reason"])
            for row in shown_rejected
        ],
        _BAD,
    )
    return sheet


def write_contact_sheet(sheet: Image.Image, path: Path) -> None:
    """Write `sheet` as PNG under `path`, at once."""
    temporary = path.with_name(path.name + ".tmp")
    sheet.save(temporary, format="PNG")
    temporary.replace(path)


def _spread(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return at most `_MOST` of `rows`, evenly spaced, in their order."""
    if len(rows) <= _MOST:
        return list(rows)
    return [rows[i * len(rows) // _MOST] for i in range(_MOST)]


def _how_many(shown: Sequence[object], of: Sequence[object]) -> str:
    return f"{len(of)}" if len(shown) == len(of) else f"{len(shown)} of {len(of)}"


def _height(count: int) -> int:
    lines = -(-count // _COLUMNS)
    return _TITLE + lines * (_SIDE + _CAPTION + _GAP)


def _section(
    sheet: Image.Image,
    top: int,
    title: str,
    tiles: list[tuple[Image.Image | None, str, str]],
    colour: tuple[int, int, int],
) -> int:
    """Draw a titled block of `tiles` from `top` down; return where the next may begin."""
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, top + 14), title, fill=_INK, font=ImageFont.load_default(20))
    for number, (picture, name, note) in enumerate(tiles):
        x = _GAP + number % _COLUMNS * (_SIDE + _GAP)
        y = top + _TITLE + number // _COLUMNS * (_SIDE + _CAPTION + _GAP)
        draw.rectangle((x, y, x + _SIDE - 1, y + _SIDE - 1), fill=_EMPTY)
        if picture is None:
            draw.line((x + 36, y + 36, x + 76, y + 76), fill=_FAINT, width=3)
            draw.line((x + 36, y + 76, x + 76, y + 36), fill=_FAINT, width=3)
        else:
            left, above = (_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2
            sheet.paste(picture, (x + left, y + above))
        _caption(draw, (x, y + _SIDE + 2), name.replace("_", " "), _INK)
        _caption(draw, (x, y + _SIDE + 16), note.replace("_", " "), colour)
    return top + _height(len(tiles))


def _caption(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: tuple[int, int, int]
) -> None:
    """Write one line, cut to the width of a tile."""
    font = ImageFont.load_default(11)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    if draw.textlength(text, font=font) > _SIDE:
        while text and draw.textlength(text + "...", font=font) > _SIDE:
            text = text[:-1]
        text += "..."
    draw.text(place, text, fill=colour, font=font)


def _thumbnail(path: Path, limits: PhotoLimits) -> Image.Image | None:
    """Return the photo within 112 x 112, None when it cannot be opened."""
    try:
        image = Image.fromarray(open_photo(path, limits).pixels)
    except PhotoError:
        return None
    image.thumbnail((_SIDE, _SIDE))
    return image
