"""The worst mistakes: pairs of two people that look alike most, of one person that do least.

Wrong labels stand at the top of both lists, so they are the first thing to look at.
"""

from dataclasses import dataclass

import numpy as np

from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_scan import PairScan
from faceops.verification.pairs import genuine_pairs
from faceops.verification.verifier import Verifier

MOST = 25
_CHUNK = 1 << 15


@dataclass(frozen=True)
class Mistakes:
    """Pairs of rows int (K, 2) and their log odds float32 (K,), the worst first."""

    two_people: np.ndarray
    two_people_log_odds: np.ndarray
    one_person: np.ndarray
    one_person_log_odds: np.ndarray


def worst_mistakes(
    faces: EmbeddedFaces, verifier: Verifier, scan: PairScan, most: int = MOST
) -> Mistakes:
    """Return up to `most` pairs of each kind.

    A photo stands in one pair of a list, its worst: else one wrong label would fill the list.
    Those of two people are among the highest pairs that `scan` of `faces` has kept.
    """
    top = np.stack([scan.top.first, scan.top.second], axis=1).astype(np.int64)
    genuine = genuine_pairs(faces.persons)
    scores = _log_odds(faces.embeddings, genuine, verifier)
    order = np.argsort(scores, kind="stable")
    alike, unlike = _photos_once(top, most), order[_photos_once(genuine[order], most)]
    return Mistakes(
        two_people=top[alike],
        two_people_log_odds=scan.top.score[alike],
        one_person=genuine[unlike],
        one_person_log_odds=scores[unlike],
    )


def _log_odds(embeddings: np.ndarray, pairs: np.ndarray, verifier: Verifier) -> np.ndarray:
    scores = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _CHUNK):
        first, second = pairs[start : start + _CHUNK].T
        scores[start : start + _CHUNK] = verifier.logit(embeddings[first], embeddings[second])
    return scores


def _photos_once(pairs: np.ndarray, most: int) -> np.ndarray:
    """Return positions int (K,) of the first pairs that share no photo with one before them."""
    seen: set[int] = set()
    kept: list[int] = []
    for position, (first, second) in enumerate(pairs.tolist()):
        if len(kept) == most:
            break
        if first not in seen and second not in seen:
            kept.append(position)
            seen |= {first, second}
    return np.array(kept, np.int64)
