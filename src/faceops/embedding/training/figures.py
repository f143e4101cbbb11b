"""Whether an embedding learns or collapses: the figures of epochs, and a map of people's faces."""

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceops.base.errors import FaceOpsError
from faceops.base.files import write_csv

Row = dict[str, Any]  # an epoch of the history: epoch, phase, miner, figures

MIN_SPREAD = 0.1  # an untrained or a trained embedding has .5 to 1
STUCK_RATIO = 0.98  # distance within people over distance between them; 1: no difference
STUCK_EPOCHS = 2
ADVICE = "lower train.learning_rate, or raise train.warmup_epochs"
MAX_PHOTOS = 4000  # 8 million pairs: beyond that the figures hardly change, the memory does


def check_gradient(norm: float, epoch: int, step: int) -> None:
    """Raise FaceOpsError unless the gradient's `norm` is finite; `step` counts from 0."""
    if not math.isfinite(norm):
        raise FaceOpsError(
            f"the gradient of step {step + 1} in epoch {epoch} is not finite ({norm}); {ADVICE},"
            " or set train.precision to float32."
        )


def check_collapse(history: list[dict[str, Any]]) -> None:
    """Raise FaceOpsError when the last epoch of `history` shows that the network does not learn.

    All embeddings are equal (then every triplet costs the margin); or for two triplet epochs in a
    row two photos of one person were as far apart as two of different people, so the loss is stuck
    at the margin.
    """
    row = history[-1]
    if row["spread"] < MIN_SPREAD:
        raise FaceOpsError(
            f"in epoch {row['epoch']} the embeddings collapsed to one point (spread"
            f" {row['spread']:.3f}, under {MIN_SPREAD}); {ADVICE}."
        )
    last = history[-STUCK_EPOCHS:]
    if len(last) == STUCK_EPOCHS and all(_is_stuck(one) for one in last):
        raise FaceOpsError(
            f"since epoch {last[0]['epoch']} the loss is stuck at the margin ({row['loss']:.3f}):"
            " photos of one person are as far apart as photos of two"
            f" ({row['positive_distance']:.3f}, {row['negative_distance']:.3f}); {ADVICE}, or begin"
            " train.miners with semi_hard."
        )


def _is_stuck(row: dict[str, Any]) -> bool:
    ratio: float = STUCK_RATIO * row.get("negative_distance", math.nan)
    return bool(row["phase"] == "triplet" and row["positive_distance"] >= ratio)


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos, where each person counts the same.

    A genuine pair weighs one over the pairs of its person; an impostor pair one over the pairs of
    its two people. `embeddings` float32 (N, D), L2-normalised, of the people `labels` (N,); of more
    than 4,000, those of people drawn by a fixed seed until there are 4,000.

    Returns val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and their mean val_score, by which
    epochs are compared: TAR at 1e-2 steadies it, and AUC still moves when both are 1. NaN without
    pairs of a kind.
    """
    if len(embeddings) > MAX_PHOTOS:
        chosen = _photos_of_drawn_people(labels)
        embeddings, labels = embeddings[chosen], labels[chosen]
    first, second = np.triu_indices(len(embeddings), 1)
    cosines = (embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    _, person, counts = np.unique(labels, return_inverse=True, return_counts=True)
    photos = counts[person]
    weight = 1 / photos
    genuine, impostor = cosines[same], cosines[~same]
    if not len(genuine) or not len(impostor):
        return dict.fromkeys(("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"), math.nan)
    genuine_weight = (weight / (photos - 1).clip(1))[first[same]]
    order = np.argsort(impostor)
    rising = impostor[order]
    mass = np.cumsum((weight[first[~same]] * weight[second[~same]])[order])
    mass = np.concatenate([[0], mass / mass[-1]])
    # The share of impostor pairs with a lower score than each genuine pair, and up to it.
    below, upto = (mass[np.searchsorted(rising, genuine, side)] for side in ("left", "right"))
    tars = [
        float(np.average(1 - below <= far + 1e-9, weights=genuine_weight)) for far in (1e-3, 1e-2)
    ]
    auc = float(np.average((below + upto) / 2, weights=genuine_weight))
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }


def _photos_of_drawn_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Photos drawn one by one would leave few genuine pairs.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])


class TrainingLog:
    """Where the figures of a run go; this one drops them."""

    def log_step(self, step: int, figures: dict[str, float]) -> None:
        """Take the figures of a step, counted from 1 over the whole run."""

    def log_epoch(self, row: Row, images_per_second: float) -> None:
        """Take a row of the history; those before a resumed epoch come again, with speed 0."""


COLUMNS = (
    *("epoch", "phase", "miner", "learning_rate", "loss", "active_triplets"),
    *("positive_distance", "negative_distance", "spread"),
    *("val_tar", "val_tar_far_1e-2", "val_auc", "val_score"),
)


def write_history(history: list[Row], path: Path) -> None:
    """Write `history` to `path`; numbers with six significant digits, NaN as empty."""

    def cell(value: Any) -> Any:
        if isinstance(value, float):
            return "" if math.isnan(value) else f"{value:.6g}"
        return value

    write_csv(path, COLUMNS, ([cell(row.get(name, "")) for name in COLUMNS] for row in history))


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
    """Return a map of faces by t-SNE (van der Maaten 2008); None of fewer than ten.

    Each face takes the free cell of a grid nearest to its place, so that none hides another.
    Neighbours are similar; distances across the map mean nothing. `embeddings` float32 (N, D),
    L2-normalised, of `persons` text (N,); without `crops` each cell is a square of its person's
    colour. `seed` chooses the people and places them.
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
