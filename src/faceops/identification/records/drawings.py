"""Annotated copies of a run's photos; an unchanged copy of an earlier run is linked."""

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
from faceops.base.reasons import DecisionKind
from faceops.identification.engine.decide import Decision, NamedPhoto
from faceops.identification.records.output_folder import ANNOTATED
from faceops.identification.state.found_photo import FoundFace
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, open_photo

DRAWING_VERSION = 1  # raise it with every change of what is drawn for the same decisions
_COLOURS = {
    DecisionKind.IDENTIFIED: (22, 130, 70),
    DecisionKind.UNKNOWN: (190, 110, 0),
    DecisionKind.REJECTED: (120, 120, 120),
}
# Fonts of the system, wide coverage first; Pillow's own font has Latin letters only.
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "DejaVuSans.ttf")
_SUFFIX = ".jpg"
_NAME_BYTES = 255  # the limit of most file systems
_PATH_BYTES = 2000  # of at most 4096, which the output folder's own path shares
_HEAD = 1024  # bytes of a JPEG that contain Pillow's comment
_JPEG_END = b"\xff\xd9"


def with_drawings(
    photos: Iterator[NamedPhoto],
    folder: Path,
    earlier: Path | None,
    limits: PhotoLimits,
    threads: int,
) -> Iterator[NamedPhoto]:
    """Draw a copy of each photo with faces into `folder`/annotated; yield the photos.

    The JPEG comment of a copy holds a digest of photo, boxes and labels. If the copy in `earlier`
    has the same, it is hard-linked and the photo is not opened.

    Args:
        folder: of the run.
        earlier: annotated copies of an earlier run, if there are any.
    """
    drawings = folder / ANNOTATED
    drawings.mkdir()

    def draw(named: NamedPhoto) -> NamedPhoto:
        if not named.photo.faces:
            return named
        place = drawn_path(named.photo_path)
        (drawings / place).parent.mkdir(parents=True, exist_ok=True)
        comment = _comment(named)
        # Two names whose bytes are no text may share one path: the first copy stays.
        with contextlib.suppress(FileExistsError):
            if earlier and _has_comment(earlier / place, comment):
                _link(earlier / place, drawings / place)
            else:
                # A photo that was deleted or changed since keeps its rows and gets no copy.
                with contextlib.suppress(PhotoError):
                    pixels = open_photo(named.path, limits).pixels
                    image = annotate(pixels, named.photo.faces, named.decisions)
                    with (drawings / place).open("xb") as file:
                        image.save(file, "JPEG", quality=90, comment=comment)
        return named

    return ordered_map(draw, photos, threads)


def drawn_path(photo_path: str) -> Path:
    """Return the path of the annotated copy below the folder of these copies.

    It is photo.jpg.jpg in the photo's own folder. If that name is too long, or might be a folder's,
    it is a short name at the top with a part of the path's sha256.

    Args:
        photo_path: as the records have it.
    """
    usual = Path(photo_path + _SUFFIX)
    if (
        len(usual.name.encode()) <= _NAME_BYTES
        and len(photo_path.encode()) <= _PATH_BYTES
        and not any(folder.endswith(_SUFFIX) for folder in usual.parts[:-1])
    ):
        return usual
    return Path(f"{usual.name[:40]}-{sha256(photo_path.encode()).hexdigest()[:24]}{_SUFFIX}")


def annotate(
    pixels: np.ndarray, faces: tuple[FoundFace, ...], decisions: list[Decision]
) -> Image.Image:
    """Return the photo, uint8 (H, W, 3) RGB, with a box and the name or reason at each face."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    # Names last, so that they lie on top.
    order = sorted(range(len(faces)), key=lambda index: decisions[index].person is not None)
    for index in order:
        face, decision = faces[index], decisions[index]
        if face.forgotten:
            continue
        x, y, width, height = face.box
        draw.rectangle((x, y, x + width, y + height), outline=_COLOURS[decision.kind], width=line)
        _draw_label(draw, image, face, decision)
    return image


def label_of(decision: Decision) -> str:
    """Return the text at a face."""
    if decision.person and decision.best:
        return f"{decision.person} {decision.best.probability:.2f}"
    return str(decision.reason or decision.kind).replace("_", " ")


def _draw_label(
    draw: ImageDraw.ImageDraw, image: Image.Image, face: FoundFace, decision: Decision
) -> None:
    text = "".join(letter if letter.isprintable() else " " for letter in label_of(decision))
    size = round(min(48, max(12, face.box[3] / 6)))
    font = _font(size, latin=all(ord(letter) < 0x250 for letter in text))
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 8, bottom - top + 6
    x = min(max(face.box[0], 0), max(image.width - width, 0))
    below = face.box[1] + face.box[3]
    y = face.box[1] - height if face.box[1] >= height else min(below, image.height - height)
    draw.rectangle((x, y, x + width, y + height), fill=_COLOURS[decision.kind])
    draw.text((x + 4 - left, y + 3 - top), text, font=font, fill=(255, 255, 255))


@lru_cache(maxsize=64)
def _font(size: int, latin: bool) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font of `size` pixels; for non-Latin text a font of the system if possible."""
    for name in () if latin else _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _comment(named: NamedPhoto) -> bytes:
    faces = [
        (face.box, face.forgotten, decision.kind, label_of(decision))
        for face, decision in zip(named.photo.faces, named.decisions, strict=True)
    ]
    content = json.dumps([DRAWING_VERSION, named.photo.photo_id, faces])
    return b"faceops drawing " + sha256(content.encode()).hexdigest().encode()


def _has_comment(path: Path, comment: bytes) -> bool:
    """Return whether the copy at `path` has this comment and is complete."""
    try:
        with path.open("rb") as file:
            if comment not in file.read(_HEAD):
                return False
            file.seek(-len(_JPEG_END), os.SEEK_END)
            return file.read() == _JPEG_END
    except OSError:
        return False


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:  # the disk has no hard links
        with path.open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
