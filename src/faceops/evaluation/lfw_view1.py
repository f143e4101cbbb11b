"""LFW View 1 (Huang et al. 2007): for choosing models; one list sets the threshold, one is scored.

Nobody is in both lists.
"""

from dataclasses import dataclass
from typing import Any

from faceops.evaluation.accuracy_threshold import best_threshold
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.listed_pairs import FARS, ListedPairs, named_photos_figures, score_list
from faceops.evaluation.pairs_list import PairsList
from faceops.evaluation.roc import roc_auc
from faceops.verification.tail import as_threshold
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class LfwView1:
    """The scored pairs of pairsDevTest.txt and the threshold, in log odds, of pairsDevTrain.txt."""

    test: ListedPairs
    threshold: float
    all_pairs: dict[str, Any]  # of the photos of pairsDevTest.txt

    @property
    def accuracy(self) -> float:
        """The share of the test list's pairs that are decided rightly."""
        return float(((self.test.scores >= self.threshold) == self.test.same).mean())

    def figures(self, seed: int) -> dict[str, Any]:
        """The accuracy with its interval over people, the threshold held, and the AUC."""
        right = (self.test.scores >= self.threshold) == self.test.same
        scores, same = self.test.scores, self.test.same
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": self.test.interval(right, seed),
            "pairs": len(right),
            "threshold": as_threshold(self.threshold),
            "roc_auc": roc_auc(scores[same], scores[~same]),
            "all_pairs": self.all_pairs,
        }


def lfw_view1(
    faces: EmbeddedFaces, verifier: Verifier, train: PairsList, test: PairsList, seed: int = 0
) -> LfwView1:
    """Choose the threshold on `train` (pairsDevTrain.txt), score `test` (pairsDevTest.txt).

    A photo without a face matches nobody.

    Raises:
        FaceOpsError: a photo is not in the data.
    """
    chosen_on = score_list(faces, verifier, train)
    return LfwView1(
        score_list(faces, verifier, test),
        best_threshold(chosen_on.scores, chosen_on.same),
        named_photos_figures(faces, verifier, test, FARS, seed),
    )
