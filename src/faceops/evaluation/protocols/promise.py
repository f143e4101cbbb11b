"""The promise held against the truth: strangers named at the release's thresholds.

For each budget and gallery size the threshold is the one that identification would use; the
share of strangers named is the exact expectation over all galleries of people whom nothing has
seen (`faceops.verification.false_positive_identification`), with a 95 % interval over them.

A promise is "kept" where the share seen is at or below the budget. Above it, it is "broken" if
the whole interval lies above, else "undecided": so few people may have met more lookalikes by
chance. Beside it stands the interval that the release gave its own threshold, over the people
who calibrated it: where both intervals share nothing, that one was too sure of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceops.base.errors import UsageError
from faceops.evaluation.embedded_faces import EmbeddedFaces
from faceops.verification.false_positive_identification import find_lookalikes
from faceops.verification.thresholds import Thresholds, log_odds_of
from faceops.verification.verifier import Verifier


@dataclass(frozen=True)
class Promise:
    """One budget at one gallery size; without a threshold where the release refuses it."""

    gallery_faces: int
    budget: float
    strangers: int  # people who were compared
    threshold: float | None = None
    measured: bool = False  # else extrapolated when the release was calibrated
    seen: float | None = None
    interval: tuple[float, float] | None = None
    calibrated: tuple[float, float] | None = None  # the interval that the release states for it
    refusal: str = ""

    @property
    def verdict(self) -> str:
        """ "kept", "undecided", "broken" (see the module) or "refused"."""
        if self.seen is None or self.interval is None:
            return "refused"
        if self.seen <= self.budget:
            return "kept"
        return "undecided" if self.interval[0] <= self.budget else "broken"

    @property
    def figures(self) -> dict[str, Any]:
        """The promise as plain values."""
        return {
            "gallery_faces": self.gallery_faces,
            "budget": self.budget,
            "strangers": self.strangers,
            "threshold": self.threshold,
            "measured": self.measured,
            "seen": self.seen,
            "seen_interval": _ends(self.interval),
            "calibrated_interval": _ends(self.calibrated),
            "verdict": self.verdict,
            "refusal": self.refusal,
        }


def hold_promise(
    faces: EmbeddedFaces,
    verifier: Verifier,
    thresholds: Thresholds,
    budgets: Sequence[float],
    gallery_sizes: Sequence[int],
    seed: int,
) -> list[Promise]:
    """Return a promise for each gallery size that the people can fill, and each budget."""
    people = len(np.unique(faces.persons))
    cuts: dict[tuple[int, float], float | str] = {}
    for size in sorted(gallery_sizes):
        if size >= people:
            continue
        for budget in sorted(budgets, reverse=True):
            try:
                cuts[size, budget] = thresholds.for_search(budget, size)
            except UsageError as error:
                cuts[size, budget] = str(error)
    promised = [cut for cut in cuts.values() if not isinstance(cut, str)]
    if not cuts:
        return []
    floor = log_odds_of(min(promised, default=1.0))
    close = find_lookalikes(faces.embeddings, faces.persons, verifier, floor, seed=seed)
    results = []
    for (size, budget), cut in cuts.items():
        if isinstance(cut, str):
            results.append(Promise(size, budget, people, refusal=cut))
            continue
        at = log_odds_of(cut)
        results.append(
            Promise(
                gallery_faces=size,
                budget=budget,
                strangers=people,
                threshold=cut,
                measured=thresholds.search_is_measured(budget, size),
                seen=close.rate(at, size),
                interval=close.interval(at, size, seed=seed),
                calibrated=_stated(thresholds, budget, size),
            )
        )
    return results


def _stated(thresholds: Thresholds, budget: float, gallery_size: int) -> tuple[float, float] | None:
    for row in thresholds.search:
        if (row.budget, row.gallery_faces) == (budget, gallery_size) and row.false_positive_rate:
            return row.false_positive_rate.low, row.false_positive_rate.high
    return None


def _ends(interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {"low": low, "high": high}


_USUAL = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)
_WANTED = 3


def promised_sizes(thresholds: Thresholds, people: int) -> list[int]:
    """Return the sizes of the release's own table that `people` people can fill, rising.

    Where those are fewer than three, smaller usual sizes come with them.
    """
    sizes = {row.gallery_faces for row in thresholds.search if row.gallery_faces < people}
    for size in _USUAL:
        if len(sizes) < _WANTED and size < people:
            sizes.add(size)
    return sorted(sizes)


def promised_budgets(thresholds: Thresholds) -> list[float]:
    """Return the budgets of the release's table with its default one, falling."""
    budgets = {row.budget for row in thresholds.search} | {thresholds.default_budget}
    return sorted(budgets, reverse=True)
