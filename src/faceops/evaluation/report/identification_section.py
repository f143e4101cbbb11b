"""A face searched in a gallery: nearest, named rightly, named though nobody knows it."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Picture, Section, Table, Text, absent
from faceops.evaluation.report.summary_section import HEADER, figure_row
from faceops.evaluation.shown import shown_interval, shown_share

TITLE = "A face searched in a gallery"


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
        return absent("search", TITLE, "The protocol that was run searches no gallery.")
    return Section("search", TITLE, parts)


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
