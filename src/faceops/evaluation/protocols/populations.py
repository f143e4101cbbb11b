"""The promise on several populations: each is an album of its own, and the worst one counts.

A population is a set of people with its own kind of photos, such as one imported source or one
folder. An average over all of them would hide the one in which strangers resemble each other most.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError
from faceops.config.sections import Evaluate
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.evaluation.protocols.fpir_at_thresholds import verdict
from faceops.evaluation.protocols.identification import open_set, open_set_figures
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier


def measure_populations(
    faces: EmbeddedFaces, names: np.ndarray, verifier: Verifier, thresholds: Thresholds,
    settings: Evaluate,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row for each population in `names` text (N,); none if there is only one.

    A population with too few people for known people and strangers has a "reason" instead.
    """
    found = np.unique(names).tolist()
    if len(found) < 2:
        return []
    measured = {}
    for name in found:
        own = faces.of(names == name)
        figures: dict[str, Any] = {"people": own.people, "photos": len(own)}
        try:
            result = open_set(
                own, verifier, thresholds, gallery_photos=settings.gallery_photos,
                unknown_share=settings.unknown_share, seed=settings.seed,
            )  # fmt: skip
            figures["open_set"] = open_set_figures(result, thresholds, settings.seed)
        except FaceOpsError as error:
            figures["reason"] = str(error)
        measured[name] = figures
    return population_rows(measured)


def population_rows(measured: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each name; `measured` has the figures of its evaluation.

    The rates are those of "open_set" or, without it, of the largest gallery in "promise" at the
    budget nearest to 1 %. "worst" marks the highest FPIR.
    """
    rows = [_row(name, figures) for name, figures in measured.items()]
    rates = [row["fpir"] for row in rows if "reason" not in row]
    for row in rows:
        row["worst"] = len(rates) > 1 and row.get("fpir") == max(rates)
    return rows


_USUAL_BUDGET = 0.01


def _row(name: str, figures: dict[str, Any]) -> dict[str, Any]:
    row = {"name": name, "people": figures["people"], "photos": figures["photos"]}
    rates = figures.get("open_set", {})
    if "fpir" not in rates:
        rates = _largest_gallery(figures.get("promise", []))
    if not rates:
        reason = figures.get("reason") or figures.get("promise_refused")
        return row | {"reason": reason or "the protocol measures no promise"}
    budget, fpir, interval = rates["budget"], rates["fpir"], rates["fpir_interval"]
    return row | {
        "dir": rates.get("dir"),
        "dir_interval": rates.get("dir_interval"),
        "fpir": fpir,
        "fpir_interval": interval,
        "budget": budget,
        "verdict": verdict(fpir, interval["low"], budget),
    }


def _largest_gallery(promise: Sequence[dict[str, Any]]) -> dict[str, Any]:
    seen = [row for row in promise if row["seen"] is not None]
    if not seen:
        return {}
    budget = min((row["budget"] for row in seen), key=lambda one: abs(np.log(one / _USUAL_BUDGET)))
    chosen = max(
        (row for row in seen if row["budget"] == budget), key=lambda row: row["gallery_faces"]
    )
    return {
        "fpir": chosen["seen"], "fpir_interval": chosen["seen_interval"], "budget": budget,
    }  # fmt: skip
