"""At which gallery sizes a release's promise is held against test people."""

from faceops.verification.thresholds import Thresholds

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
