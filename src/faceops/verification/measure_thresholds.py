"""Measure the thresholds of a release on validation people."""

from collections.abc import Sequence

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Verify
from faceops.verification.false_accept_rate import (
    SUPPORTING_PAIRS,
    ImpostorPairs,
    find_impostor_pairs,
    people_for_pairs,
    people_for_search,
    smallest_pair_rate,
    threshold_at,
)
from faceops.verification.false_positive_identification import (
    GRID,
    Lookalikes,
    count_strangers,
    find_lookalikes,
)
from faceops.verification.pairs import PairScores
from faceops.verification.score_table import TailPoint, as_threshold, tail_rates
from faceops.verification.split_crops import validation_people
from faceops.verification.thresholds import (
    Interval,
    PairThreshold,
    SearchTail,
    SearchThreshold,
    Thresholds,
    refused_budget,
    search_log_odds,
)
from faceops.verification.verifier import Verifier

_SIZES = (1, 2, 5)


def measure_thresholds(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    scores: PairScores,
    *,
    far_budgets: Sequence[float],
    fpir_budgets: Sequence[float],
    gallery_sizes: Sequence[int],
    default_budget: float,
    runner_up_margin: float,
    data: str,
    seed: int = 0,
) -> Thresholds:
    """Measure on `embeddings` float32 (N, D) of `persons` (N,), whom nothing was fitted to.

    `scores` are the probabilities of all their pairs by `verifier`. The tables state each of
    `far_budgets`, and each of `fpir_budgets` at each of `gallery_sizes` faces, with an interval
    over people; a budget that the people cannot support stands there without a threshold.

    Raises:
        FaceOpsError: too few pairs to measure anything, or too few people for `default_budget`.
    """
    people = len(np.unique(persons))
    if len(scores.genuine) < 1 or len(scores.impostor) < SUPPORTING_PAIRS * 2:
        raise FaceOpsError(
            f"{len(scores.genuine)} pairs of one person and {len(scores.impostor)} of two people "
            f"are too few to measure thresholds ({data}); give more people with two or more photos."
        )
    if people < people_for_search(default_budget):
        raise FaceOpsError(
            "verify.default_budget: "
            + refused_budget(default_budget, people, data)
            + " (split.val is the share of people that calibrate.)"
        )
    strangers = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    pair_tail = [
        TailPoint(rate=rate, probability=threshold_at(strangers, rate))
        for rate in tail_rates(max(smallest_pair_rate(people), SUPPORTING_PAIRS / len(strangers)))
    ]
    tails = _search_tails(embeddings, persons, verifier, people, seed)
    cuts = [
        (size, budget, search_log_odds(tails, budget, size))
        for size in sorted(gallery_sizes)
        for budget in sorted(fpir_budgets, reverse=True)
        if people >= people_for_search(budget)
    ]
    floor = min((cut for _, _, cut in cuts), default=float(GRID[-1]))
    lookalikes = find_lookalikes(embeddings, persons, verifier, floor, seed=seed)
    found = {
        (size, budget): _search_row(size, budget, cut, tails, lookalikes, seed)
        for size, budget, cut in cuts
    }
    return Thresholds(
        data=data,
        people=people,
        photos=len(persons),
        genuine_pairs=len(scores.genuine),
        impostor_pairs=len(strangers),
        pairs=_pair_rows(embeddings, persons, verifier, scores, strangers, far_budgets, seed),
        search=[
            found.get((size, budget))
            or SearchThreshold(
                gallery_faces=size, budget=budget, people_needed=people_for_search(budget)
            )
            for size in sorted(gallery_sizes)
            for budget in sorted(fpir_budgets, reverse=True)
        ],
        pair_tail=pair_tail,
        search_tails=tails,
        default_budget=default_budget,
        runner_up_margin=runner_up_margin,
    )


def gallery_sizes_measured(people: int) -> list[int]:
    """Return 1, 2, 5, 10 ... up to half of the people: larger galleries leave few to draw from."""
    largest = max(people // 2, 1)
    sizes = [base * 10**power for power in range(9) for base in _SIZES]
    return [size for size in sizes if size < largest] + [largest]


def _search_tails(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, people: int, seed: int
) -> list[SearchTail]:
    counts = count_strangers(embeddings, persons, verifier, seed=seed)
    pair_rate = smallest_pair_rate(people)
    tails = []
    for size in gallery_sizes_measured(people):
        rates = counts.rates(size)
        points = []
        for wanted in tail_rates(1 - (1 - pair_rate) ** size if pair_rate < 1 else 1.0):
            kept = np.flatnonzero(rates <= wanted)
            cut = as_threshold(float(GRID[kept[0]])) if len(kept) else as_threshold(np.inf)
            points.append(TailPoint(rate=wanted, probability=cut))
        tails.append(SearchTail(gallery_faces=size, points=points))
    return tails


def _search_row(
    size: int,
    budget: float,
    cut: float,
    tails: list[SearchTail],
    lookalikes: Lookalikes,
    seed: int,
) -> SearchThreshold:
    largest = tails[-1].gallery_faces
    reach = next((tail for tail in tails if tail.gallery_faces >= size), None)
    low, high = lookalikes.interval(cut, min(size, largest), seed=seed)
    # Beyond what was measured the rate lies between that of the largest gallery, as more faces
    # resemble no fewer strangers, and as many times that as the gallery is larger.
    grown = max(size / largest, 1.0)
    return SearchThreshold(
        gallery_faces=size,
        budget=budget,
        people_needed=people_for_search(budget),
        probability=as_threshold(cut),
        measured=reach is not None and budget >= reach.points[-1].rate * (1 - 1e-9),
        false_positive_rate=Interval(low=round(low, 7), high=round(min(high * grown, 1), 7)),
    )


def _pair_rows(
    embeddings: np.ndarray,
    persons: np.ndarray,
    verifier: Verifier,
    scores: PairScores,
    strangers: np.ndarray,
    far_budgets: Sequence[float],
    seed: int,
) -> list[PairThreshold]:
    people = len(np.unique(persons))
    cuts = {far: threshold_at(strangers, far) for far in far_budgets}
    supported = [far for far in far_budgets if people >= people_for_pairs(far)]
    close: ImpostorPairs | None = None
    if supported:
        floor = min(cuts[far] for far in supported)
        close = find_impostor_pairs(embeddings, persons, verifier, floor)
    rows = []
    for far in sorted(far_budgets, reverse=True):
        needed = people_for_pairs(far)
        if close is None or far not in supported:
            rows.append(PairThreshold(budget=far, people_needed=needed))
            continue
        low, high = close.interval(cuts[far], seed=seed)
        accepted = scores.genuine >= np.float32(cuts[far])
        rows.append(
            PairThreshold(
                budget=far,
                people_needed=needed,
                probability=cuts[far],
                false_accept_rate=Interval(low=round(low, 8), high=round(high, 8)),
                true_accept_rate=round(float(accepted.mean()), 6),
            )
        )
    return rows


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
