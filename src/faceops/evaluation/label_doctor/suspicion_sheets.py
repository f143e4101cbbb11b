"""Contact sheets of suspicions: the photo in doubt beside those it is compared with."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from faceops.evaluation.label_doctor.suspicion import Suspicion
from faceops.faces.tile_sheet import (
    BAD,
    COLUMNS,
    GOOD,
    PLAIN,
    Colour,
    Section,
    Tile,
    draw_sections,
)

A_PAGE = 12
_MOST = 4  # photos of each kind in a row of ten


def draw_pages(
    suspicions: Sequence[Suspicion],
    persons: np.ndarray,
    paths: np.ndarray,
    crops: np.ndarray | None,
) -> Iterator[Image.Image]:
    """Yield sheets of twelve suspicions each, numbered as in suspicions.csv.

    Red frames: in doubt. Grey captions: other photos of the name. Green frames: the person whom
    they are like.

    Args:
        suspicions: in their order.
        persons: str (N,), of all photos.
        paths: str (N,), of all photos.
        crops: uint8 (N, 112, 112, 3) of all photos, or None: crosses are drawn instead.
    """

    def tile(photo: int, role: str, colour: Colour, framed: bool) -> Tile:
        picture = None if crops is None else Image.fromarray(np.asarray(crops[photo]))
        person = str(persons[photo])
        stem = PurePosixPath(str(paths[photo])).stem
        number = stem.removeprefix(person).strip(" _-") or stem
        return Tile(picture, person, f"{role} {number}", colour, framed)

    def section(rank: int, doubt: Suspicion) -> Section:
        title = f"{rank}. {doubt.kind}: {doubt.person}"
        title += f" / {doubt.suggestion}" if doubt.suggestion else ""
        tiles = [tile(photo, "in doubt", BAD, True) for photo in doubt.photos[:_MOST]]
        tiles += [tile(photo, "same name", PLAIN, False) for photo in doubt.beside[:_MOST]]
        tiles += [tile(photo, "like", GOOD, True) for photo in doubt.alike[:_MOST]]
        return Section(
            title.replace("_", " "),
            tiles[:COLUMNS],
            f"score {doubt.score:.1f}: {doubt.evidence.replace('_', ' ')}",
        )

    numbered = list(enumerate(suspicions, start=1))
    for start in range(0, len(numbered), A_PAGE):
        page = numbered[start : start + A_PAGE]
        yield draw_sections([section(rank, doubt) for rank, doubt in page])
