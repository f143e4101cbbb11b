"""Annotated copies of a run's photos; an unchanged copy of an earlier run is linked."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from faceops.base.parallel import ordered_map
from faceops.base.reasons import DecisionKind
from faceops.identification.engine.decide import Decision, NamedPhoto
from faceops.identification.records import label_fonts
from faceops.identification.records.output_folder import ANNOTATED
from faceops.identification.state.found_photo import FoundFace
from faceops.identification.summary import Summary
from faceops.photos.formats import PhotoLimits
from faceops.photos.open_photo import PhotoError, open_photo

DRAWING_VERSION = 2  # raise it with every change of what is drawn for the same decisions
ASCII_VERSION = 1  # the same, of copies whose labels are ASCII
_COLOURS = {
    DecisionKind.IDENTIFIED: (22, 130, 70),
    DecisionKind.UNKNOWN: (190, 110, 0),
    DecisionKind.REJECTED: (120, 120, 120),
}
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
    summary: Summary,
) -> Iterator[NamedPhoto]:
    """Draw a copy of each photo with faces into `folder`/annotated; yield the photos.

    `summary` gets the scripts of names that no installed font can draw.

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
                    photo = open_photo(named.path, limits)
                    faces = named.photo.scaled(photo.scale).faces
                    image = annotate(photo.pixels, faces, named.decisions)
                    with (drawings / place).open("xb") as file:
                        image.save(file, "JPEG", quality=90, comment=comment)
        return named

    for named in ordered_map(draw, photos, threads):
        for decision in named.decisions:
            summary.letters_not_drawn |= label_fonts.lacking(decision.person or "")
        yield named


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
        label = label_image(label_of(decision, index), face.box[3], _COLOURS[decision.kind])
        above, below = y - label.height, min(y + height, image.height - label.height)
        left = min(max(x, 0), max(image.width - label.width, 0))
        image.paste(label, (round(left), round(above if above >= 0 else below)))
    return image


def label_of(decision: Decision, index: int) -> str:
    """Return the text at the face `index` of the photo: printable, and no letter without a font."""
    if not (decision.person and decision.best):
        return str(decision.reason or decision.kind).replace("_", " ")
    name = label_fonts.without_hidden(decision.person)
    if label_fonts.lacking(name):
        plain = label_fonts.without_marks(name)
        name = f"face {index}" if label_fonts.lacking(plain) or not plain else plain
    return f"{name} {decision.best.probability:.2f}"


def label_image(text: str, face_height: float, colour: tuple[int, int, int]) -> Image.Image:
    """Return `text` in white on `colour`, RGB, in a size that suits a face of that height."""
    size = round(min(48, max(12, face_height / 6)))
    name, space, probability = text.rpartition(" ")  # on the right of a name from right to left too
    files = [*label_fonts.text_runs(name), (label_fonts.OWN, space + probability)]
    runs = [(label_fonts.load_font(file, size), run) for file, run in files]
    _, heads, _, feet = zip(*(font.getbbox(run, anchor="ls") for font, run in runs), strict=True)
    width = sum(font.getlength(run) for font, run in runs)
    label = Image.new("RGB", (round(width) + 9, round(max(feet) - min(heads)) + 7), colour)
    x = 4.0
    for font, run in runs:
        ImageDraw.Draw(label).text((x, 3 - min(heads)), run, "white", font, "ls")
        x += font.getlength(run)
    return label


def _comment(named: NamedPhoto) -> bytes:
    faces = [
        (face.box, face.forgotten, decision.kind, label_of(decision, index))
        for index, (face, decision) in enumerate(
            zip(named.photo.faces, named.decisions, strict=True)
        )
    ]
    is_ascii = all(label.isascii() for *_, label in faces)
    version = ASCII_VERSION if is_ascii else DRAWING_VERSION
    content = json.dumps([version, named.photo.photo_id, faces])
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
