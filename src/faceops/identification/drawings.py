"""Drawn copies of a run's photos; what an earlier run drew just so is linked, not drawn again."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from faceops.faces.ordered_map import ordered_map
from faceops.gallery.person_name import valid_unicode
from faceops.identification.annotate import annotated, label_of, save_annotated
from faceops.identification.drawn_path import drawn_path
from faceops.identification.engine import NamedPhoto
from faceops.photos.open_photo import PhotoError, open_photo
from faceops.photos.photo_limits import PhotoLimits

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
