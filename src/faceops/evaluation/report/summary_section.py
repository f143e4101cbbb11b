"""The figures that a release is judged by, in one table."""

from typing import Any

from faceops.evaluation.report.facts import Facts
from faceops.evaluation.report.section import Part, Section, Table, Text
from faceops.evaluation.shown import shown_interval, shown_share

HEADER = ["figure", "value", "95 %"]


def summary_section(facts: Facts) -> Section:
    """Verification and identification in short; the details have their own sections."""
    figures = facts.figures
    rows = [*pair_rows(figures.get("verification", {}))]
    closed, opened = figures.get("closed_set"), figures.get("open_set")
    if closed:
        name = f"rank-1 among {closed['gallery_people']:,} people with one photo each"
        rows.append(figure_row(name, closed, "rank_1"))
    if opened and "dir" in opened:
        gallery = f"{opened['known_people']:,} people, {opened['gallery_faces']:,} faces enrolled"
        rows += [
            figure_row(f"known people named rightly ({gallery})", opened, "dir"),
            figure_row("known people named wrongly", opened, "misidentified"),
            figure_row("strangers given a name", opened, "fpir"),
        ]
    for name, value in (("View 1", "lfw_view1"), ("View 2", "lfw_view2")):
        if value in figures:
            rows.append(figure_row(f"LFW {name}, accuracy", figures[value], "accuracy"))
    told = (
        f"Measured on {_whose(facts)}, on {figures['people']:,} people with "
        f"{figures['photos']:,} photos. The 95 % intervals are over people: those of TAR find "
        "their threshold anew in each resample, the others have the threshold held fixed."
    )
    parts: list[Part] = [Text(told)]
    parts.append(
        Table(HEADER, rows) if rows else Text("The protocol gives none of these.", "absent")
    )
    return Section("worth", "What it is worth", parts)


def pair_rows(pairs: dict[str, Any]) -> list[list[str]]:
    """Return the rows of one-to-one verification."""
    if not pairs:
        return []
    rows = [figure_row("ROC AUC, all pairs", pairs, "roc_auc")]
    if "accuracy" in pairs:  # of a model that was calibrated
        rows.insert(0, figure_row("accuracy on balanced pairs at even odds", pairs, "accuracy"))
    for key in sorted(pairs):
        if not key.startswith("tar_at_far_") or not _is_rate(key):
            continue
        note = "" if pairs[f"{key}_supported"] else " (fewer than ten impostor pairs above it)"
        rows.append(figure_row(f"TAR at FAR {key.removeprefix('tar_at_far_')}{note}", pairs, key))
    return rows


def figure_row(name: str, figures: dict[str, Any], key: str) -> list[str]:
    """Return `name`, the figure and its interval as text."""
    return [name, shown_share(figures.get(key)), shown_interval(figures.get(f"{key}_interval"))]


def _is_rate(key: str) -> bool:
    return not key.endswith(("_interval", "_supported", "_threshold"))


def _whose(facts: Facts) -> str:
    return "the exported files" if facts.thresholds else "the embedder's own file"
