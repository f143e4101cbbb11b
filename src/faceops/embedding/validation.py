"""How well an embedding tells validation people apart: TAR at small FARs, and AUC."""

import numpy as np
from matplotlib.figure import Figure

from faceops.embedding.accept_rates import area_under_roc, true_accept_rate

MAX_PHOTOS = 4000  # 8 million pairs: past that the figures no longer change, memory does


def _whole_people(labels: np.ndarray) -> np.ndarray:
    """Return the positions of MAX_PHOTOS photos, with all photos of all but the last person.

    Single photos drawn from all would leave few pairs of one person.
    """
    _, person = np.unique(labels, return_inverse=True)
    order = np.random.default_rng(0).permutation(person.max() + 1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[person], kind="stable")[:MAX_PHOTOS])


def validation_figures(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the figures over all pairs of validation photos.

    Args:
        embeddings: float32 (N, D), L2-normalised; of more than 4,000, those of people
            drawn by a fixed seed until there are 4,000.
        labels: (N,), the person of each.

    Returns:
        val_tar (at FAR 1e-3), val_tar_far_1e-2, val_auc, and val_score, by which epochs are
        chosen: their mean. TAR at 1e-3 alone hangs on a few dozen impostor pairs where there are
        few people; TAR at 1e-2 steadies it, and AUC still moves when both stand at 1.
    """
    if len(embeddings) > MAX_PHOTOS:
        taken = _whole_people(labels)
        embeddings, labels = embeddings[taken], labels[taken]
    first, second = np.triu_indices(len(embeddings), 1)
    distances = (2 - 2 * embeddings @ embeddings.T)[first, second]
    same = labels[first] == labels[second]
    genuine, impostor = distances[same], distances[~same]
    tars = [true_accept_rate(genuine, impostor, far) for far in (1e-3, 1e-2)]
    auc = area_under_roc(genuine, impostor)
    return {
        "val_tar": tars[0],
        "val_tar_far_1e-2": tars[1],
        "val_auc": auc,
        "val_score": (tars[0] + tars[1] + auc) / 3,
    }


FEWEST_FACES = 6
PHOTOS = 12  # a person
_LONGEST_NAME = 16
# Colours that colour-blind readers tell apart (Okabe and Ito 2008), each with two markers.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#000000", "#56b4e9")
_MARKERS = ("o", "^", "s", "P", "X", "D")


def draw_tsne(
    embeddings: np.ndarray, labels: np.ndarray, people: int = 12, seed: int = 0
) -> Figure | None:
    """Draw faces so that those with near embeddings lie near each other; None if it cannot be.

    The people with the most photos are shown, 12 photos of each at most, drawn from `seed`; the
    same input gives the same picture. Places say who is near whom, distances across the map
    nothing.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        labels: (N,), numbers or names, the person of each.

    Returns:
        A figure; None where fewer than 6 faces or fewer than 2 people have two photos or more, or
        embeddings are not finite.
    """
    rows, shown = _choose(labels, people, seed)
    if len(shown) < 2 or len(rows) < FEWEST_FACES or not np.isfinite(embeddings[rows]).all():
        return None
    places = _places(embeddings[rows].astype(np.float64), seed)
    figure = Figure(figsize=(7.5, 5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for number, label in enumerate(shown):
        x, y = places[labels[rows] == label].T
        turn, colour = divmod(number, len(_COLOURS))
        axes.scatter(
            x, y, s=34, color=_COLOURS[colour], alpha=0.8, linewidths=0,
            marker=_MARKERS[(colour + 3 * turn) % len(_MARKERS)], label=_name(label),
        )  # fmt: skip
    axes.set_title(f"t-SNE of {len(rows)} validation faces of {len(shown)} people", loc="left")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[["top", "right", "bottom", "left"]].set_color("#c8ccd2")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def _choose(labels: np.ndarray, people: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to draw, and the people whose they are."""
    persons, counts = np.unique(labels, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:people]
    shown = np.sort(persons[order[counts[order] > 1]])  # one photo alone says nothing
    draw = np.random.default_rng(seed)
    rows = [np.flatnonzero(labels == label) for label in shown]
    taken = [np.sort(draw.permutation(own)[:PHOTOS]) for own in rows]
    return np.concatenate(taken) if taken else np.zeros(0, np.int64), shown


def _places(embeddings: np.ndarray, seed: int) -> np.ndarray:
    """Return float32 (N, 2)."""
    from sklearn.manifold import TSNE

    # Principal components as the start repeat the map's shape from run to run, but a collapsed
    # embedding has none. "exact" sums in one order; Barnes-Hut's sums depend on the threads.
    spread = float(embeddings.std(axis=0).max())
    tsne = TSNE(
        perplexity=min(30.0, (len(embeddings) - 1) / 3),
        init="pca" if spread > 1e-6 else "random",
        method="exact",
        random_state=seed,
    )
    places: np.ndarray = tsne.fit_transform(embeddings)
    return places


def _name(label: object) -> str:
    if isinstance(label, np.integer):
        return f"person {label}"
    text = str(label)
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"
