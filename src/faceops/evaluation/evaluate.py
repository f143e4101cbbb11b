"""All protocols on one table of embeddings: the figures and the curves behind them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.config.sections import Evaluate
from faceops.errors import FaceOpsError
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.calibration import Reliability, reliability
from faceops.evaluation.closed_set import closed_set
from faceops.evaluation.open_set import open_set
from faceops.evaluation.roc import roc_auc, roc_curve, tar_at_far
from faceops.verification.pairs import (
    PairScores,
    Verify,
    all_pair_scores,
    balanced_pairs,
    codes,
    genuine_pairs,
)
from faceops.verification.thresholds import SUPPORTING_PAIRS, Thresholds

ACCEPT = 0.5
FPIR = 0.01
_RANKS = 20


@dataclass(frozen=True)
class Evaluation:
    """What a bundle is worth on people whom nothing has seen."""

    figures: dict[str, Any]  # rounded to six digits, ready for JSON
    scores: PairScores
    roc: tuple[np.ndarray, np.ndarray]  # far, tar
    cmc: np.ndarray  # (R,): share of probes whose person is among the first 1..R
    reliability: Reliability


def evaluate(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verify: Verify,
    thresholds: Thresholds,
    settings: Evaluate,
) -> Evaluation:
    """Run verification, closed-set and open-set protocols.

    `embeddings` float32 (N, D), `persons` (N,), both of test people only; `verify` gives the
    probability that rows of two tables show one person. Every threshold that is applied comes
    from `thresholds` or is the even odds of a calibrated probability: none is chosen here,
    but for the figures that say "at FAR" or "at FPIR", which compare models.

    Raises:
        FaceOpsError: too few test people or photos.
    """
    if len(persons) == 0:
        raise FaceOpsError("there are no test photos to evaluate on; raise split.test.")
    people = len(np.unique(persons))
    known = closed_set(embeddings, persons, verify)
    scores = all_pair_scores(embeddings, persons, verify, seed=settings.seed)
    verification, bins = _verification(embeddings, persons, verify, scores, settings)
    seed = settings.seed
    figures = {
        "people": people,
        "photos": len(persons),
        "verification": verification,
        "closed_set": {
            "rank_1": known.rate(1),
            "rank_1_interval": share_interval(known.ranks == 1, known.probe_person, seed),
            "rank_5": known.rate(5),
            "gallery_people": known.people,
            "probes": len(known.ranks),
        },
        "open_set": _open_set(embeddings, persons, verify, thresholds, settings),
    }
    return Evaluation(
        figures=rounded(figures),
        scores=scores,
        roc=roc_curve(scores.genuine, scores.impostor),
        cmc=np.array([known.rate(rank) for rank in range(1, min(_RANKS, known.people) + 1)]),
        reliability=bins,
    )


def _verification(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verify: Verify,
    scores: PairScores,
    settings: Evaluate,
) -> tuple[dict[str, Any], Reliability]:
    pairs = balanced_pairs(persons, settings.pairs, settings.seed)
    probability = verify(embeddings[pairs.first], embeddings[pairs.second])
    right = (probability >= ACCEPT) == pairs.same
    person = codes(persons)
    figures: dict[str, Any] = {
        "accuracy": float(right.mean()),
        "accuracy_interval": share_interval(right, person[pairs.first], settings.seed),
        "accuracy_pairs": len(right),
        "accuracy_threshold": ACCEPT,
        "roc_auc": roc_auc(scores.genuine, scores.impostor),
        "genuine_pairs": len(scores.genuine),
        "impostor_pairs": len(scores.impostor),
    }
    whose = person[genuine_pairs(persons)[:, 0]]
    for far in settings.far:
        rate, threshold = tar_at_far(scores.genuine, scores.impostor, far)
        accepted = scores.genuine >= np.float32(threshold)
        name = f"tar_at_far_{far:g}"
        figures[name] = rate
        figures[f"{name}_interval"] = share_interval(accepted, whose, settings.seed)
        figures[f"{name}_supported"] = bool(len(scores.impostor) * far >= SUPPORTING_PAIRS)
    bins = reliability(scores.genuine, scores.impostor)
    figures["calibration_error"] = bins.expected_error
    return figures, bins


def _open_set(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verify: Verify,
    thresholds: Thresholds,
    settings: Evaluate,
) -> dict[str, Any]:
    result = open_set(
        embeddings,
        persons,
        verify,
        thresholds,
        gallery_photos=settings.gallery_photos,
        unknown_share=settings.unknown_share,
        seed=settings.seed,
    )
    known, strangers = result.known, ~result.known
    seed = settings.seed
    return {
        "dir": float(result.identified[known].mean()),
        "dir_interval": share_interval(result.identified[known], result.person[known], seed),
        "fpir": float(result.named[strangers].mean()),
        "fpir_interval": share_interval(result.named[strangers], result.person[strangers], seed),
        "misidentified": float(result.misidentified[known].mean()),
        f"dir_at_fpir_{FPIR:g}": result.rate_at(FPIR),
        "budget": thresholds.default_budget,
        "threshold": result.threshold,
        "threshold_measured": thresholds.search_is_measured(
            thresholds.default_budget, result.gallery_faces
        ),
        "draws": result.draws,
        "gallery_faces": result.gallery_faces,
        "known_people": result.known_people,
        "known_probes": int(known.sum()),
        "stranger_probes": int(strangers.sum()),
    }


def rounded(value: Any) -> Any:
    """Return nested dictionaries with every float at six digits; NaN becomes None."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
