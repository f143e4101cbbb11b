"""The figures of groups of people or photos, at the thresholds that everybody is judged by.

A false accept inside a group is a pair of two people of the same group: there a face is most
likely to be taken for another. Where a group is too small to say anything, it is said how many
people it would take.
"""

from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.attributes import Attributes
from faceops.evaluation.bootstrap import share_interval
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.slice_search import search_figures
from faceops.verification.false_accept_rate import find_impostor_pairs
from faceops.verification.pairs import all_pair_scores, codes, genuine_pairs
from faceops.verification.support import people_for_pairs, people_for_search
from faceops.verification.threshold_at import threshold_at
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

FAR = 1e-3
MISSED = 0.1  # a share of misses that a group must be able to speak for
PEOPLE_NEEDED = people_for_search(MISSED)  # the same rule of three
_PAIRS = 1 << 15


def measure_slices(
    faces: EmbeddedFaces,
    attributes: Attributes,
    verifier: Verifier,
    thresholds: Thresholds | None,
    seed: int,
) -> dict[str, Any]:
    """Return attribute -> value -> figures, and "worst": the worst groups large enough.

    The threshold of "tar" and "false_accept_rate" keeps `FAR` on all `faces` together; those
    with "release_" are the release's own for `FAR`.
    """
    impostor = all_pair_scores(faces.embeddings, faces.persons, verifier, seed=seed).impostor
    cuts = {"": threshold_at(np.sort(impostor)[::-1], FAR)}
    refusal = "the embedder is no release: nothing was calibrated"
    if thresholds is not None:
        try:
            cuts["release_"] = thresholds.for_pairs(FAR)
            refusal = ""
        except UsageError as error:
            refusal = str(error)
    result: dict[str, Any] = {}
    for attribute, values in attributes.values.items():
        result[attribute] = {
            value: _group(faces.of(values == value), verifier, thresholds, cuts, seed)
            for value in np.unique(values[values != ""]).tolist()
        }
    result["worst"] = {
        "tar": _worst(result, "tar", lowest=True),
        "false_accept_rate": _worst(result, "false_accept_rate", lowest=False),
    }
    result["about"] = {
        "far": FAR,
        "threshold": cuts[""],
        "release_threshold": cuts.get("release_"),
        "release_threshold_refused": refusal,
        "photos_without_value": {
            name: int((values == "").sum()) for name, values in attributes.values.items()
        },
        "rows_without_faces": attributes.rows_without_faces,
    }
    return result


def _group(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds | None,
    cuts: dict[str, float],
    seed: int,
) -> dict[str, Any]:
    people, pairs = faces.people, genuine_pairs(faces.persons)
    whose = codes(faces.persons)[pairs[:, 0]]
    able = len(np.unique(whose))
    genuine = _scores(faces.embeddings, pairs, verifier)
    low = min(cuts.values())
    close = find_impostor_pairs(faces.embeddings, faces.persons, verifier, low)
    figures: dict[str, Any] = {
        "people": people,
        "photos": len(faces),
        "people_with_two_photos": able,
        "genuine_pairs": len(pairs),
    }
    for prefix, cut in cuts.items():
        hits = genuine >= np.float32(cut)
        ends = close.interval(cut, seed=seed) if people > 1 else (float("nan"),) * 2
        figures |= {
            f"{prefix}tar": float(hits.mean()) if len(hits) else None,
            f"{prefix}tar_interval": share_interval(hits, whose, seed),
            f"{prefix}false_accept_rate": close.rate(cut) if people > 1 else None,
            f"{prefix}false_accept_rate_interval": {"low": ends[0], "high": ends[1]},
        }
    figures |= search_figures(faces, verifier, thresholds, seed)
    return figures | _too_small(people, able)


def _scores(embeddings: np.ndarray, pairs: np.ndarray, verifier: Verifier) -> np.ndarray:
    scores = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _PAIRS):
        first, second = pairs[start : start + _PAIRS].T
        scores[start : start + _PAIRS] = verifier.probability(embeddings[first], embeddings[second])
    return scores


def _too_small(people: int, able: int) -> dict[str, Any]:
    """Return whether the two rates can be judged, and in words what is missing."""
    for_far = people_for_pairs(FAR)
    told = []
    if able < PEOPLE_NEEDED:
        told.append(
            f"{able} people with two photos: even without a miss more than {MISSED:.0%} could be "
            f"missed; it takes {PEOPLE_NEEDED}"
        )
    if people < for_far:
        told.append(
            f"{people} people: a false accept rate of {FAR:g} cannot be seen; it takes {for_far}"
        )
    return {
        "tar_supported": able >= PEOPLE_NEEDED,
        "false_accept_rate_supported": people >= for_far,
        "people_needed": {"tar": PEOPLE_NEEDED, "false_accept_rate": for_far},
        "too_small": "; ".join(told),
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
