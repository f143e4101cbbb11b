"""Where a release cuts, in words; budgets that its people cannot speak for stand there refused."""

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Section, Table, Text, absent
from faceops.evaluation.shown import one_in, shown_interval, shown_probability, shown_share
from faceops.verification.thresholds import Interval, Thresholds

TITLE = "Where it cuts"
GALLERIES = (10, 100, 1000, 10000)


def thresholds_section(facts: Facts) -> Section:
    """The default threshold by gallery size in words, and both tables of the release."""
    measured = facts.thresholds
    if measured is None:
        why = "The embedder has no thresholds: nothing was calibrated."
        return absent("thresholds", TITLE, why)
    told = (
        f"Measured on {measured.data}: {measured.photos:,} photos, {measured.genuine_pairs:,} "
        f"pairs of one person, {measured.impostor_pairs:,} of two."
    )
    note = (
        f"A name also needs a lead of {measured.runner_up_margin:g} in log odds over the next "
        "person. A probability is calibrated for as many pairs of one person as of two; in a "
        "photo folder the odds are others."
    )
    parts: list[Part] = [Text(told), _in_words(measured), _search(measured), _pairs(measured)]
    return Section("thresholds", TITLE, [*parts, Text(note)])


def _in_words(measured: Thresholds) -> Table:
    budget = measured.default_budget
    rows = []
    for faces in GALLERIES:
        threshold = measured.for_search(budget, faces)
        how = "measured" if measured.search_is_measured(budget, faces) else "extrapolated"
        whom = f"({how} on {measured.people:,} people)"
        aim = f"meant for at most {one_in(budget)} given a name {whom}"
        if threshold > 1:
            aim = f"no name possible: impostor pairs reach probability 1 {whom}"
        rows.append([f"{faces:,}", shown_probability(threshold), aim])
    return Table(["faces in the gallery", "threshold", "in words"], rows)


def _search(measured: Thresholds) -> Table:
    rows = [
        [
            f"{row.gallery_faces:,}",
            f"{row.budget * 100:g} %",
            f"refused: needs {row.people_needed:,} people"
            if row.probability is None
            else shown_probability(row.probability),
            _interval(row.false_positive_rate),
            "" if row.probability is None else "measured" if row.measured else "extrapolated",
        ]
        for row in measured.search
    ]
    header = ["faces in the gallery", "strangers named, at most", "threshold",
              "95 %, threshold held", "how"]  # fmt: skip
    return Table(header, rows, "Naming a face, on the validation people it was measured on")


def _pairs(measured: Thresholds) -> Table:
    rows = []
    for row in measured.pairs:
        if row.probability is None or row.true_accept_rate is None:
            refused = f"refused: needs {row.people_needed:,} people"
            rows.append([f"{row.budget:g}", refused, "", ""])
            continue
        rows.append(
            [
                f"{row.budget:g}",
                shown_probability(row.probability),
                _interval(row.false_accept_rate),
                shown_share(row.true_accept_rate),
            ]
        )
    header = ["false accepts a pair", "threshold", "95 %, threshold held",
              "pairs of one person accepted, on the validation people it was tuned on"]  # fmt: skip
    return Table(header, rows, "Comparing two photos")


def _interval(ends: Interval | None) -> str:
    return "" if ends is None else shown_interval({"low": ends.low, "high": ends.high})
