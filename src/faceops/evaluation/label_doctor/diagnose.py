"""The list: all suspicions that are more likely than not, the strongest first."""

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.label_doctor.between_people import only_photos, two_names
from faceops.evaluation.label_doctor.compared import compare
from faceops.evaluation.label_doctor.suspicion import Suspicion
from faceops.evaluation.label_doctor.within_person import all_apart, apart_from_core, liker_another
from faceops.verification.verifier import Verifier

SHARE = 0.01  # of labels wrong: assumed, not fitted to any data


def diagnose(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, share: float = SHARE
) -> list[Suspicion]:
    """Return the suspicions with log odds above 0, given a share of wrong labels, in their order.

    Time N x G (photos, people), memory bounded by the inputs, 16 MB a block and 72 MB for a
    person of thousands of photos.

    Args:
        embeddings: float32 (N, D), L2-normalised.
        persons: str (N,).
        verifier: calibrated, best on these photos (`.noise_tolerant_calibration`).
        share: see `.compared`.

    Raises:
        UsageError: `share` is not between 0 and 0.5.
    """
    check_share(share)
    if not len(persons):
        return []
    compared = compare(np.asarray(embeddings, np.float32), persons, verifier, share)
    names, one_person = two_names(compared)
    found = [
        *names,
        *only_photos(compared),
        *apart_from_core(compared),
        *all_apart(compared),
        *liker_another(compared, one_person),
    ]
    likely = [suspicion for suspicion in found if suspicion.score > 0]
    return sorted(likely, key=lambda s: (-s.score, s.kind, s.photos))


def check_share(share: float) -> None:
    """Raise UsageError unless `share` lies between 0 and 0.5."""
    if not 0 < share < 0.5:
        raise UsageError(f"share {share:g} is wrong: a share of wrong labels, between 0 and 0.5.")
