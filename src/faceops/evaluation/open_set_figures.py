"""The figures of open-set identification, at one number of gallery photos a person or several."""

from collections.abc import Sequence
from typing import Any

from faceops.base.errors import FaceOpsError
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.open_set import OpenSet, open_set
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

FPIR = 0.01


def open_set_figures(result: OpenSet, thresholds: Thresholds | None, seed: int) -> dict[str, Any]:
    """Return DIR at FPIR, and what the release's threshold does; intervals over people."""
    known, strangers = result.known, ~result.known
    at_release = (
        {}
        if thresholds is None
        else {
            "dir": float(result.identified[known].mean()),
            "dir_interval": share_interval(result.identified[known], result.person[known], seed),
            "fpir": float(result.named[strangers].mean()),
            "fpir_interval": share_interval(
                result.named[strangers], result.person[strangers], seed
            ),
            "misidentified": float(result.misidentified[known].mean()),
            "budget": thresholds.default_budget,
            "threshold": result.threshold,
            "threshold_measured": thresholds.search_is_measured(
                thresholds.default_budget, result.gallery_faces
            ),
        }
    )
    return at_release | {
        f"dir_at_fpir_{FPIR:g}": result.rate_at(FPIR),
        "draws": result.draws,
        "gallery_photos": result.gallery_photos,
        "gallery_faces": result.gallery_faces,
        "known_people": result.known_people,
        "known_probes": int(known.sum()),
        "stranger_probes": int(strangers.sum()),
    }


def open_sets(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    *,
    photos: Sequence[int],
    unknown_share: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Return the figures for galleries of each of `photos` a person.

    Where too few people have so many photos, the entry is {"gallery_photos", "reason"}.
    """
    rows = []
    for number in photos:
        try:
            result = open_set(
                faces, verifier, thresholds,
                gallery_photos=number, unknown_share=unknown_share, seed=seed,
            )  # fmt: skip
        except FaceOpsError as error:
            rows.append({"gallery_photos": number, "reason": str(error)})
        else:
            rows.append(open_set_figures(result, thresholds, seed))
    return rows
