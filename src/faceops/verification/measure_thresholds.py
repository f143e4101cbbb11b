"""Measure on validation people what a release knows: thresholds, and how scores normalise."""

import math

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.base.figures import threshold_at
from faceops.config.sections import Verify
from faceops.verification import error_rates
from faceops.verification import thresholds as th
from faceops.verification.album import FEWEST_PEOPLE, GRID, scores_at_rates
from faceops.verification.calibration import platt
from faceops.verification.error_rates import find_impostor_pairs
from faceops.verification.normalisation import (
    HIGH,
    LOW,
    RATES,
    Cohort,
    Normalisation,
    Population,
    TailShape,
    skipped_of,
)
from faceops.verification.pairs import PairScores, codes, score_table
from faceops.verification.verifier import Verifier, reaches

MOST_FACES = 6000  # of one calibration set
_LINK_RATE = 5e-6  # false accept rate of pairs from which groups of faces are joined at first
_ONLY_SET = "validation people"
_BLOCK = 512  # faces compared with all others at a time
_IMPOSTORS = 400_000  # scores that calibrate, of one set
_FEWEST_PAIRS = 5  # that reach a rate in a set, for its tail to count there

Faces = tuple[np.ndarray, np.ndarray, Verifier]  # embeddings, persons and verifier


