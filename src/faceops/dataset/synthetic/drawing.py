"""A file of the set that is still to be drawn, and the drawing of many in batches."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from faceops.dataset.synthetic.encode import jpeg
from faceops.dataset.synthetic.generator import BATCH, Draw

PHOTO_SIDE = 160  # pixels: the detector finds 98 to 99 % of the faces at this size


@dataclass(frozen=True)
class Drawing:
    """One drawing, that gives one or more files.

    Attributes:
        paths: of its files, POSIX, relative to the data folder.
        latents: float64 (faces, 100).
        finish: from the faces, uint8 (faces, 64, 64, 3), to the bytes of each of `paths`.
    """

    paths: tuple[str, ...]
    latents: np.ndarray
    finish: Callable[[np.ndarray], tuple[bytes, ...]]


def photo_jpeg(tiles: np.ndarray) -> bytes:
    """Return the one face of `tiles` as a photo of its own."""
    side = (PHOTO_SIDE, PHOTO_SIDE)
    return jpeg(Image.fromarray(tiles[0]).resize(side, Image.Resampling.BICUBIC))


def draw_all(drawings: Iterable[Drawing], draw: Draw) -> Iterator[tuple[str, bytes]]:
    """Yield the path and bytes of every file, the generator run on batches of faces."""
    batch: list[Drawing] = []
    faces = 0
    for drawing in drawings:
        batch.append(drawing)
        faces += len(drawing.latents)
        if faces >= BATCH:
            yield from _draw_batch(batch, draw)
            batch, faces = [], 0
    if batch:
        yield from _draw_batch(batch, draw)


def _draw_batch(batch: list[Drawing], draw: Draw) -> Iterator[tuple[str, bytes]]:
    tiles = draw(np.concatenate([drawing.latents for drawing in batch]))
    start = 0
    for drawing in batch:
        end = start + len(drawing.latents)
        yield from zip(drawing.paths, drawing.finish(tiles[start:end]), strict=True)
        start = end
