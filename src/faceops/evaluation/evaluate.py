"""All protocols on one table of embeddings: the figures and the curves behind them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import rounded
from faceops.config.sections import Evaluate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.all_pairs import PairScan, scan_pairs
from faceops.evaluation.protocols.closed_set import closed_set
from faceops.evaluation.protocols.open_set import (
    gallery_query_figures,
    open_set,
    open_set_figures,
    open_sets,
)
from faceops.evaluation.protocols.promise import hold_promise, promised_budgets, promised_sizes
from faceops.evaluation.protocols.verification import (
    NEGATIVES,
    accuracy_figures,
    all_pairs_figures,
    one_against_ten,
    random_pairs,
)
from faceops.verification.reliability import Reliability
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class Evaluation:
    """What a bundle is worth on people whom nothing has seen."""

    figures: dict[str, Any]  # rounded to six digits, ready for JSON
    pairs: PairScan
    roc: tuple[np.ndarray, np.ndarray]  # far, tar
    cmc: np.ndarray  # (R,): share of probes whose person is among the first 1..R
    identification: tuple[np.ndarray, np.ndarray, np.ndarray]  # FPR, TPR, identification rate

    @property
    def reliability(self) -> Reliability:
        """Of the probabilities of all pairs."""
        return self.pairs.reliability


def evaluate(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    settings: Evaluate,
) -> Evaluation:
    """Run verification, closed-set and open-set protocols on `faces`, of test people only.

    Every threshold that is applied comes from `thresholds` or is the even odds of a calibrated
    probability: none is chosen here, but for the figures that say "at FAR" or "at FPIR", which
    compare models. Without `thresholds` only the latter are given. Photos without a face play no
    part.

    Raises:
        FaceOpsError: too few test people or photos.
    """
    if len(faces) == 0:
        raise FaceOpsError("there are no test photos to evaluate on; raise split.test.")
    faces = replace(faces, missing=())
    seed, fars = settings.seed, settings.far
    accuracy = accuracy_figures(faces, verifier, settings.pairs, seed)
    scan = scan_pairs(faces, verifier, fars)
    known = closed_set(faces, verifier)
    search = open_set(
        faces, verifier, thresholds, gallery_photos=settings.gallery_photos,
        unknown_share=settings.unknown_share, seed=seed,
    )  # fmt: skip
    figures = {
        "people": faces.people,
        "photos": len(faces),
        "verification": accuracy
        | all_pairs_figures(scan, fars, seed)
        | {"calibration_error": scan.reliability.expected_error},
        "random_pairs": random_pairs(
            faces, verifier, settings.pairs, seed, settings.pair_draws
        ).figures(fars, thresholds, seed),
        "one_against_ten": _one_against_ten(faces, verifier, seed),
        "closed_set": known.figures(seed),
        "open_set": open_set_figures(search, thresholds, seed),
        "gallery_query": gallery_query_figures(search, seed),
        "open_sets": open_sets(
            faces, verifier, thresholds, photos=settings.open_set_gallery_photos,
            unknown_share=settings.unknown_share, seed=seed,
        ),
        "promise": _promises(faces, verifier, thresholds, seed),
    }  # fmt: skip
    return Evaluation(
        figures=rounded(figures),
        pairs=scan,
        roc=scan.roc.curve(),
        cmc=known.cmc,
        identification=search.curve(),
    )


def _promises(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, seed: int
) -> list[dict[str, Any]]:
    if thresholds is None:
        return []
    budgets, sizes = promised_budgets(thresholds), promised_sizes(thresholds, faces.people)
    promises = hold_promise(faces, verifier, thresholds, budgets, sizes, seed)
    return [promise.figures for promise in promises]


def _one_against_ten(faces: EmbeddedFaces, verifier: Verifier, seed: int) -> dict[str, Any]:
    try:
        return one_against_ten(faces, verifier).figures(seed)
    except FaceOpsError as error:
        return {"negatives": NEGATIVES, "reason": str(error)}
