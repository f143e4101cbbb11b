"""Figures of groups (slices) of people or photos, at the thresholds of all people together.

A false accept inside a group is an impostor pair of two people of the same group: there a face is
most likely to be taken for another. Where a group is too small, the figures say how many people
it takes.

Identification inside a group: gallery and strangers are of the group. The gallery has `GALLERY`
people with one photo each, whatever the group's size, so that groups can be compared; figures are
exact expectations over all such galleries, as in
`faceops.verification.false_positive_identification`.
"""

from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.embedded_faces import NOT_CALIBRATED, EmbeddedFaces
from faceops.evaluation.protocols.attributes import Attributes
from faceops.verification.bootstrap import share_interval
from faceops.verification.false_accept_rate import find_impostor_pairs, threshold_at
from faceops.verification.false_positive_identification import DRAWS, chance_named, find_lookalikes
from faceops.verification.pairs import (
    all_pair_scores,
    codes,
    genuine_pairs,
    row_blocks,
    score_pairs,
)
from faceops.verification.sample_size import people_for_far, people_for_fpir
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verifier, reaches

GALLERY = 20
FAR = 1e-3
MISSED = 0.1  # a share of misses that a group must have enough people for
PEOPLE_NEEDED = people_for_fpir(MISSED)  # the same rule of three


def measure_slices(
    faces: EmbeddedFaces,
    attributes: Attributes,
    verifier: Verifier,
    thresholds: Thresholds | None,
    seed: int,
) -> dict[str, Any]:
    """Return attribute -> value -> figures, and "worst": the worst groups that are large enough.

    The threshold of "tar" and "false_accept_rate" keeps `FAR` on all `faces` together; those
    with "release_" are the release's own for `FAR`.
    """
    impostor = all_pair_scores(faces.embeddings, faces.persons, verifier, seed=seed).impostor
    cuts = {"": threshold_at(np.sort(impostor)[::-1], FAR)}
    refusal = NOT_CALIBRATED
    if thresholds is not None:
        try:
            cuts["release_"] = thresholds.for_pairs(FAR)
            refusal = ""
        except UsageError as error:
            refusal = str(error)
    result: dict[str, Any] = {
        attribute: {
            value: _group_figures(faces.of(values == value), verifier, thresholds, cuts, seed)
            for value in np.unique(values[values != ""]).tolist()
        }
        for attribute, values in attributes.values.items()
    }
    worst = {
        "tar": _worst(result, "tar", lowest=True),
        "false_accept_rate": _worst(result, "false_accept_rate", lowest=False),
    }
    about = {
        "far": FAR,
        "threshold": cuts[""],
        "release_threshold": cuts.get("release_"),
        "release_threshold_refused": refusal,
        "photos_without_value": {
            name: int((values == "").sum()) for name, values in attributes.values.items()
        },
        "rows_without_faces": attributes.rows_without_faces,
    }
    return result | {"worst": worst, "about": about}


