"""Annotated copies of a run's photos; an unchanged copy of an earlier run is linked."""

import contextlib
import json
import os
import shutil
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from faceops.base.reasons import KINDS, DecisionKind, Reason
from faceops.base.work import ordered_map
from faceops.faces.detector import Box
from faceops.identification.engine.decide import NamedBlock
from faceops.identification.records import label_fonts
from faceops.identification.records.output_folder import ANNOTATED
from faceops.identification.state.photo_block import PhotoBlock
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


class ShownFace(NamedTuple):
    """A face as it is drawn: its box in pixels of the upright photo, and its label."""

    box: Box | None  # None for a forgotten face, which is not drawn
    kind: DecisionKind
    label: str
    is_named: bool


class Drawings:
    """Annotated copies of a run's photos with faces, in `folder`/annotated.

    The JPEG comment of a copy holds a digest of photo, boxes and labels. If the copy in `earlier`
    has the same, it is hard-linked and the photo is not opened.

    Args:
        folder: of the run.
        earlier: annotated copies of an earlier run, if there are any.
        limits: of the photos.
        threads: that draw.
    """

    def __init__(
        self, folder: Path, earlier: Path | None, limits: PhotoLimits, threads: int
    ) -> None:
        self._folder, self.earlier = folder / ANNOTATED, earlier
        self._limits, self._threads = limits, threads
        self._folder.mkdir()

    def draw(self, named: NamedBlock, summary: Summary) -> None:
        """Draw the copies of some photos.

        `summary` gets the scripts of names that no installed font can draw.
        """
        for person in {name for name in named.names() if name is not None}:
            summary.letters_not_drawn |= label_fonts.lacking(person)
        shown = shown_faces(named)
        with_faces = np.flatnonzero(np.diff(named.photos.starts)).tolist()

        def draw_photo(photo: int) -> None:
            self._draw(named, photo, shown[named.photos.rows_of(photo)])

        for _ in ordered_map(draw_photo, with_faces, self._threads):
            pass

    def _draw(self, named: NamedBlock, photo: int, faces: Sequence[ShownFace]) -> None:
        place = drawn_path(named.photo_paths[photo])
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        comment = _comment(named.photos, photo, faces)
        # Two names whose bytes are no text may share one path: the first copy stays.
        with contextlib.suppress(FileExistsError):
            if self.earlier and _has_comment(self.earlier / place, comment):
                _link(self.earlier / place, target)
                return
            # A photo that was deleted or changed since keeps its rows and gets no copy.
            with contextlib.suppress(PhotoError):
                opened = open_photo(Path(named.photos.paths[photo]), self._limits)
                image = annotate(opened.pixels, faces, opened.scale)
                with target.open("xb") as file:
                    image.save(file, "JPEG", quality=90, comment=comment)


def shown_faces(named: NamedBlock) -> list[ShownFace]:
    photos, decisions = named.photos, named.decisions
    columns = (
        photos.faces["box"].tolist(),
        photos.faces["forgotten"].tolist(),
        decisions.kind.tolist(),
        named.names(),
        named.reasons(),
        decisions.probability.tolist(),
        photos.face_index.tolist(),
    )
    return [
        ShownFace(
            None if forgotten else tuple(box),
            KINDS[kind],
            str(reason or KINDS[kind]).replace("_", " ")
            if name is None
            else f"{drawn_name(name, index)} {_sure(reason, probability)}",
            name is not None,
        )
        for box, forgotten, kind, name, reason, probability, index in zip(*columns, strict=True)
    ]


def _sure(reason: Reason | None, probability: float) -> str:
    return str(reason) if reason is Reason.CONFIRMED else f"{probability:.2f}"


def drawn_path(photo_path: str) -> Path:
    """Return the path of the annotated copy below the folder of these copies.

    It is photo.jpg.jpg in the photo's own folder. If that name is too long, or might be a folder's,
    it is a short name at the top with a part of the path's sha256.

    `photo_path`: as the records have it.
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
    pixels: np.ndarray, faces: Sequence[ShownFace], scale: tuple[float, float] = (1, 1)
) -> Image.Image:
    """Return the photo, uint8 (H, W, 3) RGB, with a box and the name or reason at each face.

    `scale` is the width and height, in pixels that the boxes are in, of a pixel of `pixels`.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 400))
    for face in sorted(faces, key=lambda face: face.is_named):  # names lie on top
        if face.box is None:
            continue
        x, y, width, height = (
            side / one for side, one in zip(face.box, (*scale, *scale), strict=True)
        )
        colour = _COLOURS[face.kind]
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
        label = label_image(face.label, height, colour)
        above, below = y - label.height, min(y + height, image.height - label.height)
        left = min(max(x, 0), max(image.width - label.width, 0))
        image.paste(label, (round(left), round(above if above >= 0 else below)))
    return image


def drawn_name(person: str, index: int) -> str:
    """Return a name as it is drawn at the face `index` of a photo.

    It is printable, and has no letter without a font.
    """
    name = label_fonts.without_hidden(person)
    if label_fonts.lacking(name):
        plain = label_fonts.without_marks(name)
        return f"face {index}" if label_fonts.lacking(plain) or not plain else plain
    return name


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


def _comment(photos: PhotoBlock, photo: int, faces: Sequence[ShownFace]) -> bytes:
    boxes = photos.faces["box"][photos.rows_of(photo)].tolist()
    drawn = [
        (box, face.box is None, face.kind, face.label)
        for box, face in zip(boxes, faces, strict=True)
    ]
    is_ascii = all(face.label.isascii() for face in faces)
    version = ASCII_VERSION if is_ascii else DRAWING_VERSION
    content = json.dumps([version, photos.photo_ids[photo], drawn])
    return b"faceops drawing " + sha256(content.encode()).hexdigest().encode()


def _has_comment(path: Path, comment: bytes) -> bool:
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
