"""Measure the thresholds of a release on validation people."""

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Verify
from faceops.verification.false_accept_rate import find_impostor_pairs, threshold_at
from faceops.verification.false_positive_identification import (
    GRID,
    count_strangers,
    find_lookalikes,
)
from faceops.verification.pairs import PairScores
from faceops.verification.sample_size import (
    IMPOSTOR_PAIRS,
    people_for_far,
    people_for_fpir,
    smallest_far,
)
from faceops.verification.thresholds import (
    Interval,
    PairThreshold,
    SearchTail,
    SearchThreshold,
    TailPoint,
    Thresholds,
    as_threshold,
    fpir_refusal,
    search_log_odds,
    tail_rates,
)
from faceops.verification.verifier import Verifier, reaches


def measure_thresholds(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    scores: PairScores,
    settings: Verify,
    data: str,
) -> Thresholds:
    """Measure on `embeddings` float32 (N, D) of `persons` (N,), to whom nothing was fitted.

    Args:
        scores: probabilities of all their pairs by `verifier`.
        settings: the budgets. A budget that needs more people gets a row without a threshold.
        data: the photos, in words.

    Raises:
        FaceOpsError: too few pairs to measure anything, or too few people for `default_budget`.
    """
    people = len(np.unique(persons))
    if len(scores.genuine) < 1 or len(scores.impostor) < IMPOSTOR_PAIRS * 2:
        raise FaceOpsError(
            f"{len(scores.genuine)} genuine and {len(scores.impostor)} impostor pairs are too few "
            f"to measure thresholds ({data}); give more people with two or more photos."
        )
    if people < people_for_fpir(settings.default_budget):
        raise FaceOpsError(
            f"verify.default_budget: {fpir_refusal(settings.default_budget, people, data)}"
            " (split.val is the share of validation people.)"
        )
    impostors = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    tails = _search_tails(embeddings, persons, verifier, settings.seed)
    return Thresholds(
        data=data,
        people=people,
        photos=len(persons),
        genuine_pairs=len(scores.genuine),
        impostor_pairs=len(impostors),
        pairs=_pair_rows(embeddings, persons, verifier, scores.genuine, impostors, settings),
        search=_search_rows(embeddings, persons, verifier, tails, settings),
        pair_tail=[
            TailPoint(rate=rate, probability=threshold_at(impostors, rate))
            for rate in tail_rates(max(smallest_far(people), IMPOSTOR_PAIRS / len(impostors)))
        ],
        search_tails=tails,
        default_budget=settings.default_budget,
        runner_up_margin=settings.runner_up_margin,
    )


def gallery_sizes_measured(people: int) -> list[int]:
    """Return 1, 2, 5, 10 ... up to half of the people: larger galleries leave few to draw from."""
    largest = max(people // 2, 1)
    sizes = [base * 10**power for power in range(9) for base in (1, 2, 5)]
    return [size for size in sizes if size < largest] + [largest]


def _search_tails(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, seed: int
) -> list[SearchTail]:
    counts = count_strangers(embeddings, persons, verifier, seed=seed)
    far = smallest_far(counts.people)
    tails = []
    for size in gallery_sizes_measured(counts.people):
        rates = counts.rates(size)
        points = []
        for wanted in tail_rates(1 - (1 - far) ** size if far < 1 else 1.0):
            kept = np.flatnonzero(rates <= wanted)
            cut = as_threshold(float(GRID[kept[0]]) if len(kept) else np.inf)
            points.append(TailPoint(rate=wanted, probability=cut))
        tails.append(SearchTail(gallery_faces=size, points=points))
    return tails


def _search_rows(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    tails: list[SearchTail],
    settings: Verify,
) -> list[SearchThreshold]:
    people, largest = len(np.unique(persons)), tails[-1].gallery_faces
    rows = [
        SearchThreshold(gallery_faces=size, budget=budget, people_needed=people_for_fpir(budget))
        for size in sorted(settings.gallery_sizes)
        for budget in sorted(settings.fpir_budgets, reverse=True)
    ]
    cuts = {
        index: search_log_odds(tails, row.budget, row.gallery_faces)
        for index, row in enumerate(rows)
        if people >= row.people_needed
    }
    floor = min(cuts.values(), default=float(GRID[-1]))
    lookalikes = find_lookalikes(embeddings, persons, verifier, floor, seed=settings.seed)
    for index, cut in cuts.items():
        size = rows[index].gallery_faces
        reach = next((tail for tail in tails if tail.gallery_faces >= size), None)
        low, high = lookalikes.interval(cut, min(size, largest), seed=settings.seed)
        # Beyond what was measured the rate lies between that of the largest gallery, as more faces
        # resemble no fewer strangers, and as many times that as the gallery is larger.
        high = min(high * max(size / largest, 1.0), 1)
        measured = {
            "probability": as_threshold(cut),
            "measured": reach is not None and reach.covers(rows[index].budget),
            "false_positive_rate": Interval(low=round(low, 7), high=round(high, 7)),
        }
        rows[index] = rows[index].model_copy(update=measured)
    return rows


def _pair_rows(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    genuine: np.ndarray,
    impostors: np.ndarray,
    settings: Verify,
) -> list[PairThreshold]:
    people = len(np.unique(persons))
    rows = [
        PairThreshold(budget=far, people_needed=people_for_far(far))
        for far in sorted(settings.far_budgets, reverse=True)
    ]
    cuts = {
        index: threshold_at(impostors, row.budget)
        for index, row in enumerate(rows)
        if people >= row.people_needed
    }
    if not cuts:
        return rows
    close = find_impostor_pairs(embeddings, persons, verifier, min(cuts.values()))
    for index, cut in cuts.items():
        low, high = close.interval(cut, seed=settings.seed)
        measured = {
            "probability": cut,
            "false_accept_rate": Interval(low=round(low, 8), high=round(high, 8)),
            "true_accept_rate": round(float(reaches(genuine, cut).mean()), 6),
        }
        rows[index] = rows[index].model_copy(update=measured)
    return rows
