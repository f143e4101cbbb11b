"""The false positive identification rate (FPIR), measured again on held-out people.

For each budget and gallery size the threshold is the one that identification would use, with all
the faces as one album where the release adapts to it; the FPIR is the exact expectation over all
galleries of people the release has not seen
(`faceops.verification.error_rates`), with a 95 % interval over them.

A budget is "kept" where the rate is at or below it. Above it, it is "broken" if the whole interval
lies above, else "undecided": the sample is too small to decide. Beside it is the interval that the
album states for itself without any label or, in a release that does not adapt to albums, the one
over the people who calibrated it; where it and the measured one are disjoint, the stated one was
too narrow.

Populations: a set of people with its own kind of photos, such as one imported source or one folder,
is an album of its own, and the worst one counts. An average over all of them would hide the one in
which strangers resemble each other most.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from faceops.base.errors import FaceOpsError, UsageError
from faceops.config.sections import Evaluate
from faceops.evaluation.protocols.album_scores import score_album
from faceops.evaluation.protocols.identification import open_set, open_set_figures
from faceops.verification.album import AlbumThreshold
from faceops.verification.embedded_faces import EmbeddedFaces
from faceops.verification.error_rates import impostor_comparisons
from faceops.verification.thresholds import Thresholds
from faceops.verification.verifier import Verifier

_USUAL_SIZES = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
_FEWEST_SIZES = 3


def measure_fpir_at_thresholds(
    faces: EmbeddedFaces, verifier: Verifier, thresholds: Thresholds, seed: int, *,
    budgets: Collection[float] | None = None, gallery_sizes: Collection[int] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return a row of figures for each gallery size that the people can fill, and each budget.

    By default for the sizes and budgets of the release's own table and its default budget; where
    the people can fill fewer than three of the sizes, smaller usual ones are added. "verdict" is
    "kept", "undecided", "broken" (see the module), or "refused" where the release supports no such
    budget.
    """
    people = faces.people
    if gallery_sizes is None:
        own = {row.gallery_faces for row in thresholds.search if row.gallery_faces < people}
        usual = [size for size in _USUAL_SIZES if size < people and size not in own]
        gallery_sizes = [*own, *usual[: max(_FEWEST_SIZES - len(own), 0)]]
    if budgets is None:
        budgets = {row.budget for row in thresholds.search} | {thresholds.default_budget}
    none = {"low": None, "high": None}
    adapts = thresholds.normalisation is not None
    stated = {
        (row.gallery_faces, row.budget): row.false_positive_rate.model_dump()
        for row in thresholds.search
        if row.false_positive_rate and not adapts
    }
    scored = score_album(faces.embeddings, faces.embeddings[:0], verifier, thresholds)
    rows: list[dict[str, Any]] = []
    supported: list[tuple[dict[str, Any], AlbumThreshold]] = []
    for size in sorted(size for size in gallery_sizes if size < people):
        for budget in sorted(budgets, reverse=True):
            row: dict[str, Any] = {
                "gallery_faces": size,
                "budget": budget,
                "strangers": people,
                "threshold": None,
                "measured": False,  # in this album or, without it, when the release was calibrated
                "seen": None,
                "seen_interval": none,
                "calibrated_interval": stated.get((size, budget), none),
                "estimate_interval": none,
                "fallback_population": "",
                "verdict": "refused",
                "refusal": "",
            }
            rows.append(row)
            try:
                supported.append((row, scored.threshold(thresholds, budget, [1] * size)))
            except UsageError as error:
                row["refusal"] = str(error)
    if not supported:
        return rows
    floor = min(found.log_odds for _, found in supported)
    comparisons = impostor_comparisons(
        scored.faces, faces.persons, scored.verifier, floor, seed=seed
    )
    for row, found in supported:
        size, budget, cut = row["gallery_faces"], row["budget"], found.log_odds
        rate, interval = comparisons.rate(cut, size), comparisons.interval(cut, size, seed=seed)
        measured = thresholds.search_is_measured(budget, size)
        row |= {
            "threshold": found.probability,
            "measured": not found.population if adapts else measured,
            "seen": rate,
            "seen_interval": interval,
            "estimate_interval": {"low": found.low, "high": found.high},
            "fallback_population": found.population,
            "verdict": verdict(rate, interval["low"], budget),
        }
    return rows


def verdict(rate: float, low: float, budget: float) -> str:
    """Return "kept", "undecided" or "broken": `low` is the lower end of the interval of `rate`."""
    if rate <= budget:
        return "kept"
    return "undecided" if low <= budget else "broken"


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
