"""A face searched in a gallery: nearest, named rightly, named though nobody knows it."""

from typing import Any

from faceops.evaluation.figures import one_in, shown_interval, shown_probability, shown_share
from faceops.evaluation.report.document import (
    HEADER,
    Facts,
    Part,
    Picture,
    Section,
    Table,
    Text,
    absent,
    figure_row,
)
from faceops.verification.sample_size import people_for_fpir

IDENTIFICATION_TITLE = "A face searched in a gallery"


def identification_section(facts: Facts) -> Section:
    """Closed set, open sets, queries against a gallery, one against ten, LFW's views."""
    figures = facts.figures
    parts: list[Part] = []
    if "closed_set" in figures:
        parts += _closed(figures["closed_set"])
    if figures.get("open_sets"):
        parts.append(_open_sets(figures["open_sets"]))
    if "gallery_query" in figures:
        parts.append(_queries(figures["gallery_query"]))
    if "one_against_ten" in figures:
        parts.append(_ten(figures["one_against_ten"]))
    if not parts:
        return absent(
            "search", IDENTIFICATION_TITLE, "The protocol that was run searches no gallery."
        )
    return Section("search", IDENTIFICATION_TITLE, parts)


def _closed(closed: dict[str, Any]) -> list[Part]:
    rows = [figure_row(f"right person at rank {rank}", closed, f"rank_{rank}") for rank in (1, 5)]
    caption = (
        f"Everybody enrolled with one photo: {closed['gallery_people']:,} people, "
        f"{closed['probes']:,} probes"
    )
    return [
        Table(HEADER, rows, caption),
        Picture("cmc.png", "Share of probes whose person is among the first ranks"),
    ]


def _open_sets(sets: list[dict[str, Any]]) -> Table:
    rows = []
    for one in sets:
        first = [f"{one['gallery_photos']}"]
        if "reason" in one:
            rows.append([*first, one["reason"], "", "", "", ""])
            continue
        right, wrong, strangers = (
            _with_ends(one, name) if name in one else "-"
            for name in ("dir", "misidentified", "fpir")
        )
        size = f"{one['known_people']:,} people, {one['gallery_faces']:,} faces"
        rows.append([*first, size, right, wrong, strangers, shown_share(one["dir_at_fpir_0.01"])])
    header = ["photos each", "gallery", "known: right name", "known: wrong name",
              "strangers named", "right names where 1 % of strangers are named"]  # fmt: skip
    return Table(
        header,
        rows,
        "Known people and strangers, at the release's threshold and lead. The last column chooses "
        "its threshold on these very faces, to compare models.",
    )


def _with_ends(figures: dict[str, Any], name: str) -> str:
    ends = shown_interval(figures.get(f"{name}_interval"))
    return shown_share(figures[name]) + (f" ({ends})" if ends else "")


def _queries(figures: dict[str, Any]) -> Table:
    rows = [
        figure_row(told, figures, name)
        for name, told in (
            ("identification_rate", "known people: right name"),
            ("true_positive_rate", "known people: any name"),
            ("false_positive_rate", "strangers: any name"),
            ("accuracy", "accuracy, both kinds weighing the same"),
            ("detection_auc", "area under TPR against FPR"),
        )
        if name in figures
    ]
    caption = (
        f"Gallery against queries: {figures['known_queries']:,} of known people, "
        f"{figures['unknown_queries']:,} of strangers"
    )
    return Table(HEADER, rows, caption)


def _ten(figures: dict[str, Any]) -> Table | Text:
    if "reason" in figures:
        return Text(f"One against ten: {figures['reason']}", "absent")
    caption = (
        f"One right photo against {figures['negatives']} of other people, exact over all choices: "
        f"{figures['people']:,} people, {figures['trials']:,} pairs"
    )
    return Table(
        HEADER, [figure_row("the right photo scores highest", figures, "accuracy")], caption
    )


PROMISE_TITLE = "The promise"
_VERDICTS = {
    "kept": "is kept",
    "undecided": "is overrun, though not by more than chance explains",
    "broken": "is broken",
}
_UNCALIBRATED = "This embedder is no release: nothing was calibrated, so nothing is promised."


def promise_section(facts: Facts) -> Section:
    """The promise, a table of promised against seen, and its picture."""
    if facts.thresholds is None:
        return absent("promise", PROMISE_TITLE, _UNCALIBRATED)
    rows = facts.figures.get("promise", [])
    parts: list[Part] = [Text(promise_in_words(facts), "promise")]
    if not rows:
        why = "It was not held against other people: that is what the protocols all and promise do."
        return Section("promise", PROMISE_TITLE, [*parts, Text(why, "absent")])
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
    return Section("promise", PROMISE_TITLE, parts)


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
        needed = people_for_fpir(row["budget"])
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
