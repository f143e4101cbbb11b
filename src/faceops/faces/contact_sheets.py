"""Draw contact sheets: thumbnails with captions in titled sections."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw, ImageFont

from faceops.base.files import atomic_path
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, open_photo

COLUMNS, SIDE = 10, 112
_GAP, _CAPTION, _TITLE, _NOTE = 10, 32, 46, 16
_PAPER, _INK, _FAINT = (250, 250, 248), (30, 32, 36), (120, 124, 130)
_EMPTY = (226, 226, 222)

Colour = tuple[int, int, int]
PLAIN: Colour = _FAINT
GOOD: Colour = (34, 120, 74)
BAD: Colour = (176, 48, 40)


@dataclass(frozen=True)
class Thumbnail:
    """One picture of at most 112 x 112 (None is drawn as a cross) and two lines below it.

    `colour` is that of the second line, and of a frame where `framed`.
    """

    picture: Image.Image | None
    name: str
    note: str = ""
    colour: Colour = PLAIN
    framed: bool = False


@dataclass(frozen=True)
class ThumbnailSection:
    """Thumbnails below a title and, where there is a `note`, a smaller second line."""

    title: str
    thumbnails: Sequence[Thumbnail]
    note: str = ""

    @property
    def top(self) -> int:
        """Height of what stands above the thumbnails, in pixels."""
        return _TITLE + (_NOTE if self.note else 0)

    @property
    def height(self) -> int:
        return self.top + -(-len(self.thumbnails) // COLUMNS) * (SIDE + _CAPTION + _GAP)


def draw_sections(sections: Sequence[ThumbnailSection]) -> Image.Image:
    """Return an RGB sheet of `sections`, ten thumbnails a row, 1,230 pixels wide."""
    width = COLUMNS * (SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, sum(s.height for s in sections) + _GAP), _PAPER)
    draw, top = ImageDraw.Draw(sheet), 0
    for section in sections:
        _line(draw, (_GAP, top + 14), section.title, _INK, 20, width - 2 * _GAP)
        _line(draw, (_GAP, top + 40), section.note, _FAINT, 12, width - 2 * _GAP)
        for number, thumbnail in enumerate(section.thumbnails):
            x = _GAP + number % COLUMNS * (SIDE + _GAP)
            y = top + section.top + number // COLUMNS * (SIDE + _CAPTION + _GAP)
            _draw(sheet, (x, y), thumbnail)
        top += section.height
    return sheet


def write_sheet(sheet: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG")


def _draw(sheet: Image.Image, corner: tuple[int, int], thumbnail: Thumbnail) -> None:
    draw, (x, y), colour = ImageDraw.Draw(sheet), corner, thumbnail.colour
    draw.rectangle((x, y, x + SIDE - 1, y + SIDE - 1), fill=_EMPTY)
    if thumbnail.picture is None:
        draw.line((x + 36, y + 36, x + 76, y + 76), fill=_FAINT, width=3)
        draw.line((x + 36, y + 76, x + 76, y + 36), fill=_FAINT, width=3)
    else:
        width, height = thumbnail.picture.size
        sheet.paste(thumbnail.picture, (x + (SIDE - width) // 2, y + (SIDE - height) // 2))
    if thumbnail.framed:
        draw.rectangle((x - 3, y - 3, x + SIDE + 2, y + SIDE + 2), outline=colour, width=3)
    _line(draw, (x, y + SIDE + 2), thumbnail.name.replace("_", " "), _INK, 11, SIDE)
    _line(draw, (x, y + SIDE + 16), thumbnail.note.replace("_", " "), colour, 11, SIDE)


def _line(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: Colour, size: int,
    width: int,
) -> None:  # fmt: skip
    """Write one line, cut to `width` pixels; unprintable characters become spaces."""
    font = ImageFont.load_default(size)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    end = ""
    while text and draw.textlength(text + end, font=font) > width:
        text, end = text[: -1 if end else None], "..."
    draw.text(place, text + end, fill=colour, font=font)


_MAX_THUMBNAILS = 60  # of each kind


def draw_contact_sheet(
    table: pa.Table, crops: np.ndarray, data_root: Path, limits: PhotoLimits
) -> Image.Image:
    """Return a sheet: kept faces with person and quality, rejected photos with their reason.

    At most 60 of each, evenly spread over the `table` (as `crop_photos.SCHEMA`), so equal input
    gives an equal sheet. `data_root` is the folder that its paths start from.
    """

    def kept(row: dict[str, Any]) -> Thumbnail:
        crop, note = Image.fromarray(crops[row["crop"]]), f"quality {row['quality']:.2f}"
        return Thumbnail(crop, row["person"], note, GOOD)

    def rejected(row: dict[str, Any]) -> Thumbnail:
        photo = None
        with suppress(PhotoError):
            photo = Image.fromarray(open_photo(data_root / row["path"], limits).pixels)
            photo.thumbnail((SIDE, SIDE))
        return Thumbnail(photo, row["person"], row["reason"], BAD)

    sections, faces = [], table.to_pylist()
    for title, make in (("Kept", kept), ("Rejected", rejected)):
        rows = [row for row in faces if (row["crop"] >= 0) == (make is kept)]
        count = min(len(rows), _MAX_THUMBNAILS)
        shown = [rows[number * len(rows) // count] for number in range(count)]
        of = "" if count == len(rows) else f"{count} of "
        thumbnails = [make(row) for row in shown]
        sections.append(ThumbnailSection(f"{title}: {of}{len(rows)}", thumbnails))
    return draw_sections(sections)
