"""Drawn copies of a run's photos; what an earlier run drew just so is linked, not drawn again."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceops.base.parallel import ordered_map
from faceops.gallery.names import valid_unicode
from faceops.identification.engine.decide import Decision, Outcome
from faceops.identification.engine.engine import NamedPhoto
from faceops.identification.state.found_photo import FoundFace
from faceops.photos.open_photo import PhotoError, PhotoLimits, open_photo

_COLOURS = {
    Outcome.IDENTIFIED: (22, 130, 70),
    Outcome.UNKNOWN: (190, 110, 0),
    Outcome.REJECTED: (120, 120, 120),
}
# Wide coverage first; Pillow's own font has Latin letters only.
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf")

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=64)
def font(size: int, latin: bool) -> Font:
    """Return a font of `size` pixels; for other than Latin text one of the system if it can be."""
    for name in () if latin else _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def annotated(
    pixels: np.ndarray, faces: tuple[FoundFace, ...], decisions: list[Decision]
) -> Image.Image:
    """Return the photo, uint8 (H, W, 3) RGB, with a box a face, and the name or the reason."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    # Least important first, so that names lie on top.
    order = sorted(range(len(faces)), key=lambda index: decisions[index].person is not None)
    for index in order:
        face, decision = faces[index], decisions[index]
        if face.forgotten:
            continue
        x, y, width, height = face.box
        colour = _COLOURS[decision.outcome]
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        _label(draw, image, face, label_of(decision), colour)
    return image


def label_of(decision: Decision) -> str:
    """Return what is written at a face."""
    if decision.person and decision.best:
        return f"{decision.person} {decision.best.probability:.2f}"
    return str(decision.reason or decision.outcome).replace("_", " ")


def _label(
    draw: ImageDraw.ImageDraw,
    image: Image.Image,
    face: FoundFace,
    text: str,
    colour: tuple[int, int, int],
) -> None:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    letters = font(
        round(min(48, max(12, face.box[3] / 6))), all(ord(letter) < 0x250 for letter in shown)
    )
    left, top, right, bottom = draw.textbbox((0, 0), shown, font=letters)
    width, height = right - left + 8, bottom - top + 6
    x = min(max(face.box[0], 0), max(image.width - width, 0))
    below = face.box[1] + face.box[3]
    y = face.box[1] - height if face.box[1] >= height else min(below, image.height - height)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 4 - left, y + 3 - top), shown, font=letters, fill=(255, 255, 255))


def save_annotated(image: Image.Image, path: Path, comment: bytes) -> None:
    """Save as a new JPEG at `path`.

    Raises:
        FileExistsError: there is one.
    """
    with path.open("xb") as file:
        image.save(file, "JPEG", quality=90, comment=comment)


_NAME_BYTES = 255  # as most file systems allow
_PATH_BYTES = 2000  # of at most 4096 that the output folder's own path shares
_ENDING = ".jpg"


def drawn_path(photo_path: str) -> Path:
    """Return the drawn copy's path below the folder of drawn copies.

    That is photo.jpg.jpg in the photo's own folder. Where such a name is too long, or might be a
    folder's name, it is a short one at the top, with a part of the path's sha256.

    Args:
        photo_path: as the records have it, below the photos' folder.
    """
    usual = Path(photo_path + _ENDING)
    if (
        len(usual.name.encode()) <= _NAME_BYTES
        and len(photo_path.encode()) <= _PATH_BYTES
        and not any(folder.endswith(_ENDING) for folder in usual.parts[:-1])
    ):
        return usual
    return Path(f"{usual.name[:40]}-{sha256(photo_path.encode()).hexdigest()[:24]}{_ENDING}")


# Raise it with every change of what is drawn for the same decisions.
DRAWING_VERSION = 1
_HEAD = 1024  # bytes of a JPEG that Pillow's comment lies in
_JPEG_END = b"\xff\xd9"


def with_drawings(
    photos: Iterator[NamedPhoto],
    root: Path,
    folder: Path,
    earlier: Path | None,
    limits: PhotoLimits,
    threads: int,
) -> Iterator[NamedPhoto]:
    """Leave a drawn copy of each photo with faces in the new `folder`; pass the photos on.

    Each copy says in its JPEG comment what it was drawn from. Where the one in `earlier` was drawn
    from the same, it is taken over as a hard link, and the photo is not opened.

    Args:
        root: the folder that the photos lie in.
        earlier: drawn copies of an earlier run, if there is one.
    """
    folder.mkdir()

    def draw(named: NamedPhoto) -> NamedPhoto:
        if not named.photo.faces:
            return named
        place = drawn_path(valid_unicode(named.path.relative_to(root).as_posix()))
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        drawn_from = _drawn_from(named)
        # Two names that differ in bytes which are no text share one path: the first copy stays.
        with contextlib.suppress(FileExistsError):
            if earlier and _is_drawn_from(earlier / place, drawn_from):
                _take_over(earlier / place, folder / place)
            else:
                # Gone or changed since it was looked at: its rows stand, nothing is drawn on.
                with contextlib.suppress(PhotoError):
                    pixels = open_photo(named.path, limits).pixels
                    image = annotated(pixels, named.photo.faces, named.decisions)
                    save_annotated(image, folder / place, drawn_from)
        return named

    return ordered_map(draw, photos, threads)


def _drawn_from(named: NamedPhoto) -> bytes:
    """Return a line that tells whether a copy would be drawn alike: photo, boxes and labels."""
    faces = [
        (face.box, face.forgotten, decision.outcome, label_of(decision))
        for face, decision in zip(named.photo.faces, named.decisions, strict=True)
    ]
    stated = json.dumps([DRAWING_VERSION, named.photo.photo_id, faces])
    return b"faceops drawing " + sha256(stated.encode()).hexdigest().encode()


def _is_drawn_from(path: Path, drawn_from: bytes) -> bool:
    try:
        with path.open("rb") as file:
            if drawn_from not in file.read(_HEAD):
                return False
            file.seek(-len(_JPEG_END), os.SEEK_END)
            return file.read() == _JPEG_END  # whole
    except OSError:
        return False


def _take_over(path: Path, place: Path) -> None:
    try:
        os.link(path, place)
    except FileExistsError:
        raise
    except OSError:  # the disk has no hard links
        with path.open("rb") as source, place.open("xb") as target:
            shutil.copyfileobj(source, target)
