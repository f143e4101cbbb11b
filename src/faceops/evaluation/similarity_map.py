"""A map of some people's faces: near is alike (t-SNE, van der Maaten & Hinton 2008).

Each face is drawn in the free cell of a grid that is nearest to its place, so that none hides
another; the map shows who lies beside whom, its distances mean nothing.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceops.evaluation.embedded_faces import CropRows, EmbeddedFaces
from faceops.verification.pairs import codes

MOST_FACES, MOST_OF_ONE, LEAST = 200, 8, 10
_CELL, _FRAME, _EDGE, _GRID = 46, 3, 14, 26
_PAPER, _INK = (255, 255, 255), (27, 36, 48)
# Far apart in hue; a colour comes again after eight people.
_COLOURS = (
    *((31, 95, 168), (214, 96, 30), (11, 130, 88), (150, 60, 160)),
    *((200, 160, 0), (190, 30, 60), (0, 150, 180), (110, 110, 110)),
)


def choose_faces(persons: np.ndarray, seed: int) -> np.ndarray:
    """Return rows int (R,), R <= 200: people with two photos or more, drawn at random."""
    person = codes(persons)
    photos = np.bincount(person) if len(person) else np.zeros(0, int)
    draw = np.random.default_rng(seed)
    # People with more photos tell more: those of eight or more first, then seven ...
    people = draw.permutation(np.flatnonzero(photos > 1))
    people = people[np.argsort(-np.minimum(photos[people], MOST_OF_ONE), kind="stable")]
    chosen: list[int] = []
    for one in people:
        own = draw.permutation(np.flatnonzero(person == one))[:MOST_OF_ONE].tolist()
        if len(chosen) + len(own) > MOST_FACES:
            break
        chosen += own
    return np.sort(np.array(chosen, np.int64))


def place(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Return cells int (N, 2) of the grid, each taken once, for `embeddings` float32 (N, D)."""
    from sklearn.manifold import TSNE

    perplexity = min(12.0, (len(embeddings) - 1) / 3)
    found = TSNE(
        perplexity=perplexity, init="pca", method="exact", random_state=seed, max_iter=300
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
    faces: EmbeddedFaces, crops: np.ndarray | CropRows | None, seed: int
) -> Image.Image | None:
    """Return the picture; None without crops or with fewer than ten faces to show."""
    rows = choose_faces(faces.persons, seed)
    if crops is None or len(rows) < LEAST:
        return None
    cells = place(faces.embeddings[rows], seed)
    persons = faces.persons[rows]
    side = _GRID * _CELL + 2 * _EDGE
    sheet = Image.new("RGB", (side, side), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _, whose = np.unique(persons, return_inverse=True)
    inner = _CELL - 2 * _FRAME
    for row, person, (x, y) in zip(rows, whose, cells * _CELL + _EDGE, strict=True):
        draw.rectangle((x, y, x + _CELL - 2, y + _CELL - 2), fill=_COLOURS[person % 8])
        face = Image.fromarray(np.asarray(crops[row]))
        sheet.paste(face.resize((inner, inner), Image.Resampling.LANCZOS), (x + 2, y + 2))
    font = ImageFont.load_default(13)
    for name in np.unique(persons):
        own = cells[persons == name]
        lowest = own[own[:, 1] == own[:, 1].max()]  # the name covers chins, not eyes
        x = lowest[:, 0].mean() * _CELL + _EDGE + _CELL / 2
        y = (lowest[0, 1] + 1) * _CELL + _EDGE - 4
        shown = "".join(c if c.isprintable() else " " for c in str(name)).replace("_", " ")[:24]
        half = draw.textlength(shown, font=font) / 2
        x = min(max(x, half + 4), side - half - 4)
        draw.text((x, y), shown, _INK, font, anchor="mm", stroke_width=2, stroke_fill=_PAPER)
    return sheet
