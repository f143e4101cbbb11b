"""LFW View 2 (Huang et al. 2007): ten folds, each judged by the threshold of the other nine.

Some thirty errors in 6,000 pairs tell little apart, so all pairs of the same photos are scored
as well: TAR at FAR, and rank-1 among all their people.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.evaluation.accuracy_threshold import best_threshold
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.listed_pairs import FARS, ListedPairs, named_photos_figures, score_list
from faceops.evaluation.pairs_list import PairsList
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class LfwView2:
    """The scored pairs of pairs.txt; `right` bool (N,): decided rightly; all pairs' figures."""

    pairs: ListedPairs
    right: np.ndarray
    all_pairs: dict[str, Any]

    @property
    def accuracies(self) -> np.ndarray:
        """The accuracy of each fold, float64 (F,)."""
        return np.bincount(self.pairs.fold, self.right) / np.bincount(self.pairs.fold)

    def figures(self, seed: int) -> dict[str, Any]:
        """Mean accuracy of the folds, its standard error and its interval over people."""
        folds = self.accuracies
        return {
            "accuracy": float(folds.mean()),
            "accuracy_standard_error": float(folds.std(ddof=1) / np.sqrt(len(folds))),
            "accuracy_interval": self.pairs.interval(self.right, seed),
            "fold_accuracy": [float(fold) for fold in folds],
            "pairs": len(self.right),
            "all_pairs": self.all_pairs,
        }


def lfw_view2(faces: EmbeddedFaces, verifier: Verifier, pairs: PairsList, seed: int) -> LfwView2:
    """Score `pairs` (pairs.txt) and all pairs of its photos; one without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    scored = score_list(faces, verifier, pairs)
    right = np.zeros(len(scored.same), bool)
    for fold in np.unique(scored.fold):
        held = scored.fold == fold
        threshold = best_threshold(scored.scores[~held], scored.same[~held])
        right[held] = (scored.scores[held] >= threshold) == scored.same[held]
    return LfwView2(scored, right, named_photos_figures(faces, verifier, pairs, FARS, seed))
