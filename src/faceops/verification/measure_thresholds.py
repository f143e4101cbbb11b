"""Measure the thresholds of a release on validation people."""

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Verify
from faceops.verification import false_positive_identification as fpir
from faceops.verification import thresholds as th
from faceops.verification.false_accept_rate import find_impostor_pairs, threshold_at
from faceops.verification.measure_normalisation import measure_normalisation
from faceops.verification.pairs import PairScores
from faceops.verification.verifier import Verifier, reaches

Faces = tuple[np.ndarray, np.ndarray, Verifier]  # embeddings, persons and verifier


def measure_thresholds(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, scores: PairScores,
    settings: Verify, data: str, populations: np.ndarray | None = None,
) -> th.Thresholds:  # fmt: skip
    """Measure on `embeddings` float32 (N, D) of `persons` (N,), people that no model was fitted on.

    Args:
        scores: probabilities of all their pairs by `verifier`.
        settings: the budgets. A budget that needs more people gets a row without a threshold.
        data: the photos, in words.
        populations: text (N,), the calibration set of each face; None for one set.

    Raises:
        FaceOpsError: too few pairs to measure anything, or too few people for `default_budget`.
    """
    people = len(np.unique(persons))
    if len(scores.genuine) < 1 or len(scores.impostor) < th.IMPOSTOR_PAIRS * 2:
        raise FaceOpsError(
            f"{len(scores.genuine)} genuine and {len(scores.impostor)} impostor pairs are too few "
            f"to measure thresholds ({data}); give more people with two or more photos."
        )
    if people < th.people_for_fpir(settings.default_budget):
        refusal = th.fpir_refusal(settings.default_budget, people, data)
        raise FaceOpsError(
            f"verify.default_budget: {refusal} (split.val is the share of validation people.)"
        )
    faces = embeddings, persons, verifier
    impostors = np.sort(np.asarray(scores.impostor, np.float32))[::-1]
    smallest = max(th.smallest_far(people), th.IMPOSTOR_PAIRS / len(impostors))
    tails = _search_tails(faces, settings.seed)
    pair_tail = [
        th.TailPoint(rate=rate, probability=threshold_at(impostors, rate))
        for rate in th.tail_rates(smallest)
    ]
    normalisation = measure_normalisation(
        embeddings, persons, verifier, pair_tail, populations, settings.seed
    )
    return th.Thresholds(
        data=data,
        people=people,
        photos=len(persons),
        genuine_pairs=len(scores.genuine),
        impostor_pairs=len(impostors),
        pairs=_pair_rows(faces, scores.genuine, impostors, settings),
        search=_search_rows(faces, tails, settings),
        pair_tail=pair_tail,
        search_tails=tails,
        default_budget=settings.default_budget,
        runner_up_margin=settings.runner_up_margin,
        normalisation=normalisation,
    )


def _search_tails(faces: Faces, seed: int) -> list[th.SearchTail]:
    counts = fpir.count_strangers(*faces, seed=seed)
    far = th.smallest_far(counts.people)
    largest = max(counts.people // 2, 1)  # larger galleries leave few people to draw from
    sizes = [base * 10**power for power in range(9) for base in (1, 2, 5)]
    tails = []
    for size in [*(size for size in sizes if size < largest), largest]:
        rates = counts.rates(size)
        points = []
        for wanted in th.tail_rates(1 - (1 - far) ** size if far < 1 else 1.0):
            kept = np.flatnonzero(rates <= wanted)
            cut = th.as_threshold(float(fpir.GRID[kept[0]]) if len(kept) else np.inf)
            points.append(th.TailPoint(rate=wanted, probability=cut))
        tails.append(th.SearchTail(gallery_faces=size, points=points))
    return tails


def _search_rows(
    faces: Faces, tails: list[th.SearchTail], settings: Verify
) -> list[th.SearchThreshold]:
    people, largest = len(np.unique(faces[1])), tails[-1].gallery_faces
    rows = [
        th.SearchThreshold(gallery_faces=n, budget=budget, people_needed=th.people_for_fpir(budget))
        for n in sorted(settings.gallery_sizes)
        for budget in sorted(settings.fpir_budgets, reverse=True)
    ]
    cuts = {
        index: th.search_log_odds(tails, row.budget, row.gallery_faces)
        for index, row in enumerate(rows)
        if people >= row.people_needed
    }
    floor = min(cuts.values(), default=float(fpir.GRID[-1]))
    comparisons = fpir.impostor_comparisons(*faces, floor, seed=settings.seed)
    for index, cut in cuts.items():
        size = rows[index].gallery_faces
        low, high = comparisons.interval(cut, min(size, largest), seed=settings.seed).values()
        # Beyond what was measured the rate lies between that of the largest gallery, as more faces
        # resemble no fewer strangers, and as many times that as the gallery is larger.
        high = min(high * max(size / largest, 1.0), 1)
        measured = {
            "probability": th.as_threshold(cut),
            "measured": th.is_measured(tails, rows[index].budget, size),
            "false_positive_rate": th.Interval(low=round(low, 7), high=round(high, 7)),
        }
        rows[index] = rows[index].model_copy(update=measured)
    return rows


def _pair_rows(
    faces: Faces, genuine: np.ndarray, impostors: np.ndarray, settings: Verify
) -> list[th.PairThreshold]:
    people = len(np.unique(faces[1]))
    rows = [
        th.PairThreshold(budget=far, people_needed=th.people_for_far(far))
        for far in sorted(settings.far_budgets, reverse=True)
    ]
    cuts = {
        index: threshold_at(impostors, row.budget)
        for index, row in enumerate(rows)
        if people >= row.people_needed
    }
    if not cuts:
        return rows
    close = find_impostor_pairs(*faces, min(cuts.values()))
    for index, cut in cuts.items():
        low, high = close.interval(cut, seed=settings.seed).values()
        measured = {
            "probability": cut,
            "false_accept_rate": th.Interval(low=round(low, 8), high=round(high, 8)),
            "true_accept_rate": round(float(reaches(genuine, cut).mean()), 6),
        }
        rows[index] = rows[index].model_copy(update=measured)
    return rows
