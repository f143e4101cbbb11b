"""The thresholds of a release, measured as params.yaml's section verify asks."""

import numpy as np

from faceops.config.sections import Verify
from faceops.verification.data_seen import validation_people
from faceops.verification.measure_thresholds import measure_thresholds
from faceops.verification.pairs import PairScores
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


def configured_thresholds(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    scores: PairScores,
    settings: Verify,
) -> Thresholds:
    """Measure on validation people; arguments and errors as of `measure_thresholds`."""
    return measure_thresholds(
        embeddings,
        persons,
        verifier,
        scores,
        far_budgets=settings.far_budgets,
        fpir_budgets=settings.fpir_budgets,
        gallery_sizes=settings.gallery_sizes,
        default_budget=settings.default_budget,
        runner_up_margin=settings.runner_up_margin,
        data=validation_people(len(np.unique(persons))),
        seed=settings.seed,
    )
