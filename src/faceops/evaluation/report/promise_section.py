"""The promise in words, and what was seen of it on people whom nothing has seen."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Picture, Section, Table, Text, absent
from faceops.evaluation.shown import one_in, shown_interval, shown_probability, shown_share
from faceops.verification.support import people_for_search

TITLE = "The promise"
_VERDICTS = {
    "kept": "is kept",
    "undecided": "is overrun, though not by more than chance explains",
    "broken": "is broken",
}
_UNCALIBRATED = "This embedder is no release: nothing was calibrated, so nothing is promised."


def promise_section(facts: Facts) -> Section:
    """The promise, a table of promised against seen, and its picture."""
    if facts.thresholds is None:
        return absent("promise", TITLE, _UNCALIBRATED)
    rows = facts.figures.get("promise", [])
    parts: list[Part] = [Text(promise_in_words(facts), "promise")]
    if not rows:
        why = "It was not held against other people: that is what the protocols all and promise do."
        return Section("promise", TITLE, [*parts, Text(why, "absent")])
    for row in rows:
        if row["verdict"] == "broken":
            told = (
                f"Broken: in a gallery of {row['gallery_faces']:,} faces at most "
                f"{row['budget'] * 100:g} % of strangers were to be named, and it was "
                f"{_percent(row['seen'])}, {_ends(row)}."
            )
            parts.append(Text(told, "warning"))
    parts.append(
        Table(
            [
                "faces in the gallery",
                "promised: at most",
                "seen",
                "95 %",
                "the promise is",
                "threshold",
                "its own 95 %",
            ],
            [_cells(row) for row in rows],
            f"Shares of strangers named. Exact over all galleries of that size of "
            f"{rows[0]['strangers']:,} people; without a lead over the runner-up, which would "
            "refuse more. Undecided: overrun, though not by more than chance explains. Its own "
            "95 %: what the release said of the people it was calibrated on.",
        )
    )
    parts.append(Picture("promise.png", "Strangers named: promised against seen"))
    return Section("promise", TITLE, parts)


def promise_in_words(facts: Facts) -> str:
    """Return the default promise and how it fared, in the largest gallery that was measured."""
    if facts.thresholds is None:
        return _UNCALIBRATED
    measured = facts.thresholds
    budget = measured.default_budget
    counted = f"{measured.people:,}"
    people = "" if counted in measured.data else f"{counted} people: "
    told = (
        f"At its threshold at most {one_in(budget)} is given a name; measured on {people}"
        f"{measured.data}"
    )
    held = [row for row in facts.figures.get("promise", [])
            if row["budget"] == budget and row["seen"] is not None]  # fmt: skip
    if not held:
        return f"{told}."
    row = max(held, key=lambda row: (row["measured"], row["gallery_faces"]))
    return (
        f"{told}. On {_whom(facts, row['strangers'])}, it was "
        f"{_percent(row['seen'])} of strangers ({_ends(row)}) in galleries of "
        f"{row['gallery_faces']:,} faces: the promise {_verdict(row)}."
    )


def _whom(facts: Facts, people: int) -> str:
    """Return the people of the evaluation, with what is known of who has seen them."""
    data = facts.figures.get("data")
    if data is None:
        return f"{people:,} others, whom nothing had seen"
    if not data["seen"]["known"]:
        return f"{people:,} people, of whom nobody knows here whether it had seen them"
    seen = data["seen"]["trained_on"] + data["seen"]["calibrated_on"]
    if seen:
        return f"{people:,} people, {seen:,} of whom had trained or calibrated it (no fair test)"
    return f"{people:,} others, who neither trained nor calibrated it"


def _cells(row: dict[str, Any]) -> list[str]:
    first = [f"{row['gallery_faces']:,}", f"{row['budget'] * 100:g} %"]
    if row["seen"] is None:
        needed = people_for_search(row["budget"])
        return [*first, "", "", "refused", "", f"it takes {needed:,} people to promise it"]
    how = "" if row["measured"] else ", extrapolated"
    return [
        *first,
        shown_share(row["seen"]),
        shown_interval(row["seen_interval"]),
        row["verdict"],
        shown_probability(row["threshold"]) + how,
        shown_interval(row["calibrated_interval"]),
    ]


def _verdict(row: dict[str, Any]) -> str:
    return _VERDICTS[row["verdict"]]


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %"


def _ends(row: dict[str, Any]) -> str:
    ends = row["seen_interval"]
    return f"95 %: {_percent(ends['low'])} to {_percent(ends['high'])}"
