"""Group the faces of an album by person, without any label.

Average linkage, first of faces by raw scores, then of the groups' mean embeddings by normalised
scores, with the groups found so far as cohort.
"""

import numpy as np

from faceops.verification.normalisation import Cohort, Normalisation, skipped_of
from faceops.verification.verifier import Verifier

# Normalised scores z, a constant and so much for each score that `skipped_of` leaves out: groups
# join from the first; a group that reaches the second with a larger one may be the same person,
# and is left out of the cohort; strict groups join from the third.
JOIN, _DOUBTFUL, STRICT = (4.0, 0.7), (4.0, 0.4), (7.0, 0.6)
ROUNDS = 3


def pairs_within(photos: np.ndarray) -> np.ndarray:
    """Return the pairs of rows, int64 (P, 2), that have the same photo."""
    order = np.argsort(photos, kind="stable")
    found = []
    most = int(np.unique(photos, return_counts=True)[1].max(initial=0))
    for step in range(1, most):
        same = photos[order[step:]] == photos[order[:-step]]
        found.append(np.stack([order[:-step][same], order[step:][same]], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def link_faces(faces: np.ndarray, normalisation: Normalisation, apart: np.ndarray) -> np.ndarray:
    """Return the first groups, int64 (N,), of faces by raw scores; `apart` as of `group_people`."""
    raw = Verifier(np.array(normalisation.weight, np.float32), 0.0, "linear")
    return average_linkage(_kept_apart(raw.logit_matrix(faces, faces), apart), normalisation.link)


def group_people(
    faces: np.ndarray,
    groups: np.ndarray,
    normalisation: Normalisation,
    apart: np.ndarray,
    join: tuple[float, float],
    rounds: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the group of each face, int64 (N,), and whether a group is in the cohort, (G,).

    `groups` int64 (N,) are those of `link_faces`, `apart` int64 (P, 2) pairs of faces that must not
    be in one group.
    """
    skipped = skipped_of(len(faces))
    core = np.ones(groups.max(initial=-1) + 1, bool)
    for _ in range(rounds):
        z, core = _compare_groups(faces, groups, normalisation)
        joined = average_linkage(_kept_apart(z, groups[apart]), join[0] + join[1] * skipped)
        if joined.max(initial=-1) == groups.max(initial=-1):
            return groups, core
        groups = joined[groups]
    return groups, _compare_groups(faces, groups, normalisation)[1]


def _compare_groups(
    faces: np.ndarray, groups: np.ndarray, normalisation: Normalisation
) -> tuple[np.ndarray, np.ndarray]:
    """Return z of the groups' means, float32 (G, G), and which groups resemble no larger one."""
    skipped = skipped_of(len(faces))
    doubtful = _DOUBTFUL[0] + _DOUBTFUL[1] * skipped
    means, sizes = normalisation.templates(faces, groups), np.bincount(groups)
    rank = np.argsort(np.lexsort((np.arange(len(sizes)), -sizes)))
    larger = rank[None, :] < rank[:, None]
    core = np.ones(len(sizes), bool)
    for _ in range(2):
        z, rows = _scores(means, means[core], normalisation, skipped), core
        core = np.asarray(~((z >= doubtful) & larger).any(axis=1))
    if (rows != core).any():
        z = _scores(means, means[core], normalisation, skipped)
    return z, core


def _scores(
    means: np.ndarray, people: np.ndarray, normalisation: Normalisation, skipped: int
) -> np.ndarray:
    cohort = Cohort(normalisation, people, skipped)
    described = cohort.describe(means)
    return normalised_scores(cohort, described, described)


def normalised_scores(cohort: Cohort, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return z of described rows `a` and `b`, see `Cohort.describe`, float32 (N, M)."""
    known = cohort.normalisation
    return (cohort.verifier.logit_matrix(a, b) - known.shift) / known.scale


def one_each(faces: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return one face of each group; the order of the faces is random."""
    return faces[np.unique(groups, return_index=True)[1]]


def _kept_apart(scores: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    scores[pairs[:, 0], pairs[:, 1]] = scores[pairs[:, 1], pairs[:, 0]] = -np.inf
    return scores


def average_linkage(similarity: np.ndarray, cut: float) -> np.ndarray:
    """Return the groups int64 (N,) that average linkage joins at a similarity of at least `cut`.

    Nearest-neighbour chains (Benzecri 1982) with the update of Lance & Williams (1967): quadratic
    in time; scipy, which has the same, is not installed with a core FaceOps.

    `similarity`: float32 (N, N), symmetric; it is changed. -inf keeps two groups apart.
    """
    count = len(similarity)
    np.fill_diagonal(similarity, -np.inf)
    sizes, group = np.ones(count), np.arange(count)
    open_rows = np.ones(count, bool)
    chain: list[int] = []
    while open_rows.any():
        if not chain:
            chain.append(int(open_rows.argmax()))
        last = chain[-1]
        row = similarity[last]
        nearest = int(row.argmax())
        if len(chain) > 1 and row[chain[-2]] >= row[nearest]:
            nearest = chain[-2]  # of equals the earlier one, so that a chain ends
        if not row[nearest] >= cut:
            # No later join raises an average above the largest of its parts.
            open_rows[last] = False
            similarity[last] = similarity[:, last] = -np.inf
            chain.pop()
        elif len(chain) > 1 and nearest == chain[-2]:
            del chain[-2:]
            kept, gone = sorted((last, nearest))
            whole = sizes[kept] + sizes[gone]
            joined = (similarity[kept] * sizes[kept] + similarity[gone] * sizes[gone]) / whole
            joined[[kept, gone]] = -np.inf
            similarity[kept] = similarity[:, kept] = joined
            similarity[gone] = similarity[:, gone] = -np.inf
            sizes[kept], open_rows[gone] = whole, False
            group[group == gone] = kept
        else:
            chain.append(nearest)
    return np.unique(group, return_inverse=True)[1].astype(np.int64)
