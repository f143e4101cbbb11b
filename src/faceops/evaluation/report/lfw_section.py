"""LFW's own protocols, where they were run."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Section, Table, Text
from faceops.evaluation.report.summary_section import HEADER, figure_row, pair_rows
from faceops.evaluation.shown import shown_share

TITLE = "LFW's protocols"
_VIEWS = {"lfw_view1": "View 1", "lfw_view2": "View 2"}


def lfw_section(facts: Facts) -> Section:
    """Accuracy by LFW's lists, and all pairs of the photos that they name; those that were run."""
    parts: list[Part] = []
    for key, name in _VIEWS.items():
        if key in facts.figures:
            parts += _view(name, facts.figures[key])
    return Section("lfw", TITLE, parts)


def _view(name: str, figures: dict[str, Any]) -> list[Part]:
    rows = [figure_row("accuracy", figures, "accuracy")]
    if "accuracy_standard_error" in figures:
        error = shown_share(figures["accuracy_standard_error"])
        rows.append(["standard error over the folds", error, ""])
    how = (
        "Ten folds; the threshold of each comes from the other nine."
        if "fold_accuracy" in figures
        else "The threshold comes from the training list."
    )
    parts: list[Part] = [
        Text(f"{name}: {figures['pairs']:,} pairs. {how}"),
        Table(HEADER, rows, name),
    ]
    every = figures.get("all_pairs")
    if every:
        rows = [*pair_rows(every), figure_row("rank-1", every, "rank_1")]
        told = f"{every['photos']:,}, {every['photos_without_face']:,} of them without a face"
        parts.append(Table(HEADER, rows, f"{name}: all pairs of its photos ({told})"))
    return parts
