"""A map of validation people: t-SNE (van der Maaten and Hinton 2008) of their embeddings."""

import numpy as np
from matplotlib.figure import Figure

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
