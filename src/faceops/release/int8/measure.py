"""What int8 loses against float32 on validation people, and whether it is offered."""

import numpy as np

from faceops.config.sections import Quantise
from faceops.release.contract import Int8Measured
from faceops.verification.pairs import PairScores
from faceops.verification.support import people_for_pairs
from faceops.verification.threshold_at import threshold_at


def measure_int8(
    embeddings: tuple[np.ndarray, np.ndarray],
    tar: tuple[float, float],
    persons: np.ndarray,
    settings: Quantise,
    calibration_crops: int,
) -> Int8Measured:
    """Compare `embeddings` (float32's, int8's), each (N, D) of unit length, of `persons` (N,).

    `tar` are their true accept rates at `settings.far`, see `true_accept_rate`.
    """
    cosine = np.einsum("nd,nd->n", *(part.astype(np.float64) for part in embeddings))
    return Int8Measured(
        people=len(np.unique(persons)),
        photos=len(persons),
        far=settings.far,
        tar_float32=round(tar[0], 6),
        tar_int8=round(tar[1], 6),
        tar_loss_allowed=settings.max_tar_loss,
        min_cosine=round(float(cosine.min()), 6),
        mean_cosine=round(float(cosine.mean()), 6),
        calibration_crops=calibration_crops,
    )


def true_accept_rate(scores: PairScores, far: float) -> float:
    """Return the share of pairs of one person that pass where at most `far` of two people's do."""
    strangers = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    accepted = scores.genuine >= np.float32(threshold_at(strangers, far))
    return float(accepted.mean())


def why_not(measured: Int8Measured) -> str:
    """Return the sentence that says why int8 is not offered, "" where it is."""
    needed = people_for_pairs(measured.far)
    if measured.people < needed:
        return (
            f"int8 is not offered: {measured.people} validation people cannot tell TAR at FAR "
            f"{measured.far:g}, which takes {needed}; raise quantise.far or give more people."
        )
    loss = measured.tar_float32 - measured.tar_int8
    if not loss < measured.tar_loss_allowed:
        return (
            f"int8 is not offered: TAR at FAR {measured.far:g} falls by {loss:.4f} (from "
            f"{measured.tar_float32:.4f} to {measured.tar_int8:.4f}) on {measured.people} "
            f"validation people, and must fall by less than quantise.max_tar_loss = "
            f"{measured.tar_loss_allowed:g}."
        )
    return ""
