"""Identification inside a group: everybody in the gallery is of the group, and so are strangers.

The gallery has `GALLERY` people with one photo each, whatever the group's size, so that groups
can be compared; figures are exact expectations over all such galleries, as in
`faceops.verification.false_positive_identification`.
"""

from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.verification.false_positive_identification import (
    DRAWS,
    chance_named,
    find_lookalikes,
)
from faceops.verification.pairs import codes
from faceops.verification.tail import log_odds_of
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

GALLERY = 20
_BLOCK = 1 << 21


def search_figures(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, seed: int
) -> dict[str, Any]:
    """Return "dir" and "fpir" with intervals at the release's default budget, or why not."""
    absent: dict[str, Any] = {"dir": None, "fpir": None}
    if thresholds is None:
        return absent | {"search_refused": "the embedder is no release: nothing was calibrated"}
    if faces.people <= GALLERY:
        told = f"{faces.people} people cannot fill a gallery of {GALLERY} and be strangers to it"
        return absent | {"search_refused": told}
    try:
        cut = log_odds_of(thresholds.for_search(thresholds.default_budget, GALLERY))
    except UsageError as error:
        return absent | {"search_refused": str(error)}
    close = find_lookalikes(faces.embeddings, faces.persons, verifier, cut, seed=seed)
    low, high = close.interval(cut, GALLERY, seed=seed)
    named, whose = chance_identified(faces, verifier, cut, thresholds.runner_up_margin, seed)
    return {
        "dir": float(named.mean()) if len(named) else None,
        "dir_interval": share_interval(named, whose, seed),
        "fpir": close.rate(cut, GALLERY),
        "fpir_interval": {"low": low, "high": high},
        "gallery_people": GALLERY,
        "budget": thresholds.default_budget,
        "search_refused": "",
    }


def chance_identified(
    faces: EmbeddedFaces, verifier: Verifier, cut: float, margin: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance that each probe gets its own name, float64 (Q,), and whose it is, (Q,).

    A photo of each person is drawn for the gallery, `DRAWS` times; every other photo probes. With
    the own score at `cut` or above, the name is given unless one of the `GALLERY` - 1 others
    comes within `margin` of it: E of the M others do, so C(M - E, n) / C(M, n) galleries are
    without them.
    """
    person = codes(faces.persons)
    others = faces.people - 1
    draw = np.random.default_rng(seed)
    step = max(1, _BLOCK // max(faces.people, 1))
    chances, whose = [np.zeros(0)], [np.zeros(0, int)]
    for _ in range(DRAWS):
        order = draw.permutation(len(person))
        gallery = order[np.unique(person[order], return_index=True)[1]]
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        for start in range(0, len(probes), step):
            rows = probes[start : start + step]
            scores = verifier.logit_matrix(faces.embeddings[rows], faces.embeddings[gallery])
            own = scores[np.arange(len(rows)), person[rows]]
            near = (scores > own[:, None] - np.float32(margin)).sum(1) - (margin > 0)
            near = np.maximum(near, 0)
            alone = 1 - chance_named(near, others, GALLERY - 1)
            chances.append(np.where(own >= np.float32(cut), alone, 0.0))
            whose.append(person[rows])
    return np.concatenate(chances), np.concatenate(whose)
