"""Each person's photos in groups that look like one person."""

from dataclasses import dataclass

import numpy as np

from faceops.base.progress import track
from faceops.verification.verifier import Verifier

_MOST = 3000  # photos of one person compared all with all: 9 million float64, 72 MB


@dataclass(frozen=True)
class PhotoGroups:
    """Groups of photos, numbered by person.

    Attributes:
        group: int64 (N,), of each photo.
        person: int64 (G,), code of each group's person.
        size: int64 (G,), its photos.
        template: float32 (G, D), the L2-normalised mean of its embeddings.
        core: int64 (P,), each person's largest group; -1 where all of several photos stand alone.
    """

    group: np.ndarray
    person: np.ndarray
    size: np.ndarray
    template: np.ndarray
    core: np.ndarray

    def photos(self, group: int) -> np.ndarray:
        """Return the rows of the photos in `group`, int64, rising."""
        return np.flatnonzero(self.group == group)


def group_photos(
    embeddings: np.ndarray, person: np.ndarray, verifier: Verifier, apart: float
) -> PhotoGroups:
    """Split each person's photos where the mean log odds between two parts are below `apart`.

    Average linkage (UPGMA, Sokal & Michener 1958). Of a person with very many photos, 3,000
    spread evenly are grouped so; each other photo joins the group whose template it is likest.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        person: int64 (N,), codes 0..P-1, each with a photo.
        verifier: scores pairs of photos.
        apart: log odds.
    """
    order = np.argsort(person, kind="stable")
    ends = np.cumsum(np.bincount(person))
    group = np.empty(len(person), np.int64)
    core = np.empty(len(ends), np.int64)
    owners: list[int] = []
    for code, rows in enumerate(track(np.split(order, ends[:-1]), "comparing photos of a person")):
        part = _parts(embeddings[rows], verifier, apart)
        sizes = np.bincount(part)
        group[rows] = len(owners) + part
        # The largest; of two as large, the one with the earlier photo.
        core[code] = len(owners) + int(sizes.argmax())
        if len(rows) > 1 and sizes.max() == 1:
            core[code] = -1
        owners += [code] * len(sizes)
    size = np.bincount(group, minlength=len(owners))
    by_group = np.argsort(group, kind="stable")
    starts = np.cumsum(size) - size
    template = np.add.reduceat(embeddings[by_group].astype(np.float32), starts, axis=0)
    return PhotoGroups(group, np.array(owners), size, normalised(template), core)


def normalised(rows: np.ndarray) -> np.ndarray:
    """Return `rows` float32 (..., D) at length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    result: np.ndarray = rows / np.maximum(length, np.float32(1e-12))
    return result


def _parts(embeddings: np.ndarray, verifier: Verifier, apart: float) -> np.ndarray:
    """Return the part of each of one person's photos, 0.. by first photo."""
    count = len(embeddings)
    if count <= _MOST:
        return _by_first_row(_linked(embeddings, verifier, apart))
    sample = np.arange(_MOST) * count // _MOST
    linked = _by_first_row(_linked(embeddings[sample], verifier, apart))
    templates = normalised(
        np.stack([embeddings[sample[linked == i]].sum(0) for i in range(linked.max() + 1)])
    )
    part = np.empty(count, np.int64)
    for start in range(0, count, _MOST):
        scores = verifier.logit_matrix(embeddings[start : start + _MOST], templates)
        best = scores.argmax(1)
        alone = scores.max(1) < apart
        part[start : start + _MOST] = np.where(alone, count + start + np.arange(len(best)), best)
    part[sample] = linked
    return _by_first_row(part)


def _linked(embeddings: np.ndarray, verifier: Verifier, apart: float) -> np.ndarray:
    if len(embeddings) == 1:
        return np.zeros(1, np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    scores = verifier.logit_matrix(embeddings, embeddings).astype(np.float64)
    pairs = ((scores + scores.T) / 2)[np.triu_indices(len(scores), 1)]
    top = pairs.max()  # a shift, so that likeness becomes a distance of 0 or more
    tree = linkage(top - pairs, method="average")
    return np.asarray(fcluster(tree, top - apart, criterion="distance"), np.int64)


def _by_first_row(part: np.ndarray) -> np.ndarray:
    """Return `part` renumbered 0.. in the order of first appearance."""
    first, code = np.unique(part, return_index=True, return_inverse=True)[1:]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[code]
