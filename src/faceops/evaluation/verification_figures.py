"""The figures of one-to-one verification: accuracy, AUC, TAR at FAR, calibration error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from faceops.evaluation.bootstrap import pairs_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.pair_intervals import pair_intervals
from faceops.evaluation.pair_scan import PairScan
from faceops.verification.pairs import balanced_pairs, codes
from faceops.verification.support import SUPPORTING_PAIRS
from faceops.verification.tail import as_threshold
from faceops.verification.verifier import Verifier

ACCEPT = 0.5


def all_pairs_figures(scan: PairScan, fars: Sequence[float], seed: int) -> dict[str, Any]:
    """Return AUC and TAR at each of `fars` over all pairs, with intervals over people.

    The threshold behind each is a probability, found on these very pairs: it is no promise.
    """
    intervals = pair_intervals(scan, fars, seed)
    figures: dict[str, Any] = {
        "roc_auc": scan.roc.auc,
        "roc_auc_interval": intervals.auc,
        "genuine_pairs": len(scan.roc.genuine),
        "impostor_pairs": scan.roc.impostors,
    }
    for far in fars:
        name = f"tar_at_far_{far:g}"
        figures[name] = scan.roc.tar(far)
        figures[f"{name}_interval"] = intervals.tar[far]
        cut = scan.threshold(far)
        figures[f"{name}_threshold"] = None if cut is None else as_threshold(cut)
        figures[f"{name}_supported"] = bool(scan.roc.impostors * far >= SUPPORTING_PAIRS)
    return figures


def accuracy_figures(
    faces: EmbeddedFaces, verifier: Verifier, pairs: int, seed: int
) -> dict[str, Any]:
    """Return the accuracy at even odds on up to `pairs` random pairs, half of one person.

    Raises:
        FaceOpsError: nobody has two photos, or there is only one person.
    """
    drawn = balanced_pairs(faces.persons, pairs, seed)
    table, person = faces.embeddings, codes(faces.persons)
    probability = verifier.probability(table[drawn.first], table[drawn.second])
    right = (probability >= np.float32(ACCEPT)) == drawn.same
    return {
        "accuracy": float(right.mean()),
        "accuracy_interval": pairs_interval(right, person[drawn.first], person[drawn.second], seed),
        "accuracy_pairs": len(right),
        "accuracy_threshold": ACCEPT,
    }
