"""What the figures do not say."""

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Bullets, Section


def limits_section(facts: Facts) -> Section:
    """Limits that follow from how many and what kind of people were measured."""
    people = facts.figures["people"]
    few = "few" if people < 200 else "a limited sample"
    groups = (
        "the table of groups says how far"
        if facts.figures.get("slices")
        else "no figure by group exists here"
    )
    items = [
        "Thresholds hold for strangers like the people they were measured on. Siblings, twins, "
        "children and people of groups that are rare in the photos above are confused more "
        f"often; {groups}.",
        f"{people:,} test people are {few}: read the intervals, not the values.",
        "Extrapolated thresholds rest on the tail's shape; measure on more people before a large "
        "gallery relies on them.",
        "Small, blurred, covered or strongly turned faces, old photos, and pictures of pictures "
        "are recognised worse than the figures say"
        + (", see Bad photos." if facts.figures.get("robustness") else "."),
        *facts.about.notes,
    ]
    return Section("limits", "Limits", [Bullets(items)])