def measure_thresholds(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, scores: PairScores,
    settings: Verify, data: str, populations: np.ndarray | None = None,
) -> th.Thresholds:  # fmt: skip
    """Measure on `embeddings` float32 (N, D) of `persons` (N,), people that no model was fitted on.

    `scores` are the probabilities of all their pairs by `verifier`; `populations` text (N,) is the
    calibration set of each face, None for one set. A budget of `settings` that needs more people
    gets a row without a threshold.

    Raises FaceOpsError: too few pairs to measure anything, or too few people for `default_budget`.
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
    counts = error_rates.count_strangers(*faces, seed=seed)
    far = th.smallest_far(counts.people)
    largest = max(counts.people // 2, 1)  # larger galleries leave few people to draw from
    sizes = [base * 10**power for power in range(9) for base in (1, 2, 5)]
    tails = []
    for size in [*(size for size in sizes if size < largest), largest]:
        rates = counts.rates(size)
        points = []
        for wanted in th.tail_rates(1 - (1 - far) ** size if far < 1 else 1.0):
            kept = np.flatnonzero(rates <= wanted)
            cut = th.as_threshold(float(error_rates.GRID[kept[0]]) if len(kept) else np.inf)
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
    floor = min(cuts.values(), default=float(error_rates.GRID[-1]))
    comparisons = error_rates.impostor_comparisons(*faces, floor, seed=settings.seed)
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


def measure_normalisation(
    embeddings: np.ndarray, persons: np.ndarray, verifier: Verifier, pair_tail: list[th.TailPoint],
    populations: np.ndarray | None = None, seed: int = 0,
) -> Normalisation | None:  # fmt: skip
    """Measure on `embeddings` float32 (N, D) of `persons` (N,), whom no model was fitted on.

    Each calibration set is an album whose groups are its labels; `populations` text (N,) names that
    of each face, None is one set. The shape of the tail is the mean over the sets that are large
    enough. `pair_tail` has the log odds of impostor pairs, as in `Thresholds`.

    None if no set has `FEWEST_PEOPLE` people, or nobody has two photos.
    """
    names = np.full(len(persons), _ONLY_SET) if populations is None else np.asarray(populations)
    first = embeddings[np.unique(np.asarray(persons), return_index=True)[1]]  # one face of each
    draft = Normalisation(
        parts=list(verifier.parts),
        weight=verifier.weight.tolist(), centre=first.mean(axis=0).round(6).tolist(),
        link=_raw_score(verifier, th.log_odds_at(pair_tail, _LINK_RATE)),
        scale=1, shift=0, shape=[], populations=[],
    )  # fmt: skip
    draw = np.random.default_rng(seed)
    shapes, sets, genuine, impostor = [], [], [], []
    for name in np.unique(names).tolist():
        rows = draw.permutation(np.flatnonzero(names == name))[:MOST_FACES]
        own, faces = codes(np.asarray(persons)[rows]), embeddings[rows]
        people = int(own.max()) + 1
        if people < FEWEST_PEOPLE:
            continue
        alone, _, _ = _score_pairs(Cohort(draft, faces[:0]), faces, own)
        one_each = faces[np.unique(own, return_index=True)[1]]
        cohort = Cohort(draft, one_each, skipped_of(len(faces)))
        tail, same, other = _score_pairs(cohort, faces, own)
        shapes.append((tail - tail[LOW]) / max(tail[HIGH] - tail[LOW], 1e-6))
        sets.append((name, people, len(rows), alone))
        genuine.append(same)
        impostor.append(other)
    if not sets or not sum(map(len, genuine)):
        return None
    scale, shift = platt(score_table(np.concatenate(genuine), np.concatenate(impostor)))
    scale = max(scale, 1e-3)
    shape = np.maximum.accumulate(_mean_shape(np.array(shapes), [rows for *_, rows, _ in sets]))
    return draft.model_copy(update={
        "scale": scale,
        "shift": shift,
        "shape": [TailShape(rate=rate, value=round(float(value), 5))
                  for rate, value in zip(RATES, shape, strict=True)],
        "populations": [
            Population(name=name, people=people, photos=photos,
                       low=scale * tail[LOW] + shift, high=scale * tail[HIGH] + shift)
            for name, people, photos, tail in sets
        ],
    })  # fmt: skip


def _mean_shape(shapes: np.ndarray, faces: list[int]) -> np.ndarray:
    """Return the mean (R,) of `shapes` (S, R) of sets of so many `faces`, by steps between rates.

    A set counts in a step to a rate that `_FEWEST_PAIRS` of its pairs reach, so that a small one
    does not end the tail. Beyond all sets the last slope continues, linear in the logarithm of the
    rate.
    """
    depths, steps = np.diff(-np.log(RATES)), np.diff(shapes, axis=1)
    counts = np.outer(np.square(faces, dtype=float), RATES[1:]) >= _FEWEST_PAIRS
    mean, slope = [shapes[:, 0].mean()], 0.0
    for depth, step, count in zip(depths, steps.T, counts.T, strict=True):
        slope = step[count].mean() / depth if count.any() else slope
        mean.append(mean[-1] + slope * depth)
    return np.array(mean)


def _score_pairs(
    cohort: Cohort, faces: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z of pairs of `faces` (N, D) of people `own` (N,); `cohort` has scale 1 and shift 0.

    First the tail of impostor pairs (R,), then genuine pairs, and some impostor pairs.
    """
    described = cohort.describe(faces)
    weight = 1 / np.sqrt(np.bincount(own)[own])
    reached = np.zeros(len(GRID) + 1)
    genuine, impostor = [], []
    step = max(len(faces) ** 2 // _IMPOSTORS, 1)
    for start in range(0, len(faces), _BLOCK):
        part = slice(start, start + _BLOCK)
        z = cohort.verifier.logit_matrix(described[part], described)
        different = own[part, None] != own
        weights = weight[part, None] * weight * different
        places = np.searchsorted(GRID, z.ravel(), side="right")
        reached += np.bincount(places, weights.ravel(), len(reached))
        later = np.arange(len(faces)) > np.arange(len(faces))[part, None]
        genuine.append(z[~different & later])
        impostor.append(z[different][::step])
    tail = scores_at_rates(reached[::-1].cumsum()[::-1])
    return tail, np.concatenate(genuine), np.concatenate(impostor)


def _raw_score(verifier: Verifier, odds: float) -> float:
    """Return the sum of weighted squared differences whose log odds are `odds`.

    At most 0, which only a face and itself reach.
    """
    known = verifier.calibration
    if math.isinf(odds):
        return 0.0
    if len(known.knots):
        inside = np.clip(odds, known.log_odds[0], known.log_odds[-1])
        odds = float(np.interp(inside, known.log_odds, known.knots) + odds - inside)
    return min(odds - verifier.bias, 0.0)
