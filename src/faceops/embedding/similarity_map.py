"""A map of some people's faces: similar faces lie near each other (t-SNE, van der Maaten 2008).

Each face takes the free cell of a grid nearest to its place, so that none hides another. The map
shows which people are neighbours; distances across it mean nothing.
"""

from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_FACES, MAX_PER_PERSON, MIN_FACES = 200, 8, 10
_CELL, _FRAME, _EDGE, _GRID = 46, 3, 14, 26
_PAPER, _INK = (255, 255, 255), (27, 36, 48)
# Far apart in hue; a colour comes again after eight people.
_COLOURS = (
    *((31, 95, 168), (214, 96, 30), (11, 130, 88), (150, 60, 160)),
    *((200, 160, 0), (190, 30, 60), (0, 150, 180), (110, 110, 110)),
)


class Crops(Protocol):
    """Crops by row, such as an array uint8 (N, 112, 112, 3)."""

    def __getitem__(self, row: int, /) -> np.ndarray: ...


def choose_faces(persons: np.ndarray, seed: int) -> np.ndarray:
    """Return rows, int64 (R,), of at most 200 faces: of people with two photos or more."""
    person = np.unique(persons, return_inverse=True)[1]
    photos = np.bincount(person)
    draw = np.random.default_rng(seed)
    # People with more photos show more: first those with eight or more, then seven ...
    people = draw.permutation(np.flatnonzero(photos > 1))
    people = people[np.argsort(-np.minimum(photos[people], MAX_PER_PERSON), kind="stable")]
    chosen: list[int] = []
    for one in people:
        own = draw.permutation(np.flatnonzero(person == one))[:MAX_PER_PERSON].tolist()
        if len(chosen) + len(own) > MAX_FACES:
            break
        chosen += own
    return np.sort(np.array(chosen, np.int64))


def place(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Return distinct cells of the grid, int64 (N, 2), for `embeddings` float32 (N, D)."""
    from sklearn.manifold import TSNE

    # A collapsed embedding has no principal components to begin with. "exact" adds in one order;
    # Barnes-Hut's sums depend on the threads.
    spread = float(embeddings.std(axis=0).max())
    found = TSNE(
        perplexity=min(12.0, (len(embeddings) - 1) / 3),
        init="pca" if spread > 1e-6 else "random",
        method="exact",
        random_state=seed,
        max_iter=300,
    ).fit_transform(np.asarray(embeddings, np.float64))
    low, high = found.min(0), found.max(0)
    wanted = (found - low) / np.maximum(high - low, 1e-9) * (_GRID - 1)
    free = np.stack(np.meshgrid(np.arange(_GRID), np.arange(_GRID), indexing="ij"), -1)
    free = free.reshape(-1, 2)
    cells = np.empty((len(wanted), 2), np.int64)
    for row, spot in enumerate(wanted):
        nearest = int(((free - spot) ** 2).sum(1).argmin())
        cells[row] = free[nearest]
        free = np.delete(free, nearest, axis=0)
    return cells


def draw_similarity_map(
    embeddings: np.ndarray, persons: np.ndarray, crops: Crops | None = None, seed: int = 0
) -> Image.Image | None:
    """Return the picture; None if there are fewer than ten faces to show.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        persons: text (N,), the name of the person of each.
        crops: the faces to draw; without them each cell is a square of its person's colour.
        seed: chooses the people and places them; the same seed gives the same picture.
    """
    rows = choose_faces(persons, seed)
    if len(rows) < MIN_FACES or not np.isfinite(embeddings[rows]).all():
        return None
    cells = place(embeddings[rows], seed)
    persons = persons[rows]
    side = _GRID * _CELL + 2 * _EDGE
    sheet = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(sheet)
    names, whose = np.unique(persons, return_inverse=True)
    inner = _CELL - 2 * _FRAME
    for row, person, (x, y) in zip(rows, whose, cells * _CELL + _EDGE, strict=True):
        draw.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=_COLOURS[person % 8])
        if crops is not None:
            face = Image.fromarray(np.asarray(crops[int(row)]))
            sheet.paste(face.resize((inner, inner), Image.Resampling.LANCZOS), (x + 2, y + 2))
    font = ImageFont.load_default(13)
    for name in names:
        own = cells[persons == name]
        lowest = own[own[:, 1] == own[:, 1].max()]  # the name covers chins, not eyes
        x = lowest[:, 0].mean() * _CELL + _EDGE + _CELL / 2
        y = (lowest[0, 1] + 1) * _CELL + _EDGE - 4
        shown = "".join(c if c.isprintable() else " " for c in str(name)).replace("_", " ")[:24]
        half = draw.textlength(shown, font=font) / 2
        x = min(max(x, half + 4), side - half - 4)
        draw.text((x, y), shown, _INK, font, anchor="mm", stroke_width=2, stroke_fill=_PAPER)
    return sheet
