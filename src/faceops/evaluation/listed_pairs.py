"""The pairs of a list, scored, and all pairs of the photos that it names."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.evaluation.bootstrap import pairs_interval
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_scan import scan_pairs
from faceops.evaluation.pairs_list import PairsList
from faceops.evaluation.verification_figures import all_pairs_figures
from faceops.verification.pairs import codes
from faceops.verification.verifier import Verifier

FARS = (1e-3, 1e-4, 1e-5)


@dataclass(frozen=True)
class ListedPairs:
    """Log odds float32 (N,), -inf with a photo without a face, and the two people of each pair."""

    scores: np.ndarray
    same: np.ndarray
    fold: np.ndarray
    first_person: np.ndarray
    second_person: np.ndarray

    def interval(self, right: np.ndarray, seed: int) -> dict[str, float]:
        """Return the 95 % interval of the share of `right` decisions bool (N,), over people."""
        return pairs_interval(right, self.first_person, self.second_person, seed)


def score_list(faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList) -> ListedPairs:
    """Score every pair of the list; a photo without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    first, second = pairs.rows(faces)
    scores = np.full(len(pairs.same), -np.inf, np.float32)
    there = (first >= 0) & (second >= 0)
    scores[there] = verifier.logit(faces.embeddings[first[there]], faces.embeddings[second[there]])
    people = [np.array([name.rpartition("_")[0] for name in side])
              for side in (pairs.first, pairs.second)]  # fmt: skip
    whose = codes(np.concatenate(people))
    return ListedPairs(scores, pairs.same, pairs.fold, whose[: len(scores)], whose[len(scores) :])


def named_photos_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, fars: Sequence[float], seed: int
) -> dict[str, Any]:
    """Return the figures of all pairs of the photos that a list names, and rank-1 among them.

    The few thousand pairs of a list cannot tell good models apart; millions can.
    """
    named = pairs.named(faces)
    known = closed_set(named, verifier).figures(seed)
    return {
        "photos": len(named) + len(named.missing),
        "photos_without_face": len(named.missing),
        **all_pairs_figures(scan_pairs(named, verifier, fars), fars, seed),
        **{key: value for key, value in known.items() if "rank_5" not in key},
    }