def _group_figures(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    cuts: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    people, pairs = faces.people, genuine_pairs(faces.persons)
    whose = codes(faces.persons)[pairs[:, 0]]
    able = len(np.unique(whose))
    genuine = score_pairs(faces.embeddings, pairs, verifier)
    floor = min(cuts.values())
    impostors = find_impostor_pairs(faces.embeddings, faces.persons, verifier, floor)
    figures: dict[str, Any] = {
        "people": people,
        "photos": len(faces),
        "people_with_two_photos": able,
        "genuine_pairs": len(pairs),
    }
    for prefix, cut in cuts.items():
        hits = reaches(genuine, cut)
        ends = impostors.interval(cut, seed=seed) if people > 1 else (float("nan"),) * 2
        figures |= {
            f"{prefix}tar": float(hits.mean()) if len(hits) else None,
            f"{prefix}tar_interval": share_interval(hits, whose, seed),
            f"{prefix}false_accept_rate": impostors.rate(cut) if people > 1 else None,
            f"{prefix}false_accept_rate_interval": {"low": ends[0], "high": ends[1]},
        }
    search = _search_figures(faces, verifier, thresholds, seed)
    return figures | search | _support(people, able)


def _search_figures(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds | None, seed: int
) -> dict[str, Any]:
    """Return "dir" and "fpir" with intervals at the release's default budget, or why not."""
    absent: dict[str, Any] = {"dir": None, "fpir": None}
    if thresholds is None:
        return absent | {"search_refused": NOT_CALIBRATED}
    if faces.people <= GALLERY:
        reason = f"{faces.people} people cannot fill a gallery of {GALLERY} and be strangers to it"
        return absent | {"search_refused": reason}
    try:
        cut = log_odds_of(thresholds.for_search(thresholds.default_budget, GALLERY))
    except UsageError as error:
        return absent | {"search_refused": str(error)}
    lookalikes = find_lookalikes(faces.embeddings, faces.persons, verifier, cut, seed=seed)
    low, high = lookalikes.interval(cut, GALLERY, seed=seed)
    named, whose = chance_identified(faces, verifier, cut, thresholds.runner_up_margin, seed)
    return {
        "dir": float(named.mean()) if len(named) else None,
        "dir_interval": share_interval(named, whose, seed),
        "fpir": lookalikes.rate(cut, GALLERY),
        "fpir_interval": {"low": low, "high": high},
        "gallery_people": GALLERY,
        "budget": thresholds.default_budget,
        "search_refused": "",
    }


def chance_identified(
    faces: EmbeddedFaces, verifier: Verifier, cut: float, margin: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chance that each probe gets its own name, float64 (Q,), and its person, (Q,).

    A photo of each person is drawn for the gallery, `DRAWS` times; every other photo probes. With
    the own score at `cut` or above, the name is given unless one of the `GALLERY` - 1 others
    comes within `margin` of it: E of the M others do, so C(M - E, n) / C(M, n) galleries are
    without them.
    """
    person = codes(faces.persons)
    draw = np.random.default_rng(seed)
    chances, whose = [np.zeros(0)], [np.zeros(0, int)]
    for _ in range(DRAWS):
        order = draw.permutation(len(person))
        gallery = order[np.unique(person[order], return_index=True)[1]]
        probes = np.setdiff1d(np.arange(len(person)), gallery)
        for block in row_blocks(len(probes), faces.people):
            rows = probes[block]
            scores = verifier.logit_matrix(faces.embeddings[rows], faces.embeddings[gallery])
            own = scores[np.arange(len(rows)), person[rows]]
            near = (scores > own[:, None] - np.float32(margin)).sum(1) - (margin > 0)
            alone = 1 - chance_named(np.maximum(near, 0), faces.people - 1, GALLERY - 1)
            chances.append(np.where(reaches(own, cut), alone, 0.0))
            whose.append(person[rows])
    return np.concatenate(chances), np.concatenate(whose)


def _support(people: int, able: int) -> dict[str, Any]:
    """Return whether the two rates are supported, and in words what is missing."""
    for_far = people_for_far(FAR)
    reasons = []
    if able < PEOPLE_NEEDED:
        reasons.append(
            f"{able} people with two photos: even without a miss more than {MISSED:.0%} could be "
            f"missed; it takes {PEOPLE_NEEDED}"
        )
    if people < for_far:
        reasons.append(
            f"{people} people: a false accept rate of {FAR:g} cannot be seen; it takes {for_far}"
        )
    return {
        "tar_supported": able >= PEOPLE_NEEDED,
        "false_accept_rate_supported": people >= for_far,
        "people_needed": {"tar": PEOPLE_NEEDED, "false_accept_rate": for_far},
        "too_small": "; ".join(reasons),
    }


def _worst(result: dict[str, Any], name: str, *, lowest: bool) -> dict[str, Any] | None:
    """Return the group with the worst rate, of those that are large enough for it."""
    able = [
        (group[name], attribute, value)
        for attribute, groups in result.items()
        for value, group in groups.items()
        if group[f"{name}_supported"] and group[name] is not None
    ]
    if not able:
        return None
    rate, attribute, value = (min if lowest else max)(able)
    interval = result[attribute][value][f"{name}_interval"]
    return {"attribute": attribute, "value": value, name: rate, f"{name}_interval": interval}
